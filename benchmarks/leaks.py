"""Leaks of `rag serve` over ten thousand questions: memory, files, threads and processes.

A language model on a scripted server answers well, sends half an answer, nonsense, 429 and 500, by
turns; every seventh client hangs up amid its answer, every third one streams. The first two
thousand questions warm up, and count for nothing.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler

import httpx
import psutil

from benchmarks._common import Report, Target
from benchmarks._server import examples, serving
from benchmarks._texts import questions
from tests.model_server import (
    Script,
    cut,
    model_server,
    pieces_of,
    refuses,
    says,
    sends,
)

WARM_UP, ASKED = 6_000, 10_000
CLIENTS = 16
ANSWER = "A line may be 79 characters long. [1]"
PATIENCE = 60.0
SCRIPTS: tuple[Script, ...] = (
    *[says(*pieces_of(ANSWER))] * 5,
    sends(b"data: {\n\n"),
    sends(*[b": wait\n\n"] * 3, then=cut),
    refuses(429),
    refuses(500),
)
GROWTH_MIB, GROWTH_FILES = 20, 5


def run() -> Report:
    """Ask, count, ask, count again."""
    report = Report()
    turns = itertools.cycle(SCRIPTS)

    def script(handler: BaseHTTPRequestHandler) -> None:
        next(turns)(handler)

    with examples() as env, model_server(script) as model:
        llm = {
            "RAG_GENERATOR__KIND": "openai",
            "RAG_GENERATOR__BASE_URL": model.base_url,
            "RAG_GENERATOR__MODEL": "scripted",
            "RAG_GENERATOR__THRESHOLD": "0",  # all are to reach the model
        }
        with serving({**env, **llm}) as url:
            codes = asyncio.run(_send_requests(url, WARM_UP))
            before = _counted()
            codes += asyncio.run(_send_requests(url, ASKED))
            after = _counted()
    most = {
        "memory, server": GROWTH_MIB,
        "memory, embedder": GROWTH_MIB,
        "files": GROWTH_FILES,
        "threads": GROWTH_FILES,
        "processes": 0,
    }
    for name, bound in most.items():
        target = Target(bound=bound, by="difference")
        unit = "MiB" if name.startswith("memory") else ""
        report.add(name, after[name], floor=before[name], unit=unit, target=target)
    counts = ", ".join(f"{count:,} {code}" for code, count in sorted(codes.items()))
    report.notes.append(f"{WARM_UP + ASKED:,} questions by {CLIENTS} clients: {counts}")
    return report


async def _send_requests(url: str, count: int) -> Counter[str]:
    """How the questions ended: their status, or that the client hung up."""
    texts = itertools.cycle(questions(100))
    numbers = iter(range(count))
    codes: Counter[str] = Counter()
    limits = httpx.Limits(max_connections=CLIENTS)
    async with httpx.AsyncClient(base_url=url, timeout=PATIENCE, limits=limits) as http:
        await asyncio.gather(*(_client(http, numbers, texts, codes) for _ in range(CLIENTS)))
    return codes


async def _client(
    http: httpx.AsyncClient, numbers: Iterator[int], texts: Iterator[str], codes: Counter[str]
) -> None:
    for number in numbers:
        body = {"query": next(texts), "stream": number % 3 == 0}
        async with http.stream("POST", "/v1/query", json=body) as response:
            if number % 7:
                await response.aread()
                codes[str(response.status_code)] += 1
            else:  # leaving closes the connection
                codes["hung up"] += 1


def _counted() -> dict[str, float]:
    """Of the server and its children: resident MiB, open files, threads, processes."""
    (server,) = psutil.Process().children()
    models = server.children(recursive=True)
    memory = {
        "memory, server": _resident([server]),
        "memory, embedder": _resident(models),
    }
    of: dict[str, Callable[[psutil.Process], float]] = {
        "files": lambda process: process.num_fds(),
        "threads": lambda process: process.num_threads(),
        "processes": lambda _: 1,
    }
    tree = [server, *models]
    return memory | {name: float(sum(map(count, tree))) for name, count in of.items()}


def _resident(processes: Sequence[psutil.Process]) -> float:
    return float(sum(process.memory_info().rss for process in processes)) / 2**20
