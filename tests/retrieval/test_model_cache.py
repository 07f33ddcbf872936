"""Vectors and scores in a real Redis, of two tenants and two processes, and without it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from prometheus_client import REGISTRY
from redis import Redis

from rag.types import Chunk, Float32Array, Kind, Query, Scope
from retrieval.model_cache import ModelCache
from tests.fakes import HashEmbedder, make_chunk
from tests.in_process import ingested, serving_here
from tests.redis_server import RedisServer, redis_server

if TYPE_CHECKING:
    from retrieval.embedders.embedder import BertEmbedder

pytestmark = pytest.mark.anyio
TEXTS = ["the harbour", "the kitchen"]


class Scorer:
    """A reranker that scores the length of a text."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    async def score(self, _query: Query, chunks: Sequence[Chunk]) -> Float32Array:
        self.seen += [chunk.text for chunk in chunks]
        return np.array([len(chunk.text) for chunk in chunks], np.float32)


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis") / "a", durable=False) as running:
        yield running


@pytest.fixture
async def cache(redis: RedisServer) -> AsyncIterator[ModelCache]:
    Redis.from_url(redis.url).flushall()
    made = ModelCache(redis.url, seconds=60, reranker="r")
    yield made
    await made.close()


def query(text: str = "Where?", *, tenant: str = "acme") -> Query:
    return Query(text=text, scope=Scope(tenant=tenant, collection="c"))


async def test_a_text_is_embedded_once_for_a_tenant_whoever_asks(
    cache: ModelCache, redis: RedisServer
) -> None:
    first, second = HashEmbedder(), HashEmbedder()
    made, fault = await cache.embed(first, TEXTS, kind="passage", tenant="acme")
    assert fault is None
    other = ModelCache(redis.url, seconds=60, reranker="r")  # of another process
    again, fault = await other.embed(second, [*TEXTS, "new"], kind="passage", tenant="acme")
    await other.close()
    assert (second.embedded, fault) == (["new"], None)
    np.testing.assert_array_equal(again[:2], made)
    np.testing.assert_array_equal(made, await HashEmbedder().embed(TEXTS, kind="passage"))


async def test_another_tenant_kind_or_model_has_none_of_it(cache: ModelCache) -> None:
    await cache.embed(HashEmbedder(), TEXTS, kind="passage", tenant="acme")
    asked: list[tuple[Kind, str]] = [("passage", "rival"), ("query", "acme")]
    for kind, tenant in asked:
        embedder = HashEmbedder()
        await cache.embed(embedder, TEXTS, kind=kind, tenant=tenant)
        assert embedder.embedded == TEXTS
    other = HashEmbedder(fingerprint="other weights")
    await cache.embed(other, TEXTS, kind="passage", tenant="acme")
    assert other.embedded == TEXTS


async def test_passages_are_scored_once_for_a_question_of_a_tenant(
    cache: ModelCache, redis: RedisServer
) -> None:
    chunks = [make_chunk("a"), make_chunk("bb", document_id="other")]
    scorer = Scorer()
    first, _ = await cache.score(scorer, query(), chunks)
    second, _ = await cache.score(scorer, query(), [*chunks, make_chunk("ccc")])
    assert scorer.seen == ["a", "bb", "ccc"]
    assert (first.tolist(), second.tolist()) == ([1, 2], [1, 2, 3])
    assert second.dtype == np.float32
    for asked, reranker in ((query("Why?"), "r"), (query(tenant="rival"), "r"), (query(), "s")):
        other, fresh = ModelCache(redis.url, seconds=60, reranker=reranker), Scorer()
        await other.score(fresh, asked, chunks)
        await other.close()
        assert fresh.seen == ["a", "bb"]


async def test_no_text_is_kept_and_everything_ends(cache: ModelCache, redis: RedisServer) -> None:
    await cache.embed(HashEmbedder(), ["the secret harbour"], kind="passage", tenant="acme")
    await cache.score(Scorer(), query("secret?"), [make_chunk("secret")])
    client = Redis.from_url(redis.url)
    keys: Any = client.keys()
    assert len(keys) == 2
    for key in keys:
        value: Any = client.get(key)
        assert b"secret" not in key + value
        assert b"acme" not in key
        assert 0 < int(client.ttl(key)) <= 60


async def test_bytes_that_are_no_vector_are_made_anew(
    cache: ModelCache, redis: RedisServer
) -> None:
    expected, _ = await cache.embed(HashEmbedder(), TEXTS[:1], kind="query", tenant="acme")
    client = Redis.from_url(redis.url)
    keys: Any = client.keys()
    client.set(keys[0], b"garbage")
    embedder = HashEmbedder()
    found, fault = await cache.embed(embedder, TEXTS[:1], kind="query", tenant="acme")
    assert (embedder.embedded, fault) == (TEXTS[:1], None)
    np.testing.assert_array_equal(found, expected)


async def test_nothing_is_asked_of_it_for_nothing(cache: ModelCache) -> None:
    vectors, fault = await cache.embed(HashEmbedder(), [], kind="passage", tenant="acme")
    assert (len(vectors), fault) == (0, None)


async def test_without_redis_all_goes_on_and_says_so(
    tmp_path: Path, embedder: BertEmbedder
) -> None:
    def failures() -> float:
        return REGISTRY.get_sample_value("plumbline_model_cache_failures_total") or 0

    with redis_server(tmp_path / "redis", durable=False) as redis:
        settings = {"model_cache": {"url": redis.url}}
        async with serving_here(tmp_path / "data", embedder, **settings) as (http, _):
            documents = [{"id": "harbour", "text": "The harbour opens at 6 in the morning."}]
            await ingested(http, await http.post("/v1/documents", json={"documents": documents}))
            body = {"query": "When does the harbour open?"}
            before = (await http.post("/v1/query", json=body)).json()
            assert before["degraded"] == []
            assert Redis.from_url(redis.url).dbsize() == 2  # the passage, the question
            redis.kill()
            failed = failures()
            after = (await http.post("/v1/query", json=body)).json()
            assert after["answer"] == before["answer"]
            assert after["degraded"][0].startswith("model_cache: Redis does not answer")
            assert redis.url not in str(after)
            assert failures() > failed
            more = [{"id": "kitchen", "text": "The kitchen is warm at noon."}]
            job = await ingested(http, await http.post("/v1/documents", json={"documents": more}))
            assert job["counts"]["succeeded"] == 1
