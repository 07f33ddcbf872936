"""Servers that take turns on the same cores, with all that they use; and the CPU of each part."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import psutil

from benchmarks._core_floors import pinned
from benchmarks._qdrant_servers import replay_from_here, stand_in
from benchmarks._server import Server, launched
from benchmarks.rest import load
from tests.postgres import PostgresServer
from tests.redis_server import redis_server

MIB = 1 << 20
CLIENTS = 32
TEXT = "The harbour opens at 6 in the morning."
QUESTION = "When does the harbour open?"
QUERY, SEARCH = "/v1/query", "/v1/search"
Work = Literal["searches", "hits"]
KEPT_SECONDS = 2.0
"""Of questions from one client, the searches of which are replayed."""
LEAST_SHARE = 0.2
"""Of the work, for each process of a server: with less, not all of them were asked."""


@dataclass(frozen=True, slots=True)
class Run:
    """The result of one load."""

    per_second: float
    cpu_ms: Mapping[str, float]
    """For each answer, by part."""
    busy: float
    """Share of the cores' time that all parts took."""
    shares: Sequence[float]
    """Those of the server's processes in its own work."""
    errors: Sequence[str]


@dataclass(slots=True)
class Case:
    """A server on some cores, with an index and databases that all cases have in common."""

    name: str
    cores: Sequence[int]
    processes: int
    server: Server
    parts: Mapping[str, int]
    """The first process of each part."""
    runs: dict[Work, list[Run]] = field(default_factory=dict)
    memory: float = 0.0

    def ask(self, work: Work, seconds: float) -> None:
        """Loads it and all its parts on its cores; the load generator runs there, too."""
        for pid in self.parts.values():
            pin(pid, self.cores)
        with pinned(self.cores):
            self._load(work, 1.0)
            before, started = self._cpu(), time.perf_counter()
            served = [_seconds([each]) for each in self._serving()]
            found = self._load(work, seconds)
            taken, after = time.perf_counter() - started, self._cpu()
        spent = {part: after[part] - before[part] for part in after}
        spent["load generator"] = found["client_cpu"] * seconds
        own = [_seconds([e]) - b for e, b in zip(self._serving(), served, strict=True)]
        count = len(found["latencies"])
        run = Run(
            per_second=found["per_second"],
            cpu_ms={part: 1e3 * each / count for part, each in spent.items()},
            busy=sum(spent.values()) / taken / len(self.cores),
            shares=[each / sum(own) for each in own],
            errors=found["errors"],
        )
        if min(run.shares) < LEAST_SHARE:
            raise RuntimeError(f"{self.name}: the processes took {run.shares} of the work")
        self.runs.setdefault(work, []).append(run)

    def best(self, work: Work) -> Run:
        """The fastest run."""
        return max(self.runs[work], key=lambda run: run.per_second)

    def cpu_ms(self, work: Work) -> float:
        """Milliseconds of all parts for an answer, the fewest of all runs."""
        return min(sum(run.cpu_ms.values()) for run in self.runs[work])

    def measure_memory(self) -> None:
        """Adds up the proportional shares of memory of the server's processes, in MiB."""
        found = sum(each.memory_full_info().pss for each in _family(self.server.pid))
        self.memory = found / MIB

    def _load(self, work: Work, seconds: float) -> dict[str, Any]:
        return load(
            self.server.url,
            clients=CLIENTS,
            seconds=seconds,
            questions=[QUESTION],
            path=SEARCH if work == "searches" else QUERY,
            numbered=work == "searches",
        )

    def _cpu(self) -> dict[str, float]:
        return {part: _seconds(_family(pid)) for part, pid in self.parts.items()}

    def _serving(self) -> list[psutil.Process]:
        """The processes that answer; the encoder and others are their children."""
        if self.processes == 1:
            return [psutil.Process(self.server.pid)]
        return [
            each
            for each in psutil.Process(self.server.pid).children()
            if "spawn_main" in " ".join(each.cmdline())
        ]


@contextlib.contextmanager
def opened(wanted: Iterable[tuple[str, Sequence[int], int]]) -> Iterator[list[Case]]:
    """Yields the cases, ready, of which each has a name, cores, and a number of processes."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="plumbline-bench-")))
        postgres = stack.enter_context(PostgresServer.started())
        redis = stack.enter_context(redis_server(folder / "redis", durable=False))
        cases = []
        for number, (name, cores, processes) in enumerate(wanted):
            local, _ = stack.enter_context(stand_in("local"))
            port, replay = stack.enter_context(stand_in("replay", local))
            env = os.environ | {
                "RAG_DATA_DIR": str(folder / str(number)),
                "RAG_SERVER__PROCESSES": str(processes),
                "RAG_INDEX__KIND": "qdrant",
                "RAG_INDEX__URL": f"http://127.0.0.1:{port}",
                "RAG_INDEX__GRPC_PORT": port,
                "RAG_INDEX__TIMEOUT": "60",
                "RAG_RERANKER__KIND": "none",  # what is replayed is of plain searches
                "RAG_CATALOG__KIND": "postgres",
                "RAG_CATALOG__URL": postgres.new_database(),
                "RAG_ANSWER_CACHE__KIND": "redis",
                "RAG_ANSWER_CACHE__URL": f"{redis.url.removesuffix('/0')}/{number}",
            }
            with pinned(cores):
                server = stack.enter_context(launched(env))
            _prepare(server, processes, replay)
            pids = (server.pid, postgres.pid, redis.pid, replay.pid)
            parts = dict(zip(("server", "postgres", "redis", "index"), pids, strict=True))
            cases.append(Case(name, cores, processes, server, parts))
        yield cases


def _prepare(server: Server, processes: int, replay: subprocess.Popen[str]) -> None:
    """Stores the text, keeps what the index answers, and lets it be replayed."""
    for _ in range(2 * processes):  # connections go to the processes by turns
        server.wait_until_ready()
    server.post("/v1/documents", {"documents": [{"id": "harbour", "text": TEXT}]})
    deadline = time.monotonic() + 120
    while not server.post(QUERY, {"query": QUESTION})["cached"]:
        if time.monotonic() > deadline:
            raise RuntimeError("no answer is given again")
        time.sleep(0.1)
    load(server.url, clients=processes, seconds=KEPT_SECONDS, questions=[QUESTION])
    replay_from_here(replay)


def pin(pid: int, cores: Collection[int]) -> None:
    """Keeps a process, those below it, and all their threads on these cores."""
    for process in _family(pid):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for thread in Path(f"/proc/{process.pid}/task").iterdir():
                os.sched_setaffinity(int(thread.name), cores)


def _family(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def _seconds(processes: Iterable[psutil.Process]) -> float:
    """CPU time of processes, and of those below them that have ended."""
    total = 0.0
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            total += sum(process.cpu_times()[:4])
    return total
