"""A real Redis: it goes away, hangs, is full, and has bytes that are no answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import REGISTRY
from redis import Redis

from rag.answer_cache.redis_store import RedisStore
from rag.build.service import Service
from rag.errors import UpstreamError
from rag.process.redis_calls import RedisCalls
from retrieval.embedders.embedder import BertEmbedder
from tests.in_process import Json, ingested, serving_here
from tests.redis_server import RedisServer, redis_server
from tests.waiting import until

pytestmark = pytest.mark.anyio

QUESTION = "When does the harbour open?"
HARBOUR = "The harbour opens at 6 in the morning. It is closed on Sundays."


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path / "redis", durable=False) as running:
        yield running


@pytest.fixture
async def served(
    tmp_path: Path, embedder: BertEmbedder, redis: RedisServer
) -> AsyncIterator[tuple[httpx.AsyncClient, Service]]:
    cache = {"kind": "redis", "url": redis.url}
    async with serving_here(tmp_path / "data", embedder, answer_cache=cache) as (http, service):
        documents = [{"id": "harbour", "title": "Harbour", "text": HARBOUR}]
        await ingested(http, await http.post("/v1/documents", json={"documents": documents}))
        yield http, service


async def ask(http: httpx.AsyncClient, query: str = QUESTION) -> Json:
    response = await http.post("/v1/query", json={"query": query})
    assert response.status_code == 200, response.text
    answer: Json = response.json()
    assert "6 in the morning" in answer["answer"]
    return answer


def failures() -> float:
    return REGISTRY.get_sample_value("plumbline_answer_cache_total", {"result": "failed"}) or 0


async def kept(redis: RedisServer) -> bytes:
    """Returns the key of the one answer that is kept."""

    def keys() -> list[bytes]:
        with Redis.from_url(redis.url) as client:
            return list(client.scan_iter("plumbline:answers:*"))

    (key,) = await until(lambda: asyncio.to_thread(keys))
    return key


async def test_it_keeps_answers_for_their_time(
    served: tuple[httpx.AsyncClient, Service], redis: RedisServer
) -> None:
    http, _ = served
    await ask(http)
    key = await kept(redis)
    with Redis.from_url(redis.url) as client:
        assert 3_500_000 < int(client.pttl(key)) <= 3_600_000
        assert json.loads(client.get(key))["question"] == QUESTION
    assert (await ask(http))["cached"]["match"] == "exact"


@pytest.mark.parametrize(
    "found",
    [b"\x80\x04\x95garbage", b"", b"null", b"{}", b'{"format": 1}', b"[" * 100_000],
    ids=["bytes", "empty", "null", "object", "cut", "deep"],
)
async def test_bytes_that_are_no_answer_are_replaced(
    served: tuple[httpx.AsyncClient, Service], redis: RedisServer, found: bytes
) -> None:
    http, _ = served
    await ask(http)
    await spoil(http, redis, found)


async def test_an_entry_of_another_version_is_replaced(
    served: tuple[httpx.AsyncClient, Service], redis: RedisServer
) -> None:
    http, _ = served
    await ask(http)
    key = await kept(redis)
    with Redis.from_url(redis.url) as client:
        entry = json.loads(client.get(key))
    await spoil(http, redis, json.dumps(entry | {"format": 0}).encode())
    del entry["answer"]["confidence"]
    await spoil(http, redis, json.dumps(entry).encode())


async def spoil(http: httpx.AsyncClient, redis: RedisServer, found: bytes) -> None:
    """Puts bytes in place of the entry: the next question says so, and the one after is well."""
    key = await kept(redis)
    with Redis.from_url(redis.url) as client:
        client.set(key, found)
        before = failures()
        answer = await ask(http)
        assert answer["cached"] is None
        assert answer["degraded"] == ["answer_cache: an entry cannot be read"]
        assert failures() == before + 1
        await until(lambda: client.get(key) != found)
    answer = await ask(http)
    assert (answer["cached"]["match"], answer["degraded"]) == ("exact", [])


async def test_it_is_killed_in_the_middle_of_traffic_and_comes_back(
    served: tuple[httpx.AsyncClient, Service],
    redis: RedisServer,
) -> None:
    http, _ = served
    await ask(http)
    await kept(redis)
    before = failures()

    async def traffic() -> list[Json]:
        return [await ask(http) for _ in range(30)]

    clients = [asyncio.create_task(traffic()) for _ in range(4)]
    await asyncio.sleep(0.1)
    redis.kill()
    answers = [answer for each in await asyncio.gather(*clients) for answer in each]
    assert len(answers) == 120
    without = [answer for answer in answers if answer["cached"] is None]
    assert without
    assert any(answer["degraded"] for answer in answers)
    for answer in answers:
        assert all("Redis does not answer" in each for each in answer["degraded"])
    assert failures() > before
    redis.start()

    async def is_back() -> bool:
        answer = await ask(http)
        return bool(answer["cached"]) and not answer["degraded"]

    await until(is_back)


async def test_a_redis_that_hangs_costs_a_bounded_wait(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rag.process.redis_calls.PAUSE_SECONDS", 60.0)
    store = RedisStore(redis.url, seconds=60, call_seconds=0.1)
    with redis.hanging():
        async with asyncio.timeout(30):
            for _ in range(3):
                with pytest.raises(UpstreamError, match="does not answer as it should"):
                    await store.get("a")
            for _ in range(100):  # not asked any more
                with pytest.raises(UpstreamError, match="asked again in"):
                    await store.get("a")
    await store.close()


@pytest.fixture
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls of Redis may take long, as on a busy machine."""
    for made, name in ((RedisStore, "call_seconds"), (RedisCalls, "seconds")):
        monkeypatch.setitem(vars(made)["__init__"].__kwdefaults__, name, 60.0)


@pytest.mark.usefixtures("_patient")
async def test_a_full_redis_is_told_by_the_answers_that_it_cannot_keep(
    served: tuple[httpx.AsyncClient, Service], redis: RedisServer
) -> None:
    http, _ = served
    await ask(http)
    await kept(redis)
    with Redis.from_url(redis.url) as client:
        client.config_set("maxmemory", "1")
        before = failures()
        for query in ("When does it open?", "When does it open on Mondays?"):
            answer = await ask(http, query)
            assert answer["cached"] is None
            assert "has it room" in answer["degraded"][0]
        assert failures() > before
        again = await ask(http)
        assert (bool(again["cached"]), again["degraded"]) == (True, [])
        client.config_set("maxmemory", "0")

    async def is_well() -> bool:
        answer = await ask(http)
        return bool(answer["cached"]) and not answer["degraded"]

    await until(is_well)


async def test_an_address_is_not_shown_with_its_password() -> None:
    store = RedisStore("redis://:hunter2@127.0.0.1:1/0", seconds=60)
    with pytest.raises(UpstreamError) as raised:
        await store.get("a")
    assert "hunter2" not in raised.value.in_full()
    await store.close()


async def test_a_tenant_of_whom_nothing_may_be_kept_has_no_entries(
    tmp_path: Path, embedder: BertEmbedder, redis: RedisServer
) -> None:
    settings: dict[str, Any] = {
        "answer_cache": {"kind": "redis", "url": redis.url},
        "privacy": {"capture": "off"},
    }
    async with serving_here(tmp_path / "data", embedder, **settings) as (http, _):
        documents = [{"id": "harbour", "title": "Harbour", "text": HARBOUR}]
        await ingested(http, await http.post("/v1/documents", json={"documents": documents}))
        for _ in range(2):
            assert (await ask(http))["cached"] is None
    with Redis.from_url(redis.url) as client:
        assert client.dbsize() == 0
