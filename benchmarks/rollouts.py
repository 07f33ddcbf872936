"""The cost of rollouts: shadows beside served questions, routing, and what canaries decide.

Two engines answer after a quarter of a second, each a process of its own. One `rag serve` over the
shipped examples asks the first, and a shadow of all questions the second, by turns with a rollout
that is killed. Questions come one after the other, with random pauses between them. Routing is
timed without a server. Canaries are simulated (`tests/canaries.py`): nothing is tolerated, so an
equal variant is as near to a rollback as it can be.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
import random
import statistics
import time
from collections.abc import Iterator
from itertools import count
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

import httpx

from benchmarks._common import Report, Target, p50
from benchmarks._server import examples, launched
from benchmarks._texts import sentences
from rag.records import Rollout
from rag.rollouts.observations import Observations
from rag.rollouts.router import Router, Variant
from rag.telemetry.trace import Trace
from rag.types import Query, Scope
from tests.canaries import Engine, simulate
from tests.model_server import model_server, quotes, slowly

if TYPE_CHECKING:
    from rag.pipeline.query import QueryPipeline

ENGINE_SECONDS = 0.25
ROUNDS, PER_ROUND, WARM = 8, 20, 5
THINK_SECONDS = 0.4
"""Longest pause between two questions; they come when they come, not when a shadow ends."""
SETTLED_SECONDS = 3.0
"""After a change of the rollout, until it holds and shadows of before are done."""
CALLS = 20_000
EQUAL_RUNS, WORSE_RUNS = 200, 20
WORSE = {
    "scores 0.8 → 0.6": Engine(loss=0.4),
    "scores 0.8 → 0.7": Engine(loss=0.3),
    "twice as slow": Engine(seconds=1.6),
    "1.5 times as slow": Engine(seconds=1.2),
    "errors 1 % → 10 %": Engine(errors=0.1),
    "errors 1 % → 50 %": Engine(errors=0.5),
    "index emptied": Engine(abstained=1.0),
}


def run() -> Report:
    """Routing and canaries without a server, then shadows by turns."""
    report = Report()
    asyncio.run(_routing(report))
    _canaries(report)
    with _engine() as first, _engine() as second, examples() as env:
        variants = {"other": {"generator": {"base_url": second}}}
        own = {
            "RAG_GENERATOR__KIND": "openai",
            "RAG_GENERATOR__BASE_URL": first,
            "RAG_GENERATOR__MODEL": "quotes",
            "RAG_VARIANTS": json.dumps(variants),
        }
        with launched({**env, **own}) as server:
            server.wait_until_ready()
            with httpx.Client(base_url=server.url, timeout=60) as http:
                _shadows(report, http)
    return report


def _shadows(report: Report, http: httpx.Client) -> None:
    texts, number, pauses = sentences(), count(), random.Random(0)
    body = {"kind": "shadow", "variant": "other", "version": 0}
    version = _sent(http.put("/v1/rollouts/all", json=body))["version"]
    taken: dict[str, list[float]] = {"kill": [], "resume": []}
    for _ in range(ROUNDS):
        for action, times in taken.items():
            change = {"action": action, "version": version}
            version = _sent(http.post("/v1/rollouts/all", json=change))["version"]
            time.sleep(SETTLED_SECONDS)
            for place in range(WARM + PER_ROUND):
                time.sleep(pauses.uniform(0, THINK_SECONDS))
                question = {"query": texts[next(number) % len(texts)]}
                started = time.perf_counter()
                _sent(http.post("/v1/query", json=question))
                if place >= WARM:
                    times.append((time.perf_counter() - started) * 1e3)
    with_shadow, without = p50(taken["resume"]), p50(taken["kill"])
    target = Target(bound=1.02, by="ratio")
    report.add(
        "served p50, all questions shadowed", with_shadow, unit="ms", floor=without, target=target
    )
    time.sleep(SETTLED_SECONDS)
    scrape = http.get("/metrics").text
    for outcome in ("answered", "failed", "dropped"):
        line = f'plumbline_shadows_total{{outcome="{outcome}"}} '
        report.add(f"shadows {outcome}", float(scrape.split(line)[1].split()[0]))


async def _routing(report: Report) -> None:
    base: Any = object()
    pipeline: QueryPipeline = base
    for rollouts in (1, 20):
        router = Router(Observations(), collections=base)
        router.variants = {"v": Variant(pipeline)}
        fitting = [
            Rollout(
                name=f"{n:02}",
                kind="flag",
                variant="v",
                percent=50.0,
                tenants=None if n == rollouts - 1 else frozenset({"other"}),
            )
            for n in range(rollouts)
        ]
        router.follow(fitting)
        query = Query(text="When?", scope=Scope(tenant="acme", collection="default"))
        trace = Trace(user="ann")
        started = time.process_time()
        for _ in range(CALLS):
            await router.route(query, trace, pipeline)
        spent = (time.process_time() - started) / CALLS * 1e3
        target = Target(bound=0.2)
        report.add(f"routing, {rollouts} rollouts", spent, unit="ms of CPU", target=target)


def _canaries(report: Report) -> None:
    equal = [simulate(Engine(), Engine(), seed, look=10.0) for seed in range(EQUAL_RUNS)]
    false = sum(run.state == "rolled_back" for run in equal) / EQUAL_RUNS
    report.add(f"false rollbacks of {EQUAL_RUNS} equal runs", false, target=Target(bound=0.05))
    for name, variant in WORSE.items():
        runs = [simulate(variant, Engine(), seed, look=4.0) for seed in range(WORSE_RUNS)]
        found = sum(run.state == "rolled_back" for run in runs) / WORSE_RUNS
        report.add(f"rolled back: {name}", found, target=Target(bound=1.0, at_least=True))
        questions = statistics.median(run.questions for run in runs)
        report.add(f"questions of the variant until then: {name}", questions)


def _sent(response: httpx.Response) -> dict[str, Any]:
    found: dict[str, Any] = response.raise_for_status().json()
    return found


@contextlib.contextmanager
def _engine() -> Iterator[str]:
    """Yields the URL of an engine in a process of its own."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs,))
    process.start()
    try:
        yield ours.recv()
    finally:
        ours.send(None)
        process.join()


def _serve(connection: Connection) -> None:
    with model_server(slowly(quotes(), seconds=ENGINE_SECONDS)) as server:
        connection.send(server.base_url)
        connection.recv()
