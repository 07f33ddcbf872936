"""Many who ask the same at the same time: one answer is made."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rag.build.service import Service
from rag.telemetry.trace import Trace
from rag.types import DEFAULT_TENANT, Answer, Query, Scope
from retrieval.embedders.embedder import BertEmbedder
from tests.in_process import ingested, serving_here
from tests.model_server import ModelServer, model_server, quotes, refuses, says, slowly
from tests.waiting import until

pytestmark = pytest.mark.anyio

MANY = 50
FACT = "In 1769 James Watt patented an engine with a separate condenser."
SCOPE = Scope(tenant=DEFAULT_TENANT, collection="default")
QUERY = Query(text="What did James Watt patent in 1769?", scope=SCOPE)


@pytest.fixture
def model() -> Any:
    with model_server(slowly(says(f"{FACT} [1]"), seconds=0.3)) as running:
        yield running


@pytest.fixture
async def service(
    tmp_path: Path, embedder: BertEmbedder, model: ModelServer
) -> AsyncIterator[Service]:
    generator = {"kind": "openai", "base_url": f"{model.url}/v1", "model": "m", "threshold": 0}
    settings: dict[str, Any] = {"answer_cache": {"kind": "memory"}, "generator": generator}
    async with serving_here(tmp_path / "data", embedder, **settings) as (http, service):
        documents = [{"id": "watt", "title": "Watt", "text": FACT}]
        await ingested(http, await http.post("/v1/documents", json={"documents": documents}))
        yield service


def asking(service: Service) -> asyncio.Task[Answer]:
    return asyncio.create_task(service.query.answer(QUERY, Trace()))


async def until_asked(model: ModelServer, times: int = 1) -> None:
    await until(lambda: len(model.requests) >= times)


async def test_fifty_at_once_cost_one_call(service: Service, model: ModelServer) -> None:
    answers = await asyncio.gather(*(asking(service) for _ in range(MANY)))
    assert len(model.requests) == 1
    assert {answer.text for answer in answers} == {f"{FACT} [1]"}
    assert len({answer.id for answer in answers}) == MANY
    made = [answer for answer in answers if answer.cached is None]
    assert len(made) == 1
    assert made[0].usage.output_tokens > 0
    assert all(answer.usage.output_tokens == 0 for answer in answers if answer.cached)


async def test_if_the_first_leaves_another_takes_over(service: Service, model: ModelServer) -> None:
    first = asking(service)
    await until_asked(model)
    others = [asking(service) for _ in range(MANY - 1)]
    await asyncio.sleep(0.05)
    first.cancel()
    answers = await asyncio.gather(*others)
    assert {answer.text for answer in answers} == {f"{FACT} [1]"}
    assert len(model.requests) == 2


async def test_if_one_who_waits_leaves_the_others_are_answered(
    service: Service, model: ModelServer
) -> None:
    first = asking(service)
    await until_asked(model)
    waiting = [asking(service) for _ in range(2)]
    await asyncio.sleep(0.05)
    waiting[0].cancel()
    answers = await asyncio.gather(first, waiting[1])
    assert {answer.text for answer in answers} == {f"{FACT} [1]"}
    assert len(model.requests) == 1


async def test_if_the_first_fails_each_other_tries(service: Service, model: ModelServer) -> None:
    good = model.script
    model.script = slowly(refuses(400), seconds=0.3)
    first = asking(service)
    await until_asked(model)
    others = [asking(service) for _ in range(3)]
    await asyncio.sleep(0.05)
    model.script = good
    outcomes = await asyncio.gather(first, *others, return_exceptions=True)
    assert isinstance(outcomes[0], Exception)
    assert [getattr(each, "text", each) for each in outcomes[1:]] == [f"{FACT} [1]"] * 3


async def test_who_waits_is_told_what_was_left_out_of_the_answer(
    tmp_path: Path, embedder: BertEmbedder
) -> None:
    with model_server(slowly(refuses(500), seconds=0.3)) as model:
        settings: dict[str, Any] = {
            "answer_cache": {"kind": "memory"},
            "generator": {"kind": "openai", "base_url": f"{model.url}/v1", "model": "m"},
            "fallbacks": [{"kind": "extractive"}],
        }
        async with serving_here(tmp_path / "data", embedder, **settings) as (http, service):
            documents = [{"id": "watt", "title": "Watt", "text": FACT}]
            await ingested(http, await http.post("/v1/documents", json={"documents": documents}))
            first = asking(service)
            await until_asked(model)
            joined = await asking(service)
            made = await first
            assert joined.cached
            assert joined.cached.answer_id == made.id
            assert made.degraded[0].startswith("generate")
            assert joined.degraded == made.degraded


async def test_what_was_left_out_before_is_told_with_each_answer_and_only_there(
    service: Service, model: ModelServer
) -> None:
    query = replace(QUERY, degraded=("variant: new is not available",))
    made = await service.query.answer(query, Trace())
    again = await service.query.answer(query, Trace())
    assert (made.cached is None, again.cached is None) == (True, False)
    assert made.degraded == again.degraded == query.degraded
    assert (await service.query.answer(QUERY, Trace())).degraded == ()


async def test_who_has_less_time_does_not_wait_until_it_is_over(
    tmp_path: Path, embedder: BertEmbedder, model: ModelServer
) -> None:
    settings: dict[str, Any] = {
        "answer_cache": {"kind": "memory"},
        "generator": {"kind": "openai", "base_url": f"{model.url}/v1", "model": "m"},
        "admission": {"interactive": {"query_seconds": 6}},
    }
    async with serving_here(tmp_path / "data", embedder, **settings) as (http, service):
        documents = [{"id": "watt", "title": "Watt", "text": FACT}]
        await ingested(http, await http.post("/v1/documents", json={"documents": documents}))
        good, model.script = model.script, slowly(says(f"{FACT} [1]"), seconds=20)
        first = asking(service)
        await until_asked(model)
        model.script = good
        answer = await service.query.answer(replace(QUERY, priority="interactive"), Trace())
        assert answer.text == f"{FACT} [1]"
        first.cancel()


async def test_nobody_waits_for_a_client_that_does_not_read(
    service: Service, model: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert service.query._repeater
    monkeypatch.setattr(service.query._repeater._cache, "_patience", {"standard": 0.1})
    stream = service.query.stream(QUERY, Trace())
    await anext(stream)
    answer = await asking(service)
    assert (answer.text, answer.cached) == (f"{FACT} [1]", None)
    *_, last = [event async for event in stream]
    assert isinstance(last, Answer)
    assert last.text == answer.text


async def test_a_stream_that_is_left_half_way_keeps_nothing(
    service: Service, model: ModelServer
) -> None:
    stream = service.query.stream(QUERY, Trace())
    await anext(stream)
    await stream.aclose()
    answer = await asking(service)
    assert answer.cached is None


async def test_degraded_answers_are_not_kept(service: Service, model: ModelServer) -> None:
    model.script = says("Steam engines were first built by Martians in 1066. [1]")
    first = await asking(service)
    assert first.degraded
    model.script = quotes()
    again = await asking(service)
    assert again.cached is None
    assert not again.degraded


async def test_an_answer_made_of_documents_that_changed_meanwhile_is_not_kept(
    service: Service, model: ModelServer
) -> None:
    first = asking(service)
    await until_asked(model)
    await service.catalog.acls.set_default(SCOPE, frozenset({"public", "user:anna"}))
    assert (await first).cached is None
    again = await asking(service)
    assert again.cached is None


async def test_an_answer_made_while_a_document_is_written_is_not_kept(
    service: Service, model: ModelServer
) -> None:
    await service.catalog.unsettled.add(SCOPE, "another")
    assert (await asking(service)).cached is None
    assert (await asking(service)).cached is None
    await service.catalog.unsettled.remove(SCOPE, "another")
    assert (await asking(service)).cached is None
    assert (await asking(service)).cached is not None
