"""Two of vLLM's own servers, as replicas."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import count, islice

import httpx
import pytest

from generation.replicas.engine_metrics import EngineState, read_engine_metrics
from generation.replicas.model import ReplicatedModel
from generation.replicas.pool import Pool
from rag.types import Message, Sampling
from tests.replicas import replicated
from tests.tiny_llama import make_tiny_llama
from tests.vllm_servers import MISSING, vllm_servers

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(MISSING is not None, reason=f"{MISSING} is not installed: docs/replicas.md"),
    # A server is two processes that load torch: minutes on a busy machine.
    pytest.mark.timeout(900),
]
TOPICS, QUESTIONS = 3, 4
"""Topics of each replica, and questions about each."""


@pytest.fixture(scope="module")
def urls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    folder = tmp_path_factory.mktemp("vllm")
    model = make_tiny_llama(folder / "tiny-llama", context=1024)
    with vllm_servers(model, 2, log=folder / "log", forked=True) as running:
        yield running


async def state(url: str) -> EngineState:
    async with httpx.AsyncClient() as http:
        text = (await http.get(url.replace("/v1", "/metrics"))).text
    found = read_engine_metrics(text)
    assert found is not None
    return found


def prompt(topic: int, question: int) -> tuple[Message, ...]:
    return (
        Message(role="system", content="Answer from the passages."),
        Message(role="user", content=f"<passage {topic}>" + f"{topic} word " * 60 + f"Q{question}"),
    )


def topics_of(model: ReplicatedModel, pool: Pool, replica: int) -> list[int]:
    """Returns topics whose prompts go to a replica: its place on the ring is that of its port."""

    def owner(topic: int) -> int | None:
        asked = model._asked(prompt(topic, 0), Sampling(max_tokens=2))
        choice = pool.choose(asked.key, 1)
        return choice.replica if choice else None

    return list(islice((topic for topic in count() if owner(topic) == replica), TOPICS))


async def ask(model: ReplicatedModel, topic: int, question: int) -> None:
    async for piece in model.stream(prompt(topic, question), sampling=Sampling(max_tokens=2)):
        last = piece
    assert last.usage is not None
    assert last.usage.output_tokens == 2


async def test_questions_about_the_same_passages_find_them_in_one_engines_cache(
    urls: list[str],
) -> None:
    async with replicated(urls) as (model, pool):
        assert [pool.is_in(replica) for replica in range(2)] == [True, True]
        topics = [topic for replica in range(2) for topic in topics_of(model, pool, replica)]
        for question in range(QUESTIONS):
            await asyncio.gather(*(ask(model, topic, question) for topic in topics))
    states = [await state(url) for url in urls]
    hits = sum(each.prefix_hits for each in states)
    queries = sum(each.prefix_queries for each in states)
    assert all(each.prefix_queries for each in states)
    assert hits / queries > 0.5


async def test_a_server_without_the_model_is_out(urls: list[str]) -> None:
    async with replicated(urls) as (model, pool):
        await ask(model, 0, 0)
        assert pool.is_in(0)
    async with replicated(urls, model="another") as (_, pool):
        assert not pool.is_in(0)
        assert not pool.is_in(1)
