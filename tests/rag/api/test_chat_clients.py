"""Requests as chat clients send them: histories, odd parameters, and tasks of chat UIs."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from prometheus_client import REGISTRY

from rag.api.openai.chat_request import ChatRequest
from rag.api.openai.schemas import OpenAIProblem
from rag.build.service import Service
from retrieval.embedders.embedder import BertEmbedder
from tests.in_process import Json, ingested, serving_here
from tests.places import DATA

pytestmark = pytest.mark.anyio
BODIES: dict[str, Json] = json.loads((DATA / "cases" / "12" / "bodies.json").read_text())
REFUSED = {
    "logprobs true": "logprobs",
    "audio modality": "modalities",
    "max_tokens 0": "max_tokens",
    "max_tokens -1": "max_tokens",
}
"""Those that OpenAI refuses as well, or that ask for what is not there, by the field at fault."""
ASK = {"role": "user", "content": "When does the depot close on Fridays?"}
CHAT = """<chat_history>
USER: When does the depot close on Fridays?
ASSISTANT: On Fridays it closes at four. [1]
USER: And on Mondays?
</chat_history>"""


@pytest.fixture(scope="module")
async def here(
    tmp_path_factory: pytest.TempPathFactory, embedder: BertEmbedder
) -> AsyncIterator[tuple[httpx.AsyncClient, Service]]:
    text = "The depot opens at seven. On Fridays it closes at four."
    document = {"id": "depot", "title": "Depot", "text": text}
    async with serving_here(tmp_path_factory.mktemp("chat") / "data", embedder) as (http, service):
        sent = {"collection": "docs", "documents": [document]}
        await ingested(http, await http.post("/v1/documents", json=sent))
        yield http, service


async def ask(here: tuple[httpx.AsyncClient, Service], **body: Any) -> httpx.Response:
    return await here[0].post("/v1/chat/completions", json={"model": "docs"} | body)


def content(response: httpx.Response) -> str:
    assert response.status_code == 200, response.text
    text: str = response.json()["choices"][0]["message"]["content"]
    return text


@pytest.mark.parametrize(
    "name", [name for name in BODIES if "LONG" not in json.dumps(BODIES[name])]
)
async def test_handed_bodies(here: tuple[httpx.AsyncClient, Service], name: str) -> None:
    response = await ask(here, **BODIES[name])
    if param := REFUSED.get(name):
        assert response.status_code == 400
        assert OpenAIProblem.model_validate(response.json()).error.param == param
    elif "title" in name:
        assert json.loads(content(response)) == {"title": "When does the depot close on Fridays"}
    else:
        assert "closes at four" in content(response)
        assert response.json()["plumbline"]["task"] is None


MAIL = (
    "Dear colleagues, last week we met to discuss the plans for the new canteen. The caterer sent"
    " an offer, and we shall decide in June. Thank you all for coming. Best regards, Anna. "
)


async def test_a_question_after_a_long_mail(here: tuple[httpx.AsyncClient, Service]) -> None:
    body = json.dumps(BODIES["question pasted after a 5000 character mail"])
    sent = json.loads(body.replace("@@LONG@@", (MAIL * 30)[:5000]))
    assert "closes at four" in content(await ask(here, **sent))


IMAGE = {"type": "image_url", "image_url": {"url": "https://a.example/x.png"}}
CALL = {"role": "assistant", "tool_calls": [{"id": "1", "type": "function", "function": {}}]}


@pytest.mark.parametrize(
    "history",
    [
        [CALL, {"role": "tool", "tool_call_id": "1", "content": [{"type": "text", "text": "12"}]}],
        [{"role": "user", "content": [IMAGE]}, {"role": "assistant", "content": "A lamp."}],
        [{"role": "function", "name": "clock", "content": None}],
        [{"role": "assistant", "content": [{"type": "thinking", "thinking": "Hm."}, IMAGE]}],
        [{"role": "user", "content": "  "}, {"role": "assistant", "content": ""}],
        [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": ""}}]}],
        [{"role": "developer", "content": [{"type": "input_text", "text": "Be brief."}]}],
    ],
)
async def test_a_history_is_no_obstacle(
    here: tuple[httpx.AsyncClient, Service], history: list[Json]
) -> None:
    response = await ask(here, messages=[*history, ASK])
    assert "closes at four" in content(response)
    assert response.json()["plumbline"]["question"] == ASK["content"]


@pytest.mark.parametrize(
    "after", [{"role": "tool", "content": "12"}, CALL, {"role": "system", "content": "Be brief."}]
)
async def test_the_question_may_be_followed(
    here: tuple[httpx.AsyncClient, Service], after: Json
) -> None:
    assert "closes at four" in content(await ask(here, messages=[ASK, after]))


def test_what_says_nothing_is_not_in_the_conversation() -> None:
    sent = [
        {"role": "user", "content": "Who won?"},
        {"role": "assistant", "content": "No answer: no passage speaks of it."},
        {"role": "assistant", "content": None, "refusal": "No answer: no passage speaks of it."},
        {"role": "tool", "content": "12:00", "tool_call_id": "1"},
        ASK,
    ]
    request = ChatRequest.model_validate({"model": "docs", "messages": sent})
    assert [m.content for m in request.conversation()] == ["Who won?", ASK["content"]]


@pytest.mark.parametrize(
    ("param", "body"),
    [
        ("messages.0.content", {"messages": [{"role": "user", "content": [IMAGE]}]}),
        ("messages.0.content", {"messages": [{"role": "user", "content": None}, ASK]}),
        ("messages.0.content", {"messages": [{"role": "assistant", "content": 7}, ASK]}),
        ("messages.0.content", {"messages": [{"role": "assistant", "content": [{}]}, ASK]}),
        ("messages.0.role", {"messages": [{"role": "robot", "content": "x"}, ASK]}),
        ("messages", {"messages": [ASK, {"role": "user", "content": " "}]}),
        ("tools", {"messages": [ASK], "tools": [{}], "tool_choice": "required"}),
        ("tools", {"messages": [ASK], "tools": "all", "tool_choice": "none"}),
        ("tools", {"messages": [ASK], "tools": [{}], "tool_choice": {"type": "function"}}),
        ("functions", {"messages": [ASK], "functions": [{}], "function_call": {"name": "f"}}),
        ("top_p", {"messages": [ASK], "top_p": 1.1}),
        ("seed", {"messages": [ASK], "seed": 1 << 63}),
        ("temperature", {"messages": [ASK], "temperature": 2.1}),
    ],
)
async def test_what_is_refused(
    here: tuple[httpx.AsyncClient, Service], param: str, body: Json
) -> None:
    response = await ask(here, **body)
    assert response.status_code == 400
    assert OpenAIProblem.model_validate(response.json()).error.param == param


def test_odd_numbers_reach_a_model_in_a_form_that_it_takes() -> None:
    odd = {"top_p": 0, "seed": -5, "stop": ["", "END"], "user": "u" * 300}
    request = ChatRequest.model_validate({"model": "docs", "messages": [ASK], **odd})
    sampling = request.overrides()
    assert 0 < (sampling.top_p or 0) < 0.001
    assert (sampling.seed, sampling.stop, len(request.user or "")) == (-5, ("END",), 200)
    nothing = ChatRequest.model_validate({"model": "docs", "messages": [ASK], "stop": [""]})
    assert nothing.overrides().stop is None


@pytest.mark.parametrize("path", ["completions", "responses", "images/generations"])
async def test_what_is_not_served_is_refused_in_openai_s_form(
    here: tuple[httpx.AsyncClient, Service], path: str
) -> None:
    response = await here[0].post(f"/v1/{path}", json={"model": "docs"})
    error = OpenAIProblem.model_validate(response.json()).error
    assert (response.status_code, error.code) == (404, "no_such_route")
    assert error.message.endswith("/v1/chat/completions instead.") == ("images" not in path)


TASKS: list[tuple[str, str, str, Any]] = [
    ("title", "### Task:\nGenerate a concise, 3-5 word title with an emoji summarizing the chat"
     ' history.\n### Output:\nJSON format: { "title": "your title" }\n', "title",
     "When does the depot close on Fridays"),
    ("tags", "### Task:\nGenerate 1-3 broad tags categorizing the main themes of the chat history."
     '\n### Output:\nJSON format: { "tags": ["tag1", "tag2"] }\n', "tags", ["General"]),
    ("follow_ups", "### Task:\nSuggest 3-5 relevant follow-up questions that the user might ask"
     ' next.\n### Output:\nJSON format: { "follow_ups": ["Question 1?"] }\n', "follow_ups", []),
    ("search_queries", "### Task:\nAnalyze the chat history to determine the necessity of"
     ' generating search queries.\n{ "queries": ["query1", "query2"] }\n', "queries",
     ["And on Mondays?"]),
    ("autocompletion", "### Task:\nYou are an autocompletion system. Continue the text.\n"
     '{ "text": "with vibrant shades" }\n', "text", ""),
    ("title", 'Benenne das Gespräch. Antworte nur mit JSON: {"chat_title": "…"}\n', "chat_title",
     "When does the depot close on Fridays"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "rules", "key", "result"), TASKS)
async def test_a_task_is_done_without_a_search(
    here: tuple[httpx.AsyncClient, Service], kind: str, rules: str, key: str, result: Any
) -> None:
    def counted(operation: str, outcome: str) -> float:
        labels = {"operation": operation, "outcome": outcome, "tenant": ""}
        return REGISTRY.get_sample_value("plumbline_questions_total", labels) or 0

    abstained = [counted("answer", reason) for reason in ("no_match", "weak_evidence")]
    before = counted("task", kind)
    response = await ask(here, messages=[{"role": "user", "content": rules + CHAT}])
    assert json.loads(content(response)) == {key: result}
    details = response.json()["plumbline"]
    assert (details["task"], details["hits"], details["abstained"]) == (kind, [], False)
    assert counted("task", kind) == before + 1
    assert [counted("answer", r) for r in ("no_match", "weak_evidence")] == abstained


async def test_a_task_in_a_stream_and_longer_than_a_question(
    here: tuple[httpx.AsyncClient, Service],
) -> None:
    chat = CHAT.replace("And on Mondays?", "And on Mondays? " * 1000)
    messages = [{"role": "user", "content": TASKS[0][1] + chat}]
    response = await ask(here, messages=messages, stream=True)
    chunks = [json.loads(line[6:]) for line in response.text.split("\n\n") if "{" in line]
    text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
    assert json.loads(text) == {"title": "When does the depot close on Fridays"}
    assert chunks[-1]["plumbline"]["task"] == "title"


async def test_no_answer_is_kept_of_a_task(here: tuple[httpx.AsyncClient, Service]) -> None:
    recorder = here[1].observer.recorder
    assert recorder is not None
    body = BODIES["title generation (Open WebUI style)"]
    answer_id = (await ask(here, **body)).json()["plumbline"]["answer_id"]
    await recorder.flush()
    rated = await here[0].post("/v1/feedback", json={"answer_id": answer_id, "rating": "up"})
    assert rated.status_code == 404
