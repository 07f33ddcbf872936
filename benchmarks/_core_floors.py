"""The scaling of the machine itself: two processes with nothing in common, each on its own core.

`python -m benchmarks._core_floors encoder SECONDS` encodes a question again and again, once a line
on standard input says so, and prints how many in a second. `… app` serves an app of one route, and
prints its port.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from typing import IO

import uvicorn
from fastapi import FastAPI

from benchmarks.rest import load
from retrieval.embedders.loading import load_bert, minilm_folder
from retrieval.embedders.messages import Text

CLIENTS = 16
QUESTION = "When does the harbour open in the morning?"


@contextlib.contextmanager
def pinned(cores: Collection[int]) -> Iterator[None]:
    """Keeps this thread, and the processes that it starts, on these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextlib.contextmanager
def children(kind: str, cores: Sequence[int], *arguments: str) -> Iterator[list[Child]]:
    """Yields a child on each core, ready."""
    with contextlib.ExitStack() as stack:
        made = [stack.enter_context(_child(kind, core, *arguments)) for core in cores]
        for each in made:
            each.ready()
        yield made


class Child:
    """A process of this module on one core."""

    def __init__(self, core: int, process: subprocess.Popen[str]) -> None:
        assert process.stdin
        assert process.stdout
        self.core = core
        self._in: IO[str] = process.stdin
        self._out: IO[str] = process.stdout
        self._said = ""

    def ready(self) -> None:
        """Waits for its first line."""
        self._said = self._out.readline().strip()

    def encoded(self) -> float:
        """Texts that it encodes in a second."""
        print("go", file=self._in, flush=True)
        return float(self._out.readline())

    def answered(self, seconds: float) -> float:
        """Requests that it answers in a second; the load comes from its own core."""
        url = f"http://127.0.0.1:{self._said}"
        with pinned([self.core]):
            found = load(url, clients=CLIENTS, seconds=seconds, questions=(), path="/")
        return float(found["per_second"])


def encoders(made: Sequence[Child]) -> float:
    """Texts that these encode in a second, all at once."""
    with ThreadPoolExecutor() as threads:
        return sum(threads.map(Child.encoded, made))


def apps(made: Sequence[Child], seconds: float) -> float:
    """Requests that these answer in a second, all at once."""
    with ThreadPoolExecutor() as threads:
        return sum(threads.map(Child.answered, made, repeat(seconds)))


@contextlib.contextmanager
def _child(kind: str, core: int, *arguments: str) -> Iterator[Child]:
    command = [sys.executable, "-m", "benchmarks._core_floors", kind, *arguments]
    pipe = subprocess.PIPE
    with (
        pinned([core]),
        subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process,
    ):
        try:
            yield Child(core, process)
        finally:
            process.terminate()


def _encode(seconds: float) -> None:
    encode = load_bert(minilm_folder(), "cpu", "auto", 1)
    texts = [Text(QUESTION, "question", "query")]
    encode(texts)
    print("ready", flush=True)
    for _ in sys.stdin:
        count, started = 0, time.perf_counter()
        while (taken := time.perf_counter() - started) < seconds:
            encode(texts)
            count += 1
        print(count / taken, flush=True)


def _serve() -> None:
    app = FastAPI()

    @app.get("/")
    async def _() -> dict[str, str]:
        return {"state": "ok"}

    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    config = uvicorn.Config(app, log_level="warning", access_log=False)
    uvicorn.Server(config).run(sockets=[listener])


def main() -> None:
    """Runs what the arguments name, until it is terminated."""
    if sys.argv[1] == "encoder":
        _encode(float(sys.argv[2]))
    else:
        _serve()


if __name__ == "__main__":
    main()
