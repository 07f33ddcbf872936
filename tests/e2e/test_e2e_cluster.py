"""An API, a worker, PostgreSQL and Redis, each a process, and an index behind gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest

from tests.postgres import PostgresServer
from tests.qdrant_grpc import grpc_port
from tests.redis_server import redis_server
from tests.servers import (
    cluster_settings,
    contents,
    ended,
    serving,
    submit,
    wait_for,
    working,
)

pytestmark = pytest.mark.anyio

DOCUMENTS = 40
HALF = DOCUMENTS // 2


async def test_an_api_that_is_killed_in_a_load_loses_and_doubles_nothing(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    async with grpc_port() as port:
        with redis_server(tmp_path / "redis", durable=True) as broker:
            settings = cluster_settings(
                index_port=port, catalog_url=postgres.new_database(), broker_url=broker.url
            )
            # In a thread: the index answers on this event loop.
            await asyncio.to_thread(_load_and_kill, tmp_path, settings)


def _load_and_kill(folder: Path, settings: Mapping[str, str]) -> None:
    documents = [
        {"id": f"house-{n}", "text": "\n\n".join(f"{m * 7 + n} lamps burn in room {m}. " * 20
                                                 for m in range(4))}
        for n in range(DOCUMENTS)
    ]  # fmt: skip
    data = folder / "data"
    with serving(data, env=settings) as api, api.client() as http:
        first = _post(http, documents[:HALF])  # nobody works yet
        api.kill()
    with working(data, settings):
        with serving(data, env=settings) as api, api.client() as http:
            second = _post(http, documents[HALF:])
            wait_for(lambda: http.get(f"/v1/jobs/{first}").json()["counts"].get("succeeded"))
            api.kill()
        with serving(data, env=settings) as api, api.client() as http:
            for job in (first, second):
                assert ended(http, job)["counts"]["succeeded"] == HALF
            asked = http.post("/v1/query", json={"query": "How many lamps burn in room 3?"})
            assert "lamps burn in room 3" in asked.json()["answer"]
            loaded = contents(http, "default")
        # Meanwhile the worker is idle.
        with serving(folder / "clean") as api, api.client() as http:
            submit(http, *documents)
            assert loaded == contents(http, "default")
    assert "is not tidied" not in (folder / "worker.log").read_text()


def _post(http: httpx.Client, documents: list[dict[str, str]]) -> str:
    accepted = http.post("/v1/documents", json={"documents": documents})
    assert accepted.status_code == 202, accepted.text
    return str(accepted.json()["job_id"])
