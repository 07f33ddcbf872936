"""Two servers on one PostgreSQL, one index and one Redis: each gives the answers of the other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest

from tests.postgres import PostgresServer
from tests.qdrant_grpc import grpc_port
from tests.redis_server import redis_server
from tests.servers import Json, serving, submit

pytestmark = pytest.mark.anyio

QUESTION = {"query": "When does the harbour open?"}
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


def _asked(http: httpx.Client) -> Json:
    answer: Json = http.post("/v1/query", json=QUESTION).json()
    return answer
