"""What both stores of entries hold to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rag.answer_cache.redis_store import RedisStore
from rag.answer_cache.stores import AnswerStore, MemoryStore
from tests.redis_server import redis_server

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["memory", "redis"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[AnswerStore]:
    if request.param == "memory":
        yield MemoryStore(max_bytes=1 << 20, seconds=2)
        return
    with redis_server(tmp_path / "redis", durable=False) as server:
        made = RedisStore(server.url, seconds=2)
        yield made
        await made.close()


async def test_values(store: AnswerStore) -> None:
    assert await store.get("a") is None
    await store.put("a", b"1")
    await store.put("a", b"2")
    await store.put("b", b"\x00")
    assert (await store.get("a"), await store.get("b")) == (b"2", b"\x00")


async def test_lists(store: AnswerStore) -> None:
    assert await store.items("l", start=0) == []
    for item in (b"1", b"2", b"3", b"4"):
        await store.append("l", item, most=3)
    assert await store.items("l", start=0) == [b"1", b"2", b"3"]
    assert await store.items("l", start=2) == [b"3"]
    assert await store.items("l", start=9) == []


async def test_both_end(store: AnswerStore) -> None:
    await store.put("a", b"1")
    await store.append("l", b"1", most=3)
    await asyncio.sleep(1.2)
    await store.append("l", b"2", most=3)  # a list lives as long as its first item
    await asyncio.sleep(1.2)
    assert await store.get("a") is None
    assert await store.items("l", start=0) == []
    await store.append("l", b"3", most=3)
    assert await store.items("l", start=0) == [b"3"]


async def test_memory_is_bounded_and_the_longest_unused_goes() -> None:
    store = MemoryStore(max_bytes=30, seconds=60)
    for key in "abc":
        await store.put(key, b"0123456789")
    await store.get("a")
    await store.put("d", b"0123456789")
    assert [await store.get(key) is not None for key in "abcd"] == [True, False, True, True]
    await store.put("huge", b"0" * 31)
    assert await store.get("huge") is None
