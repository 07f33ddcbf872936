"""How long one command takes from nothing.

Measured: the wall time of commands as processes, with the shipped examples indexed and files in the
page cache. The floor of `rag query` is `python -c 'import onnxruntime, tokenizers'`, without which
nothing can encode a question; both take turns, seven times, and medians count. Targets are
absolute: a person waits. A question through a running server and `rag --help` load no model.

The floor of local commands is the same command of another build, by turns, if `RAG_BEFORE` names
its `rag`.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping

from benchmarks._common import EXAMPLES, Report, Target, p50
from benchmarks._server import RAG, examples, serving

ROUNDS = 7
QUESTION = "How long may a line of code be?"
BEFORE = os.environ.get("RAG_BEFORE")
DOCUMENTS = sorted(str(file) for file in EXAMPLES.iterdir())
LOCAL: Mapping[str, Callable[[int], list[str]]] = {
    "rag config": lambda _: ["config"],
    "rag status": lambda _: ["status"],
    "rag search": lambda _: ["search", "--json", QUESTION],
    "rag delete": lambda turn: ["delete", DOCUMENTS[turn]],
}
"""The arguments of local commands, for each turn."""


def run() -> Report:
    """Commands by turns, then once more with a server beside them."""
    report = Report()
    query = [RAG, "query", QUESTION]
    floor = [sys.executable, "-c", "import onnxruntime, tokenizers"]
    with examples() as env:
        alone, imports, usage = _by_turns([query, floor, [RAG, "--help"]], env)
        with serving(env) as url:
            (served,) = _by_turns([[*query, "--url", url]], env)
    report.add("rag query", alone, unit="s", floor=imports, target=Target(bound=0.9))
    report.add("rag query --url", served, unit="s", target=Target(bound=0.5))
    report.add("rag --help", usage, unit="s", target=Target(bound=0.3))
    for name, taken in _local([RAG] if BEFORE is None else [RAG, BEFORE]).items():
        if BEFORE is None:
            report.add(name, taken[0], unit="s")
        else:
            faster = None if name == "rag config" else Target(bound=0.6, by="ratio")
            report.add(name, taken[0], unit="s", floor=taken[1], target=faster)
    return report


def _local(builds: list[str]) -> dict[str, list[float]]:
    """Median seconds of each local command, by its name, for each build in a folder of its own."""
    taken: dict[str, list[list[float]]] = {name: [[] for _ in builds] for name in LOCAL}
    with contextlib.ExitStack() as stack:
        folders = [stack.enter_context(examples(rag)) for rag in builds]
        for turn in range(ROUNDS + 1):
            for name, arguments in LOCAL.items():
                for rag, env, seconds in zip(builds, folders, taken[name], strict=True):
                    passed = _seconds([rag, *arguments(turn)], env)
                    if turn:
                        seconds.append(passed)
    return {name: [p50(seconds) for seconds in both] for name, both in taken.items()}


def _by_turns(commands: list[list[str]], env: Mapping[str, str]) -> list[float]:
    """Median seconds of each command, after one round that fills the page cache."""
    taken: list[list[float]] = [[] for _ in commands]
    for turn in range(ROUNDS + 1):
        for command, seconds in zip(commands, taken, strict=True):
            passed = _seconds(command, env)
            if turn:
                seconds.append(passed)
    return [p50(seconds) for seconds in taken]


def _seconds(command: list[str], env: Mapping[str, str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started
