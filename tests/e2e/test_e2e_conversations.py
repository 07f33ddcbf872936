"""OpenAI's client talks to `rag serve`, which talks to a model server: both ends of one API."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any, cast

import pytest
from openai import OpenAI
from openai.types.chat import ChatCompletion, ChatCompletionMessageParam

from generation.query.expansion import SYSTEM as EXPANDING
from generation.query.rewriting import SYSTEM as REWRITING
from tests.model_server import ModelServer, Script, model_server, refuses, says
from tests.servers import serving, submit

FOLLOW_UP = "And when did he patent it?"
ALONE = "When did James Watt patent his engine?"
FACT = "In 1769 James Watt patented an engine with a separate condenser."
CONVERSATION = [
    {"role": "user", "content": "Who made the engine with a separate condenser?"},
    {"role": "assistant", "content": "James Watt did. [1]"},
    {"role": "user", "content": FOLLOW_UP},
]
CONFIG = """
[retrieval]
expansion = "multi_query"
[generator]
kind = "openai"
base_url = "{url}/v1"
model = "tiny"
timeout = 5
[citations]
claims = "off"
"""


def plays(*, rewriter: Script, expander: Script, writer: Script) -> Script:
    """Returns a script that answers a request by its role: rewriter, expander or writer."""

    def script(handler: BaseHTTPRequestHandler) -> None:
        server: ModelServer = handler.server_state  # type: ignore[attr-defined]
        roles = {REWRITING: rewriter, EXPANDING["multi_query"]: expander}
        roles.get(server.requests[-1]["messages"][0]["content"], writer)(handler)

    return script


WELL = {
    "rewriter": says("When did James Watt", " patent his engine?"),
    "expander": says("separate condenser patent 1769\n"),
    "writer": says("<b>Note:</b> ", FACT, " [", "1]", " More [9].", end="length"),
}


@pytest.fixture(scope="module")
def model() -> Iterator[ModelServer]:
    with model_server(plays(**WELL)) as running:
        yield running


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, model: ModelServer) -> Iterator[OpenAI]:
    folder = tmp_path_factory.mktemp("conversations")
    (folder / "rag.toml").write_text(CONFIG.format(url=model.url))
    with serving(folder / "data") as server:
        with server.client() as http:
            document = {"id": "watt", "title": "Watt", "text": FACT, "uri": "https://a.example/w"}
            assert submit(http, document)["state"] == "succeeded"
        with OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as made:
            yield made
        assert "Traceback" not in server.log.read_text()


def ask(client: OpenAI, **options: Any) -> ChatCompletion:
    given: dict[str, Any] = {"model": "default", "messages": CONVERSATION} | options
    completion = client.chat.completions.create(**given)
    assert isinstance(completion, ChatCompletion)
    return completion


def test_rewritten_expanded_answered(client: OpenAI, model: ModelServer) -> None:
    model.script, model.requests[:] = plays(**WELL), []
    completion = ask(client)
    rewriting, expanding, writing = (request["messages"][1] for request in model.requests)
    assert "James Watt did. [1]" in rewriting["content"]
    assert expanding["content"] == f"Question: {ALONE}"
    assert writing["content"].endswith(f"Question: {ALONE}")
    extension: dict[str, Any] = completion.plumbline  # type: ignore[attr-defined]
    assert extension["question"] == ALONE
    assert {"rewrite", "expand", "generate"} <= set(extension["timings"])
    assert extension["degraded"] == []
    assert extension["unsupported"] == [9]
    assert completion.choices[0].finish_reason == "length"
    assert completion.usage is not None
    assert completion.usage.prompt_tokens == 3 * 70
    assert completion.usage.total_tokens == 3 * 77


def test_a_marker_is_found_in_text_that_was_made_safe(client: OpenAI, model: ModelServer) -> None:
    model.script = plays(**WELL)
    message = ask(client).choices[0].message
    assert message.content == f"&lt;b>Note:&lt;/b> {FACT} [1] More."
    (annotation,) = message.annotations or []
    cited = annotation.url_citation
    assert message.content[cited.start_index : cited.end_index] == "[1]"
    turns = cast(list[ChatCompletionMessageParam], CONVERSATION)
    chunks = client.chat.completions.create(model="default", messages=turns, stream=True)
    deltas = [chunk.choices[0].delta for chunk in chunks]
    assert "".join(delta.content or "" for delta in deltas) == message.content
    streamed = [a for d in deltas for a in (d.model_extra or {}).get("annotations", [])]
    assert streamed == [annotation.model_dump()]


def test_what_fails_before_the_answer_is_left_out(client: OpenAI, model: ModelServer) -> None:
    broken = refuses(500, "The model is away.")
    model.script = plays(rewriter=broken, expander=broken, writer=WELL["writer"])
    extension: dict[str, Any] = ask(client).plumbline  # type: ignore[attr-defined]
    assert extension["question"] == FOLLOW_UP
    assert [cause.partition(":")[0] for cause in extension["degraded"]] == ["rewrite", "expand"]
    assert extension["hits"]
