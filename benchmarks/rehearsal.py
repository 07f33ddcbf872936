"""Failed requests and lost documents while processes are replaced, killed and restarted under load.

Two `rag serve` behind a balancer and one `rag worker`, on PostgreSQL and Redis; 16 clients ask and
submit documents, one request after another. The floor of failed requests is those in flight: on the
killed process, or on all of them where a server behind them is restarted. Qdrant is the client's
local mode in a process of its own. Orders and signals are those of the Helm chart, and times are
shorter.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from benchmarks._common import Report, Target, percentile
from tests.postgres import PostgresServer
from tests.redis_server import RedisServer, redis_server
from tests.rehearsal import CLIENTS, Cluster, Load, qdrant, settings, stored

ROUNDS = 1
PAUSE = 0.2
"""Seconds from an answer to the client's next request."""
NONE = Target(bound=0)
IN_FLIGHT = Target(bound=0, by="difference")
Event = Callable[[], Awaitable[int]]
"""Does something to the cluster; returns the number of requests in flight that it may cost."""


def run() -> Report:
    """Each event in turn, while the load goes on."""
    report = Report()
    with (
        tempfile.TemporaryDirectory(prefix="plumbline-bench-") as folder,
        PostgresServer.started() as postgres,
        redis_server(Path(folder) / "redis") as broker,
        qdrant() as index,
    ):
        cluster = Cluster(Path(folder), settings(postgres, broker, index))
        asyncio.run(_rehearse(report, cluster, postgres, broker))
    return report


async def _rehearse(
    report: Report, cluster: Cluster, postgres: PostgresServer, broker: RedisServer
) -> None:
    async with cluster.started():
        load = Load(cluster.port, pause=PAUSE)
        await load.prepare()
        async with load.running():
            for name, event in _events(cluster, load, postgres, broker).items():
                failed = in_flight = 0
                for _ in range(ROUNDS):
                    before = len(load.failures)
                    in_flight += await event()
                    await load.answered(sum(load.outcomes.values()) + 2 * CLIENTS)
                    failed += len(load.failures) - before
                target = IN_FLIGHT if in_flight else NONE
                floor = in_flight or None
                report.add(f"failed: {name}", failed, floor=floor, target=target)
        lost, doubled = await stored(cluster.port, load)
        report.add("documents accepted", len(load.accepted))
        report.add("documents lost", len(lost), target=NONE)
        report.add("documents doubled", len(doubled), target=NONE)
        report.add("requests that succeeded", sum(load.outcomes.values()))
        for q in (50, 99):
            milliseconds = [1e3 * each for each in load.latencies]
            report.add(f"answer, p{q}", percentile(milliseconds, q), unit="ms")
        report.add("from SIGTERM to the end, longest", max(cluster.stops), unit="s")
        report.notes.append(f"rounds: {ROUNDS}, {CLIENTS} clients, {PAUSE:g} s between")
        report.notes += [f"failed: {reason}" for _, reason in load.failures[:10]]


def _events(
    cluster: Cluster, load: Load, postgres: PostgresServer, broker: RedisServer
) -> dict[str, Event]:
    async def update_servers() -> int:
        await cluster.update_apis()
        return 0

    async def update_workers() -> int:
        await cluster.update_workers()
        return 0

    async def kill_worker() -> int:
        await cluster.kill_worker()
        return 0

    async def restart_broker() -> int:
        await asyncio.to_thread(broker.kill)
        await asyncio.to_thread(broker.start)
        return 0

    def restart_postgres(mode: str) -> Event:
        async def restart() -> int:
            in_flight = load.in_flight
            await asyncio.to_thread(postgres.stop, mode)
            await asyncio.to_thread(postgres.start)
            return in_flight

        return restart

    return {
        "rolling update of servers": update_servers,
        "rolling update of workers": update_workers,
        "server killed": cluster.kill_api,
        "worker killed": kill_worker,
        "Redis killed and started": restart_broker,
        "PostgreSQL restarted, fast": restart_postgres("fast"),
        "PostgreSQL restarted, immediate": restart_postgres("immediate"),
    }
