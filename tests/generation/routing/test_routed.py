"""Questions to a service whose settings have routes; the models are servers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from generation.grounding.evidence import EvidenceFinder
from rag.build.service import Service
from tests.in_process import ingested, serving_here
from tests.model_server import ModelServer, model_server, refuses, says

if TYPE_CHECKING:
    from rag.types import Prompt
    from retrieval.embedders.embedder import BertEmbedder

pytestmark = pytest.mark.anyio
FACT = "In 1769 James Watt patented an engine with a separate condenser."
FALSE = "In 1800 James Watt patented a flying carpet with nine wheels. [1]"
ASKED = "What did James Watt patent in 1769?"


@pytest.fixture
def big() -> Iterator[ModelServer]:
    with model_server(says(f"{FACT} [1]")) as running:
        yield running


@pytest.fixture
def small() -> Iterator[ModelServer]:
    with model_server(says(f"{FACT} [1]")) as running:
        yield running


@pytest.fixture
async def opened(
    tmp_path: Path, embedder: BertEmbedder, big: ModelServer, small: ModelServer
) -> AsyncIterator[tuple[httpx.AsyncClient, Service]]:
    settings = {
        "generator": {"kind": "openai", "base_url": big.base_url, "model": "big"},
        "routes": [
            {"name": "quotes", "generator": {"kind": "extractive"}, "tags": ["search-box"],
             "min_confidence": 0.5},
            {"name": "cheap", "max_chars": 60, "json_only": False,
             "generator": {"kind": "openai", "base_url": small.base_url, "model": "small"}},
        ],
    }  # fmt: skip
    async with serving_here(tmp_path, embedder, **settings) as (http, service):
        document = {"id": "watt", "text": FACT, "uri": "https://docs.example/watt"}
        await ingested(http, await http.post("/v1/documents", json={"documents": [document]}))
        yield http, service


@pytest.fixture
def http(opened: tuple[httpx.AsyncClient, Service]) -> httpx.AsyncClient:
    return opened[0]


async def ask(http: httpx.AsyncClient, question: str = ASKED, **body: Any) -> dict[str, Any]:
    response = await http.post("/v1/query", json={"query": question, **body})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


async def test_the_first_route_that_fits_writes_and_the_answer_says_why(
    http: httpx.AsyncClient, big: ModelServer, small: ModelServer
) -> None:
    quoted = await ask(http, tags=["search-box"])
    assert quoted["answer"] == f"{FACT} [1]"
    assert quoted["route"]["name"] == "quotes"
    assert quoted["route"]["reasons"][0] == "tag search-box"
    assert quoted["route"]["reasons"][1].startswith("confidence 0.")
    assert not small.requests

    short = await ask(http)
    assert short["route"] == {
        "name": "cheap",
        "reasons": ["no JSON asked for", "35 characters"],
        "escalated_from": None,
    }
    assert len(small.requests) == 1
    assert not big.requests

    long = await ask(http, f"{ASKED} It is for a talk about engines of the time.")
    assert long["route"]["name"] == "main"
    assert len(big.requests) == 1


async def test_what_the_check_refuses_is_written_anew_by_the_main_generator(
    http: httpx.AsyncClient, big: ModelServer, small: ModelServer
) -> None:
    small.script = says(FALSE)
    answer = await ask(http)
    assert answer["answer"] == f"{FACT} [1]"
    assert answer["route"] == {
        "name": "main",
        "reasons": ["the check refused a sentence of the route cheap"],
        "escalated_from": "cheap",
    }
    assert (len(small.requests), len(big.requests)) == (1, 1)
    assert answer["usage"]["output_tokens"] == 14  # both are paid for


async def test_where_the_main_generator_is_refused_nothing_escalates(
    http: httpx.AsyncClient, big: ModelServer
) -> None:
    big.script = says(FALSE)
    answer = await ask(http, f"{ASKED} It is for a talk about engines of the time.")
    assert answer["route"]["escalated_from"] is None
    assert len(big.requests) == 2


async def test_the_generator_of_a_route_that_fails_is_replaced_and_that_is_told(
    http: httpx.AsyncClient, big: ModelServer, small: ModelServer
) -> None:
    small.script = refuses(500, "out of memory")
    answer = await ask(http)
    assert answer["answer"] == f"{FACT} [1]"
    assert answer["route"]["name"] == "cheap"
    assert "The model small failed" in answer["degraded"][0]
    assert len(big.requests) == 1


async def test_the_evidence_is_looked_for_once(
    http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[Prompt] = []
    find = EvidenceFinder.find

    async def counted(self: EvidenceFinder, prompt: Prompt) -> Any:
        found.append(prompt)
        return await find(self, prompt)

    monkeypatch.setattr(EvidenceFinder, "find", counted)
    await ask(http, tags=["search-box"])
    assert len(found) == 1


async def test_a_stream_and_openai_s_api_name_the_route(http: httpx.AsyncClient) -> None:
    streamed = await http.post("/v1/query", json={"query": ASKED, "stream": True})
    last = streamed.text.strip().split("\n\n")[-1]
    assert json.loads(last.partition("data: ")[2])["route"]["name"] == "cheap"
    chat = {"model": "default", "messages": [{"role": "user", "content": ASKED}]}
    answered = (await http.post("/v1/chat/completions", json=chat)).json()
    assert answered["plumbline"]["route"]["name"] == "cheap"


async def test_answers_by_route_are_counted(http: httpx.AsyncClient, small: ModelServer) -> None:
    def counted(page: str, **labels: str) -> float:
        wanted = ",".join(f'{name}="{value}"' for name, value in sorted(labels.items()))
        lines = (line.split() for line in page.splitlines())
        return sum(
            float(line[1]) for line in lines if line[0] == f"plumbline_routes_total{{{wanted}}}"
        )

    before = (await http.get("/metrics")).text
    await ask(http)
    small.script = says(FALSE)
    await ask(http)
    after = (await http.get("/metrics")).text
    for labels in (
        {"route": "cheap", "escalated_from": ""},
        {"route": "main", "escalated_from": "cheap"},
    ):
        assert counted(after, **labels) == counted(before, **labels) + 1


async def test_without_passages_no_evidence_is_asked_for(http: httpx.AsyncClient) -> None:
    filters = [{"field": "uri", "op": "eq", "value": "https://docs.example/none"}]
    answer = await ask(http, tags=["search-box"], filters=filters)
    assert (answer["reason"], answer["route"]["name"]) == ("no_documents", "cheap")
