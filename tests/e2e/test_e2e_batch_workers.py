"""Workers that answer lines of batches, on a real PostgreSQL, one of which is killed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from rag.catalog.batch_tables import batch_lines
from rag.catalog.database import PostgresDatabase
from tests.e2e.test_e2e_batches import chat, client_of, ended, read, sent
from tests.postgres import PostgresServer
from tests.qdrant_grpc import grpc_port
from tests.redis_server import redis_server
from tests.servers import (
    RAG,
    cluster_settings,
    rag,
    serving,
    start,
    submit,
    wait_for,
    working,
)

pytestmark = pytest.mark.anyio
LINES = 200


async def test_workers_share_a_batch_and_one_that_is_killed_is_replaced(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    async with grpc_port() as port:
        with redis_server(tmp_path / "redis", durable=True) as broker:
            settings = cluster_settings(
                index_port=port, catalog_url=postgres.new_database(), broker_url=broker.url
            )
            # In a thread: the index answers on this event loop.
            await asyncio.to_thread(_kill_a_worker, tmp_path, settings)


def _kill_a_worker(folder: Path, settings: Mapping[str, str]) -> None:
    data, log = folder / "data", folder / "killed.log"
    answers_none = {**settings, "RAG_BATCHES__AT_ONCE": "0"}
    with serving(data, env=answers_none) as api, client_of(api.url) as openai:
        with working(data, settings), api.client() as http:
            submit(http, {"id": "a", "text": "The office opens at nine."})
        batch = sent(openai, *(chat(n) for n in range(LINES)))
        assert openai.batches.retrieve(batch.id).status == "validating"
        killed = start("worker", "--batches", data=data, log=log, env=settings, command=RAG)

        def completed() -> int:
            assert killed.poll() is None, log.read_text()
            counts = openai.batches.retrieve(batch.id).request_counts
            return counts.completed if counts else 0

        with working(data, settings, "--batches"):
            wait_for(completed)
            killed.kill()
            killed.wait()
            asyncio.run(_end_leases(settings["RAG_CATALOG__URL"]))
            done = ended(openai, batch)
        output = read(openai, done.output_file_id)
    assert (done.status, done.error_file_id) == ("completed", None)
    assert [line["custom_id"] for line in output] == [f"line-{n}" for n in range(LINES)]


async def _end_leases(url: str) -> None:
    """Ends the leases of all lines, as 45 seconds do."""
    database = PostgresDatabase(url)
    async with database.write() as db:
        await db.execute(batch_lines.update().values(due_at=0.0))
    await database.close()


def test_a_worker_that_would_answer_none_says_so(tmp_path: Path) -> None:
    env = {"RAG_BATCHES__AT_ONCE": "0"}
    ran = rag("worker", "--batches", data=tmp_path / "data", env=env)
    assert ran.returncode == 2
    assert "batches.at_once is 0" in ran.stderr
