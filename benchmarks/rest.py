"""The cost of HTTP for a search, alone and with many concurrent clients.

Measured: `POST /v1/search` of a real `rag serve` on loopback over the shipped examples, each
question another one, from a load generator in a process of its own.

Alone, the floor is the same search called in process on the same data folder, before the server
starts and after it has stopped: there is nothing in it but the retrieval. With 32 clients the
floors are the server's own figures of the same run: its throughput with one client, for what a
batch gains shows in the ratio, and the median latency under that load, which the slowest percent
must not be far from.

All of that without a reranker, which would be most of what is timed. What the default one does to
both is added at the end, beside the figures without it.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks._common import Report, Target, p50, percentile
from benchmarks._server import examples, serving
from benchmarks._texts import sentences
from rag.build.running import start
from rag.settings.tree import load_settings
from rag.telemetry.trace import Trace
from rag.types import DEFAULT_TENANT, Query, Scope

CLIENTS = 32
ALONE_SECONDS = 10.0
IN_PROCESS = 200
WARM_SECONDS = 2.0
PLAIN = {"RAG_RERANKER__KIND": "none"}


def run(seconds: float) -> Report:
    """In process, one client, many clients, one client, in process."""
    report = Report()
    texts = sentences()
    with examples() as env:
        folder = Path(env["RAG_DATA_DIR"])
        direct = asyncio.run(_in_process(folder, texts))
        with serving({**env, **PLAIN}) as url:
            load(url, clients=CLIENTS, seconds=WARM_SECONDS, questions=texts)
            before = load(url, clients=1, seconds=ALONE_SECONDS, questions=texts)
            crowd = load(url, clients=CLIENTS, seconds=seconds, questions=texts)
            after = load(url, clients=1, seconds=ALONE_SECONDS, questions=texts)
        direct += asyncio.run(_in_process(folder, texts))
        with serving(env) as url:
            load(url, clients=CLIENTS, seconds=ALONE_SECONDS, questions=texts)
            read_alone = load(url, clients=1, seconds=ALONE_SECONDS, questions=texts)
            read_crowd = load(url, clients=CLIENTS, seconds=ALONE_SECONDS, questions=texts)
    alone = before["latencies"] + after["latencies"]
    one = (before["per_second"] + after["per_second"]) / 2
    _report(report, direct=direct, alone=alone, one=one, crowd=crowd)
    report.add(
        "reranked, search p50, 1 client", p50(read_alone["latencies"]), unit="ms", floor=p50(alone)
    )
    report.add(
        f"reranked, throughput, {CLIENTS} clients",
        read_crowd["per_second"],
        unit="requests/s",
        floor=crowd["per_second"],
    )
    loads = (before, crowd, after, read_alone, read_crowd)
    errors = [error for load in loads for error in load["errors"]]
    report.add("errors", len(errors), target=Target(bound=0))
    report.notes += [f"error: {error}" for error in errors[:3]]
    return report


def _report(
    report: Report,
    *,
    direct: Sequence[float],
    alone: Sequence[float],
    one: float,
    crowd: Mapping[str, Any],
) -> None:
    report.add(
        "search p50, 1 client",
        p50(alone),
        unit="ms",
        floor=p50(direct),
        target=Target(bound=5, by="difference"),
    )
    report.add(
        f"throughput, {CLIENTS} clients",
        crowd["per_second"],
        unit="requests/s",
        floor=one,
        target=Target(bound=3, by="ratio", at_least=True),
    )
    report.add(
        f"search p99, {CLIENTS} clients",
        percentile(crowd["latencies"], 99),
        unit="ms",
        floor=p50(crowd["latencies"]),
        target=Target(bound=3, by="ratio"),
    )
    report.notes.append(
        f"{len(crowd['latencies']):,} requests from {CLIENTS} clients; the load generator took"
        f" {crowd['client_cpu']:.0%} of a core"
    )


async def _in_process(folder: Path, texts: Sequence[str]) -> list[float]:
    """Milliseconds of searches, one after the other, without HTTP."""
    scope = Scope(tenant=DEFAULT_TENANT, collection="default")
    taken = []
    async with start(load_settings(data_dir=folder, reranker={"kind": "none"})) as (service, _):
        for number in range(IN_PROCESS):
            text = f"{texts[number % len(texts)]} {number}"
            started = time.perf_counter()
            await service.query.search(Query(text=text, scope=scope), Trace())
            taken.append((time.perf_counter() - started) * 1e3)
    return taken


def load(
    url: str,
    *,
    clients: int,
    seconds: float,
    questions: Sequence[str],
    path: str = "/v1/search",
    headers: Mapping[str, str] | None = None,
    numbered: bool = True,
) -> dict[str, Any]:
    """The result of `benchmarks._load`, run in a separate process; `numbered`: none is repeated."""
    command = [sys.executable, "-m", "benchmarks._load", url + path, str(clients), str(seconds)]
    given = json.dumps({"questions": questions, "headers": headers or {}, "numbered": numbered})
    done = subprocess.run(command, input=given, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found
