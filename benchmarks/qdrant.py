"""The cost of a search on a Qdrant server on the same machine, beside the embedded index.

Measured: `POST /v1/search` without a reranker of two `rag serve`, one on each index, over the
documents of Cranfield; the floor is the embedded one's. They take turns, and the load comes from a
process of its own. CPU is the API process's own, the embedder's process not counted. "In the
index" is what an answer's `timings` say of search and fetch.

The server is the one that `QDRANT_URL`, `QDRANT_GRPC_PORT` and `QDRANT_API_KEY` name. Where none is
named, it is the client's local mode behind gRPC in a process of its own, which is far slower than a
server; so its answers are kept, and what they cost when they come at once is measured too. Not all
of that is our own side: a search takes two calls, and a server in Python takes longer for each than
one that is compiled. "Two bare calls" is the time of as many calls without content.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from qdrant_client import QdrantClient

from benchmarks._common import Report, Target, ingest, p50
from benchmarks._qdrant_servers import replay_from_here, stand_in
from benchmarks._rankings import corpus_of, submission
from benchmarks._server import Server, launched
from benchmarks.rest import CLIENTS, WARM_SECONDS, load
from eval.datasets.corpus import Corpus
from rag.build.running import start
from rag.settings.tree import load_settings

ROUNDS = 3
ALONE_SECONDS, CROWD_SECONDS = 4.0, 6.0
BARE_CALLS = 2_000
KEPT_SECONDS = 20.0
"""Of questions from one client, the answers to which are replayed."""
PLAIN = {"RAG_RERANKER__KIND": "none"}
Index = Mapping[str, str]
"""Settings of an index; none: the embedded one."""


@dataclass(slots=True)
class Seen:
    """The measurements of one server, over all rounds."""

    server: Server
    alone: list[float] = field(default_factory=list)
    """Milliseconds of each search of one client."""
    per_second: list[float] = field(default_factory=list)
    """Searches of all clients, for each round."""
    cpu_ms: list[float] = field(default_factory=list)
    """Of the API process for each search under that load, for each round."""
    inside: list[float] = field(default_factory=list)
    """Milliseconds in the index of each search that is asked alone."""
    errors: list[str] = field(default_factory=list)


def run() -> Report:
    """Fill both indexes, then ask both by turns."""
    report = Report()
    corpus = corpus_of("cranfield")
    texts = [question.text for question in corpus.questions]
    with contextlib.ExitStack() as stack:
        name = stack.enter_context(tempfile.TemporaryDirectory(prefix="plumbline-bench-"))
        data = Path(name) / "embedded"
        asyncio.run(_fill(data, corpus, {}))
        embedded = stack.enter_context(_serving(data, {}))
        data = Path(name) / "served"
        if index := _named():
            stack.callback(_remove, index)
            asyncio.run(_fill(data, corpus, index))
            served = stack.enter_context(_serving(data, index))
            _compare(report, "Qdrant", texts, embedded, served, index=index)
            return report
        local, _ = stack.enter_context(stand_in("local"))
        asyncio.run(_fill(data, corpus, _at(local)))
        port, replay = stack.enter_context(stand_in("replay", local))
        served = stack.enter_context(_serving(data, _at(port)))
        load(served.url, clients=1, seconds=KEPT_SECONDS, questions=texts)
        _compare(report, "local mode", texts, embedded, served, index=_at(port), rounds=1)
        replay_from_here(replay)
        _compare(report, "replayed", texts, embedded, served, index=_at(port))
    report.notes.append(
        "QDRANT_URL names no server: none of this was run on one. `local mode` is the tests'"
        " stand-in, in Python; `replayed` are its answers at once: our own side of the cost, and"
        " two calls to a server in Python."
    )
    return report


def _compare(
    report: Report,
    name: str,
    texts: Sequence[str],
    embedded: Server,
    served: Server,
    *,
    index: Index,
    rounds: int = ROUNDS,
) -> None:
    """Both servers by turns; local mode, which takes long, in one round and without targets."""
    floor, found = Seen(embedded), Seen(served)
    for seen in (floor, found):
        load(seen.server.url, clients=CLIENTS, seconds=WARM_SECONDS, questions=texts)
    for _ in range(rounds):
        for seen in (floor, found):
            _query_one_by_one(seen, texts)
        for seen in (floor, found):
            _query_together(seen, texts)
    report.add(
        f"{name}: search p50, 1 client",
        p50(found.alone),
        unit="ms",
        floor=p50(floor.alone),
        target=Target(bound=2, by="difference") if rounds == ROUNDS else None,
    )
    report.add(
        f"{name}: throughput, {CLIENTS} clients",
        p50(found.per_second),
        unit="requests/s",
        floor=p50(floor.per_second),
        target=Target(bound=0.8, by="ratio", at_least=True) if rounds == ROUNDS else None,
    )
    report.add(
        f"{name}: API process, {CLIENTS} clients",
        p50(found.cpu_ms),
        unit="ms CPU/request",
        floor=p50(floor.cpu_ms),
    )
    report.add(
        f"{name}: in the index, 1 client", p50(found.inside), unit="ms", floor=p50(floor.inside)
    )
    report.add(f"{name}: two bare calls, 1 client", 2 * _bare_call_ms(index), unit="ms")
    errors = floor.errors + found.errors
    report.add(f"{name}: errors", len(errors), target=Target(bound=0))
    report.notes += [f"error: {error}" for error in errors[:3]]


def _query_one_by_one(seen: Seen, texts: Sequence[str]) -> None:
    found = load(seen.server.url, clients=1, seconds=ALONE_SECONDS, questions=texts)
    seen.alone += found["latencies"]
    seen.errors += found["errors"]
    for text in texts[::4]:
        timings = seen.server.post("/v1/search", {"query": text, "top_k": 10})["timings"]
        seen.inside.append(timings["search"] + timings["fetch"])


def _query_together(seen: Seen, texts: Sequence[str]) -> None:
    process = psutil.Process(seen.server.pid)
    before = process.cpu_times()
    found = load(seen.server.url, clients=CLIENTS, seconds=CROWD_SECONDS, questions=texts)
    after = process.cpu_times()
    spent = after.user + after.system - before.user - before.system
    seen.cpu_ms.append(1e3 * spent / len(found["latencies"]))
    seen.per_second.append(found["per_second"])
    seen.errors += found["errors"]


def _bare_call_ms(index: Index) -> float:
    """Returns the median time in ms of a call that carries nothing, from one connection."""
    taken: list[float] = []
    with contextlib.closing(_client(index)) as client:
        for _ in range(BARE_CALLS):
            began = time.perf_counter()
            client.info()
            taken.append(1e3 * (time.perf_counter() - began))
    return p50(taken)


@contextlib.contextmanager
def _serving(data: Path, index: Index) -> Iterator[Server]:
    env = {key: value for key, value in os.environ.items() if not key.startswith("RAG_")}
    variables = {f"RAG_INDEX__{key.upper()}": value for key, value in index.items()}
    with launched({**env, **PLAIN, **variables, "RAG_DATA_DIR": str(data)}) as server:
        server.wait_until_ready()
        yield server


async def _fill(data: Path, corpus: Corpus, index: Index) -> None:
    """The corpus as the default collection of a data folder and its index."""
    settings: dict[str, Any] = {"index": dict(index)} if index else {}
    async with start(load_settings(data_dir=data, **settings)) as (service, queue):
        submissions = [submission(service, p.id, p.title, p.text) for p in corpus.passages]
        await ingest(service, queue, submissions, collection="default")


def _at(port: str) -> Index:
    """A stand-in; local mode takes its time where many ask."""
    url = f"http://127.0.0.1:{port}"
    return {"kind": "qdrant", "url": url, "grpc_port": port, "timeout": "60"}


def _named() -> Index:
    """The server that the environment names, and collections of our own there; empty: none."""
    values = {
        "url": os.environ.get("QDRANT_URL", ""),
        "grpc_port": os.environ.get("QDRANT_GRPC_PORT", ""),
        "api_key": os.environ.get("QDRANT_API_KEY", ""),
    }
    if not values["url"]:
        return {}
    prefix = f"bench_{uuid.uuid4().hex}_"
    return {"kind": "qdrant", "prefix": prefix, **{k: v for k, v in values.items() if v}}


def _remove(index: Index) -> None:
    """Removes the collections that the benchmark made."""
    with contextlib.closing(_client(index)) as client:
        for each in client.get_collections().collections:
            if each.name.startswith(index["prefix"]):
                client.delete_collection(each.name)


def _client(index: Index) -> QdrantClient:
    return QdrantClient(
        url=index["url"],
        api_key=index.get("api_key"),
        grpc_port=int(index.get("grpc_port", 6334)),
        prefer_grpc=True,
        check_compatibility=False,
    )
