"""The cost of traces: searches with and without, by turns, and memory without a receiver.

Two servers answer the same searches, a few hundred at a time by turns: one sends all its traces to
a receiver on loopback, the other has none. Then one whose receiver is dead is asked 50,000 times,
and so is one without traces: what both grow by is not theirs. These do not rerank, which would take
most of the time.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator, Mapping

import psutil

from benchmarks._common import Report, Target, p50
from benchmarks._server import examples, launched
from benchmarks._texts import questions
from benchmarks.rest import load

ROUNDS, ROUND_SECONDS = 12, 5.0
WARM_UP_SECONDS = 60.0
ASKED = 50_000
CLIENTS = 16
MAX_RATIO, MAX_GROWTH_MIB = 1.05, 5
DEAD = "http://127.0.0.1:9"
"""The port of the discard service, where nobody listens."""


def run() -> Report:
    """Measure time, then memory."""
    report = Report()
    with examples() as env, examples() as other:  # a folder has one server
        with _receiver() as url:
            _overhead(report, env, {**other, **_langfuse(url)})
        plain, plain_other = ({**each, "RAG_RERANKER__KIND": "none"} for each in (env, other))
        _growth(report, plain, {**plain_other, **_langfuse(DEAD)})
    return report


def _langfuse(url: str) -> dict[str, str]:
    return {
        "RAG_TRACES__LANGFUSE_URL": url,
        "RAG_TRACES__PUBLIC_KEY": "pk-bench",
        "RAG_TRACES__SECRET_KEY": "sk-bench",
    }


@contextlib.contextmanager
def _receiver() -> Iterator[str]:
    command = [sys.executable, "-m", "benchmarks._receiver"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process.stdout.readline().strip() if process.stdout else ""
        finally:
            process.terminate()


def _overhead(report: Report, without: Mapping[str, str], traced: Mapping[str, str]) -> None:
    taken: dict[str, list[float]] = {"without": [], "traced": []}
    with launched(without) as off, launched(traced) as on:
        servers = {"without": off, "traced": on}
        for server in servers.values():
            server.wait_until_ready()
        for number in range(ROUNDS):
            order = sorted(servers, reverse=bool(number % 2))
            texts = [f"{text} {number}" for text in questions(100)]  # else it has their vectors
            for name in order:
                found = load(servers[name].url, clients=1, seconds=ROUND_SECONDS, questions=texts)
                taken[name] += found["latencies"][20:]  # the other one had the caches
    report.add(
        "search p50, traced",
        p50(taken["traced"]),
        unit="ms",
        floor=p50(taken["without"]),
        target=Target(bound=MAX_RATIO, by="ratio"),
    )
    report.notes.append(f"{len(taken['traced']):,} searches traced, by one client")


def _growth(report: Report, without: Mapping[str, str], traced: Mapping[str, str]) -> None:
    grown = {name: _grown(env) for name, env in (("without", without), ("traced", traced))}
    report.add("growth of a server without traces", grown["without"], unit="MiB")
    report.add(
        "growth of a server, receiver dead",
        grown["traced"],
        unit="MiB",
        floor=grown["without"],
        target=Target(bound=MAX_GROWTH_MIB, by="difference"),
    )
    report.notes.append(f"{ASKED:,} searches of each, {CLIENTS} clients")


def _grown(env: Mapping[str, str]) -> float:
    """MiB, of the server and of the process that sends."""
    with launched(env) as server:
        server.wait_until_ready()
        process = psutil.Process(server.pid)
        load(server.url, clients=CLIENTS, seconds=WARM_UP_SECONDS, questions=questions(100))
        before, count = _memory(process), 0
        while count < ASKED:
            found = load(server.url, clients=CLIENTS, seconds=60, questions=questions(100))
            count += len(found["latencies"])
        return (_memory(process) - before) / 2**20


def _memory(server: psutil.Process) -> int:
    senders = [child for child in server.children() if "traces" in child.cmdline()]
    return sum(process.memory_info().rss for process in (server, *senders))
