"""How long one command takes from nothing.

Measured: the wall time of `rag query` as a process, with the shipped examples indexed and files in
the page cache. The floor is `python -c 'import torch'`, without which nothing can encode a
question; both take turns, seven times, and medians count. A question through a running server and
`rag --help` load no model, so their targets are absolute: what a person takes for at once.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping

from benchmarks._common import Report, Target, p50
from benchmarks._server import RAG, examples, serving

ROUNDS = 7
QUESTION = "How long may a line of code be?"


def run() -> Report:
    """Commands by turns, then once more with a server beside them."""
    report = Report()
    query = [RAG, "query", QUESTION]
    floor = [sys.executable, "-c", "import torch"]
    with examples() as env:
        alone, torch, usage = _by_turns([query, floor, [RAG, "--help"]], env)
        with serving(env) as url:
            (served,) = _by_turns([[*query, "--url", url]], env)
    target = Target(bound=2.5, by="difference")
    report.add("rag query", alone, unit="s", floor=torch, target=target)
    report.add("rag query --url", served, unit="s", target=Target(bound=0.5))
    report.add("rag --help", usage, unit="s", target=Target(bound=0.3))
    return report


def _by_turns(commands: list[list[str]], env: Mapping[str, str]) -> list[float]:
    """Median seconds of each command, after one round that fills the page cache."""
    taken: list[list[float]] = [[] for _ in commands]
    for turn in range(ROUNDS + 1):
        for command, seconds in zip(commands, taken, strict=True):
            started = time.perf_counter()
            subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL)
            if turn:
                seconds.append(time.perf_counter() - started)
    return [p50(seconds) for seconds in taken]
