"""Two servers on one PostgreSQL, one index and one Redis: each gives the answers of the other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.model_server import ModelServer, model_server, quotes, slowly
from tests.postgres import PostgresServer
from tests.qdrant_grpc import grpc_port
from tests.redis_server import redis_server
from tests.servers import PATIENCE, Json, serving, submit

pytestmark = pytest.mark.anyio

QUESTION = {"query": "When does the harbour open?"}
SLOW, HUNG = 1.0, 300.0
"""Seconds of the model to an answer, and more than any test has."""
HARBOUR = {"id": "harbour", "text": "The harbour opens at 6 in the morning."}


async def test_one_gives_the_answers_of_the_other_until_the_document_is_deleted(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    async with grpc_port() as port:
        with redis_server(tmp_path / "redis", durable=False) as redis:
            settings = {
                "RAG_INDEX__KIND": "qdrant",
                "RAG_INDEX__URL": f"http://127.0.0.1:{port}",
                "RAG_INDEX__GRPC_PORT": str(port),
                "RAG_CATALOG__KIND": "postgres",
                "RAG_CATALOG__URL": postgres.new_database(),
                "RAG_ANSWER_CACHE__KIND": "redis",
                "RAG_ANSWER_CACHE__URL": redis.url,
            }
            # In a thread: the index answers on this event loop.
            await asyncio.to_thread(_ask_both, tmp_path, settings)
            with model_server(quotes()) as model:
                generator = {
                    "RAG_GENERATOR__KIND": "openai",
                    "RAG_GENERATOR__BASE_URL": model.base_url,
                    "RAG_GENERATOR__MODEL": "tiny",
                }
                await asyncio.to_thread(_ask_at_once, tmp_path, settings | generator, model)


def _ask_both(folder: Path, settings: Mapping[str, str]) -> None:
    with (
        serving(folder / "one", env=settings) as one,
        serving(folder / "two", env=settings) as two,
        one.client() as here,
        two.client() as there,
    ):
        submit(here, HARBOUR)
        first = _asked(here)
        again = _asked(there)
        for _ in range(100):  # it is kept a moment after it was given
            if again["cached"]:
                break
            time.sleep(0.05)
            again = _asked(there)
        assert again["cached"]["match"] == "exact"
        assert again["answer"] == first["answer"]

        assert there.delete("/v1/documents/harbour").is_success
        gone = _asked(here)
        assert gone["cached"] is None
        assert "6 in the morning" not in str(gone)

        submit(there, HARBOUR | {"text": "The harbour opens at 9 in the morning."})
        assert "9 in the morning" in _asked(here)["answer"]


def _ask_at_once(folder: Path, settings: Mapping[str, str], model: ModelServer) -> None:
    """Both are asked while one makes the answer, and again while one is killed."""
    with (
        serving(folder / "one", env=settings) as one,
        serving(folder / "two", env=settings) as two,
        one.client() as here,
        two.client() as there,
        ThreadPoolExecutor() as threads,
    ):
        good = model.script
        model.script = slowly(good, seconds=SLOW)
        first = threads.submit(_asked, here)
        asked(model, 1)
        others = [threads.submit(_asked, http) for http in (here, there, there)]
        answers = [each.result() for each in (first, *others)]
        assert len(model.requests) == 1
        assert len({each["answer"] for each in answers}) == 1
        assert [bool(each["cached"]) for each in answers] == [False, True, True, True]

        submit(there, HARBOUR | {"text": "The harbour opens at 7 in the morning."})
        model.script = slowly(good, seconds=HUNG)
        lost = threads.submit(here.post, "/v1/query", json=QUESTION)
        asked(model, 2)
        model.script = good
        other = threads.submit(_asked, there)
        one.kill()
        assert isinstance(lost.exception(), httpx.TransportError)
        assert "7 in the morning" in other.result()["answer"]
        assert other.result()["cached"] is None


def asked(model: ModelServer, times: int) -> None:
    """Waits until the model was asked so many times."""
    ends = time.monotonic() + PATIENCE
    while len(model.requests) < times:
        assert time.monotonic() < ends
        time.sleep(0.01)


def _asked(http: httpx.Client) -> Json:
    answer: Json = http.post("/v1/query", json=QUESTION).json()
    return answer
