"""What the typed client adds to a request.

Measured: `Client.search` and `Client.ask` against a real `rag serve` on loopback over the shipped
examples, and the same requests by `httpx.Client` alone, which parses the JSON. Both by turns, with
the same question in a turn, so that the server's caches serve both alike: each is first in every
other turn.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx

from benchmarks._common import Report, Target, p50
from benchmarks._server import examples, serving
from benchmarks._texts import sentences
from rag.client import Client

Ask = Callable[[str], Any]
SECONDS = 15.0
WARM_TURNS = 20
ADDED_MS = 1.0


def run() -> Report:
    """Searches, then questions."""
    report = Report()
    with (
        examples() as env,
        serving(env) as url,
        Client(url) as client,
        httpx.Client(base_url=url, timeout=120) as http,
    ):
        pairs: dict[str, tuple[Ask, Ask]] = {
            "search": (client.search, _by_httpx(http, "/v1/search")),
            "ask": (client.ask, _by_httpx(http, "/v1/query")),
        }
        for name, (ours, plain) in pairs.items():
            _measure(report, name, ours, plain)
    return report


def _by_httpx(http: httpx.Client, path: str) -> Ask:
    return lambda question: http.post(path, json={"query": question}).json()


def _measure(report: Report, name: str, ours: Ask, plain: Ask) -> None:
    questions = sentences()
    walls: tuple[list[float], list[float]] = ([], [])
    cpus = ([0.0], [0.0])
    began = time.perf_counter()
    turn = 0
    while time.perf_counter() - began < SECONDS or turn < 2 * WARM_TURNS:
        question = questions[turn % len(questions)]
        ours(question)  # the first of a question fills the caches
        for place in (0, 1) if turn % 2 else (1, 0):
            wall, cpu = time.perf_counter(), time.process_time()
            (ours, plain)[place](question)
            if turn >= WARM_TURNS:
                walls[place].append(1000 * (time.perf_counter() - wall))
                cpus[place][0] += 1000 * (time.process_time() - cpu)
        turn += 1
    target = Target(bound=ADDED_MS, by="difference")
    report.add(f"{name} p50", p50(walls[0]), unit="ms", floor=p50(walls[1]), target=target)
    counted = len(walls[0])
    report.add(
        f"{name}, CPU time of the client",
        cpus[0][0] / counted,
        unit="ms",
        floor=cpus[1][0] / counted,
        target=target,
    )
    report.notes.append(f"{name}: {counted} turns")
