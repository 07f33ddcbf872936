"""A rolling update under load, and a restart of PostgreSQL: see `tests.rehearsal`.

`python -m benchmarks.run rehearsal` does it for longer, and kills processes.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.postgres import PostgresServer
from tests.redis_server import redis_server
from tests.rehearsal import CLIENTS, Cluster, Load, qdrant, settings, stored


@pytest.mark.anyio
async def test_an_update_and_a_restart_under_load_fail_no_request_and_lose_nothing(
    tmp_path: Path,
) -> None:
    with (
        PostgresServer.started() as postgres,
        redis_server(tmp_path / "redis") as broker,
        qdrant() as index,
    ):
        cluster = Cluster(tmp_path, settings(postgres, broker, index))
        async with cluster.started():
            load = Load(cluster.port, pause=0.5)
            await load.prepare()
            async with load.running():
                await asyncio.gather(cluster.update_apis(), cluster.update_workers())
                assert load.failures == []
                await asyncio.to_thread(postgres.stop, "fast")
                await asyncio.to_thread(postgres.start)
                before = sum(load.outcomes.values())
                await load.answered(before + CLIENTS)
            assert len(load.failures) <= CLIENTS  # one for each request in flight, at most
            assert {*load.outcomes} == {"query", "search", "submit"}
            assert await stored(cluster.port, load) == (set(), set())
