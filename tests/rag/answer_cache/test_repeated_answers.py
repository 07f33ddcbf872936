"""A service with the cache in memory: what is answered again, and what no more."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from rag.build.running import start
from rag.build.service import Service
from rag.client import questions
from rag.mcp.rest import Rest
from rag.mcp.tool_arguments import AnswerArguments
from rag.mcp.tools import answer as answer_tool
from rag.protocols import Queue
from rag.settings.tree import load_settings
from rag.types import Permission, Principal
from retrieval.embedders.embedder import BertEmbedder
from tests.in_process import Json, client_as, ingested
from tests.waiting import until

pytestmark = pytest.mark.anyio

QUESTION = "When does the harbour open?"
HARBOUR = "The harbour opens at 6 in the morning. It is closed on Sundays."
EVERYTHING: frozenset[Permission] = frozenset({"ask", "read", "write"})
ANNA = Principal(subject="anna", groups=frozenset({"sales"}), scopes=EVERYTHING)
BERT = Principal(subject="bert", groups=frozenset({"law"}), scopes=EVERYTHING)
OTHER = Principal(tenant="other")
EVERYONE = Principal()


@dataclass(frozen=True)
class Bench:
    service: Service
    queue: Queue

    @contextlib.asynccontextmanager
    async def client(self, caller: Principal = EVERYONE) -> AsyncIterator[httpx.AsyncClient]:
        async with client_as(self.service, self.queue, caller) as http:
            yield http


@pytest.fixture
async def bench(tmp_path: Path, embedder: BertEmbedder) -> AsyncIterator[Bench]:
    settings = load_settings(data_dir=tmp_path / "data", answer_cache={"kind": "memory"})
    async with start(settings, embedder=embedder) as (service, queue), queue.started():
        yield Bench(service, queue)


@pytest.fixture
async def http(bench: Bench) -> AsyncIterator[httpx.AsyncClient]:
    async with bench.client() as client:
        await put(client, "harbour", HARBOUR)
        yield client


async def put(http: httpx.AsyncClient, id_: str, text: str, **fields: Any) -> None:
    document = {"id": id_, "title": id_.capitalize(), "text": text, **fields}
    await ingested(http, await http.post("/v1/documents", json={"documents": [document]}))


async def ask(http: httpx.AsyncClient, query: str = QUESTION, **fields: Any) -> Json:
    headers = fields.pop("headers", {})
    response = await http.post("/v1/query", json={"query": query, **fields}, headers=headers)
    assert response.status_code == 200, response.text
    answer: Json = response.json()
    return answer


OWN = ("answer_id", "trace_id", "timings", "cached", "usage")
"""What an answer that is given again has of its own."""


def said(answer: Json) -> Json:
    return {name: value for name, value in answer.items() if name not in OWN}


async def test_the_same_question_gets_the_same_answer_which_says_so(
    http: httpx.AsyncClient,
) -> None:
    first = await ask(http)
    again = await ask(http, f"  {QUESTION.replace(' ', '  ')} ")
    assert first["cached"] is None
    assert first["citations"]
    assert said(again) == said(first)
    assert again["cached"]["match"] == "exact"
    assert again["cached"]["answer_id"] == first["answer_id"] != again["answer_id"]
    assert again["cached"]["question"] == QUESTION
    assert 0 < again["cached"]["age_seconds"] < 60
    assert set(again["timings"]) == {"total", "answer_cache"}


async def test_an_answer_given_again_is_stored_and_takes_feedback(
    bench: Bench, http: httpx.AsyncClient
) -> None:
    first, again = await ask(http), await ask(http)
    for answer, rating in ((first, "down"), (again, "up")):
        rated = {"answer_id": answer["answer_id"], "rating": rating}
        assert (await http.post("/v1/feedback", json=rated)).status_code == 204
    stored = (await http.get("/v1/answers")).json()["answers"]
    assert {(each["id"], each["rating"]) for each in stored} == {
        (first["answer_id"], "down"),
        (again["answer_id"], "up"),
    }


async def test_another_question_is_answered_anew(http: httpx.AsyncClient) -> None:
    await ask(http)
    for other in (QUESTION.lower(), "When does the harbour close?"):
        assert (await ask(http, other))["cached"] is None
    for fields in (
        {"top_k": 3},
        {"filters": [{"field": "title", "op": "eq", "value": "Harbour"}]},
        {"claims": "off"},
        {"max_tokens": 7},
        {"temperature": 0.5, "seed": 1},
    ):
        assert (await ask(http, **fields))["cached"] is None, fields
        assert (await ask(http, **fields))["cached"] is not None, fields


async def test_a_follow_up_is_another_question_in_another_conversation(
    http: httpx.AsyncClient,
) -> None:
    async def follow_up(before: str) -> Json:
        messages = [
            {"role": "user", "content": before},
            {"role": "assistant", "content": "At 6."},
            {"role": "user", "content": "And on Sundays?"},
        ]
        response = await http.post("/v1/query", json={"messages": messages})
        answer: Json = response.json()
        return answer

    assert (await follow_up(QUESTION))["cached"] is None
    assert (await follow_up("When does the library open?"))["cached"] is None
    assert (await follow_up(QUESTION))["cached"]["question"] == "And on Sundays?"


async def test_a_random_answer_is_not_repeated(http: httpx.AsyncClient) -> None:
    for _ in range(2):
        assert (await ask(http, temperature=0.5))["cached"] is None


async def test_a_caller_can_refuse_it_and_what_is_made_then_replaces_it(
    http: httpx.AsyncClient,
) -> None:
    first = await ask(http)
    anew = await ask(http, headers={"Cache-Control": "max-age=0, No-Cache"})
    assert anew["cached"] is None

    async def is_kept() -> bool:  # a moment after it was given
        kept: bool = (await ask(http))["cached"]["answer_id"] == anew["answer_id"]
        return kept

    await until(is_kept)
    assert anew["answer_id"] != first["answer_id"]


@pytest.mark.parametrize("kind", ["text", "acl", "default", "delete", "new", "meta"])
async def test_a_change_ends_it_at_once(http: httpx.AsyncClient, kind: str) -> None:
    await ask(http)
    assert (await ask(http))["cached"]
    match kind:
        case "text":
            await put(http, "harbour", HARBOUR.replace("6", "7"))
        case "meta":
            await put(http, "harbour", HARBOUR, meta={"year": 2026})
        case "acl":
            response = await http.put("/v1/documents/harbour/acl", json={"users": ["anna"]})
            assert response.is_success, response.text
        case "default":
            response = await http.put("/v1/collections/default/acl", json={"users": ["anna"]})
            assert response.is_success, response.text
        case "new":
            await put(http, "library", "The library opens at 9.")
        case _:
            assert (await http.delete("/v1/documents/harbour")).is_success
    answer = await ask(http)
    assert answer["cached"] is None
    if kind == "delete":
        assert answer["abstained"]
        assert HARBOUR[:20] not in json.dumps(answer)


async def test_nothing_else_ends_it(http: httpx.AsyncClient) -> None:
    first = await ask(http)
    await put(http, "harbour", HARBOUR)  # unchanged
    rated = {"answer_id": first["answer_id"], "rating": "up"}
    await http.post("/v1/feedback", json=rated)
    other = {"documents": [{"id": "x", "text": "Something else."}], "collection": "other"}
    await ingested(http, await http.post("/v1/documents", json=other))
    assert (await http.post("/v1/documents", json={"documents": [{"id": "", "text": ""}]})).is_error
    assert (await ask(http))["cached"]


async def test_a_deleted_collection_and_one_of_its_name_have_nothing_of_it(
    http: httpx.AsyncClient,
) -> None:
    await ask(http)
    assert (await http.delete("/v1/collections/default")).is_success
    assert (await http.post("/v1/query", json={"query": QUESTION})).status_code == 404
    await put(http, "library", "The library opens at 9.")
    answer = await ask(http)
    assert answer["cached"] is None
    assert HARBOUR[:20] not in json.dumps(answer)


async def test_tenants_and_readers_have_their_own(bench: Bench, http: httpx.AsyncClient) -> None:
    await put(http, "secret", "The harbour opens for sales at 4.", acl={"groups": ["sales"]})
    async with (
        bench.client(ANNA) as anna,
        bench.client(BERT) as bert,
        bench.client(OTHER) as other,
    ):
        await put(other, "harbour", "The harbour opens at 11.")
        for each in (http, anna, bert, other):
            assert (await ask(each))["cached"] is None
        answers = [await ask(each) for each in (http, anna, bert, other)]
        assert all(answer["cached"] for answer in answers)
        seen = [{hit["document_id"] for hit in answer["hits"]} for answer in answers]
        assert seen == [
            {"harbour", "secret"},
            {"harbour", "secret"},
            {"harbour"},
            {"harbour"},
        ]
        assert "11" in answers[3]["answer"]


async def test_callers_who_read_the_same_share_it(bench: Bench, http: httpx.AsyncClient) -> None:
    carl = Principal(subject="carl", groups=frozenset({"sales"}), scopes=EVERYTHING)
    await put(http, "secret", "The harbour opens for sales at 4.", acl={"groups": ["sales"]})
    async with bench.client(ANNA) as anna, bench.client(carl) as others:
        assert (await ask(anna))["cached"] is None
        assert (await ask(others))["cached"]
        await http.put("/v1/documents/secret/acl", json={"users": ["anna"]})
        assert (await ask(anna))["cached"] is None
        assert (await ask(others))["cached"] is None
        assert {hit["document_id"] for hit in (await ask(others))["hits"]} == {"harbour"}


@pytest.mark.parametrize("path", ["/v1/query", "/v1/chat/completions"])
async def test_a_stream_is_given_again_as_a_stream(http: httpx.AsyncClient, path: str) -> None:
    ask_it: Json = {"query": QUESTION, "stream": True}
    if path != "/v1/query":
        message = {"role": "user", "content": QUESTION}
        ask_it = {"model": "default", "messages": [message], "stream": True}
    first = events((await http.post(path, json=ask_it)).text)
    again = events((await http.post(path, json=ask_it)).text)
    refused = events(
        (await http.post(path, json=ask_it, headers={"Cache-Control": "no-cache"})).text
    )
    assert text_of(again) == text_of(first) != ""
    assert [cached_in(each) for each in (first, again, refused)] == [False, True, False]
    assert others_in(again) == others_in(first)


async def test_each_kind_of_client_can_refuse_an_answer_from_the_cache(
    http: httpx.AsyncClient,
) -> None:
    message = {"role": "user", "content": QUESTION}
    chat = {"model": "default", "messages": [message], "stream": False}

    async def by_ollama(fresh: bool) -> Any:
        headers = {"Cache-Control": "no-cache"} if fresh else {}
        answer = (await http.post("/api/chat", json=chat, headers=headers)).json()
        return answer["plumbline"]["cached"]

    async def by_mcp(fresh: bool) -> Any:
        asked = AnswerArguments(query=QUESTION, fresh=fresh)
        return (await answer_tool(Rest(http=http), asked, unheard)).cached

    async def by_the_client(fresh: bool) -> Any:
        call = questions.ask(QUESTION, fresh=fresh)
        with call.request(http) as request:
            return call.read(await http.send(request)).cached

    for by in (by_ollama, by_mcp, by_the_client):
        await by(True)
        await kept()
        assert await by(False), by
        assert await by(True) is None, by


async def kept() -> None:
    """Waits until what was answered is kept: a fresh answer is given before that."""
    keeping = {t for t in asyncio.all_tasks() if "_keep" in getattr(t.get_coro(), "__name__", "")}
    if keeping:
        await asyncio.wait(keeping)


async def unheard(_done: float, _total: float | None, _sentence: str) -> None:
    """Takes a report of progress."""


def events(body: str) -> list[tuple[str, Json]]:
    found = []
    for block in body.strip().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        if lines.get("data", "[DONE]") != "[DONE]":
            found.append((lines.get("event", ""), json.loads(lines["data"])))
    return found


def text_of(found: list[tuple[str, Json]]) -> str:
    return "".join(
        data.get("text", "") if name == "token" else delta_of(data).get("content") or ""
        for name, data in found
    )


def delta_of(data: Json) -> Json:
    choices = data.get("choices") or [{}]
    delta: Json = choices[0].get("delta", {})
    return delta


def others_in(found: list[tuple[str, Json]]) -> list[str]:
    """Returns what came besides text, in its order."""
    kinds = [name or " ".join(delta_of(data)) for name, data in found]
    return [kind for kind in kinds if kind not in ("token", "content")]


def cached_in(found: list[tuple[str, Json]]) -> bool:
    return '"match": "exact"' in json.dumps([data for _, data in found])
