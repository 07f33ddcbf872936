"""The cost of a broker: documents a second through workers, and the delay of a job.

One worker takes documents all the way; or one parses them and another embeds them.

PostgreSQL, Redis and the worker are real processes on loopback. The floor of the load is
`SentenceTransformer.encode` alone on the chunks of the same documents, as in `benchmarks.ingest`.
What is enqueued is written to the catalog and given to the broker; nobody takes it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pydantic import SecretStr

from benchmarks._common import Report, SkippedError, Target
from benchmarks.ingest import MIB, examples, paragraphs, sentence_transformer, speed
from ingest.sources.files import submission_of
from rag.catalog.catalog import Catalog
from rag.catalog.database import PostgresDatabase
from rag.records import Submission
from rag.settings.storage import CeleryQueueSettings
from rag.text.passages import passage_text
from rag.types import DEFAULT_TENANT, Scope
from retrieval.embedders.checkpoint import Checkpoint
from retrieval.embedders.loading import minilm_folder
from retrieval.indexes.edge import EdgeIndex
from tests.postgres import PostgresServer
from tests.redis_server import redis_server
from workers.celery_app import celery_app
from workers.celery_queue import CeleryQueue

ENQUEUED = 10_000
SCOPE = Scope(tenant=DEFAULT_TENANT, collection="bench")


@dataclass(frozen=True, slots=True)
class Cluster:
    """A catalog, the queue before it, and what a worker must know of both."""

    catalog: Catalog
    queue: CeleryQueue
    data: Path
    environment: dict[str, str]


def run() -> Report:
    """A load on two sorts of documents, then the enqueueing."""
    report = Report()
    encode = sentence_transformer()
    with tempfile.TemporaryDirectory(prefix="plumbline-bench-") as folder:
        loads = {"examples/peps": examples()}
        try:
            loads["squad2-dev-a"] = paragraphs(Path(folder))
        except SkippedError as missing:
            report.notes.append(f"squad2-dev-a skipped: {missing}")
        for name, files in loads.items():
            speed(report, f"one worker, {name}", files, encode, partial(_load, [[]]))
            apart = partial(_load, [["--stage", "parse"], ["--stage", "embed"]])
            speed(report, f"parsing apart, {name}", files, encode, apart)
    asyncio.run(_enqueue(report))
    return report


async def _load(workers: Sequence[Sequence[str]], files: Sequence[Path]) -> tuple[float, list[str]]:
    """Seconds from the submission until the job has ended, and what was embedded."""
    async with _cluster() as cluster:
        with contextlib.ExitStack() as stack:
            for options in workers:
                stack.enter_context(_worker(cluster, options))
            started = time.perf_counter()
            job_id = await cluster.catalog.jobs.submit(SCOPE, map(submission_of, files), bulk=True)
            cluster.queue.wake()
            of = SCOPE.tenant
            while (await cluster.catalog.jobs.get(of, job_id)).state in ("pending", "running"):  # noqa: ASYNC110
                await asyncio.sleep(0.2)  # to ask costs the cores that are measured
            seconds = time.perf_counter() - started
        index = EdgeIndex(cluster.data / "index", dim=Checkpoint(minilm_folder()).dim)
        ids = sorted(await index.chunk_ids(SCOPE, None))
        texts = [passage_text(chunk) for chunk in await index.fetch(SCOPE, ids)]
        await index.close()
        return seconds, texts


async def _enqueue(report: Report) -> None:
    import psutil

    async with _cluster() as cluster:
        submissions = (
            Submission(document_id=f"d{n}", uri=f"doc:{n}", source={"spool": f"{n:032}"})
            for n in range(ENQUEUED)
        )
        memory = psutil.Process().memory_info
        before = memory().rss
        started = time.perf_counter()
        await cluster.catalog.jobs.submit(SCOPE, submissions, bulk=True)
        seconds = time.perf_counter() - started
        report.add(f"{ENQUEUED:,} documents accepted", seconds, unit="s", target=Target(bound=10))
        grown = (memory().rss - before) / MIB
        report.add("memory it took", grown, unit="MiB", target=Target(bound=20))


@contextlib.asynccontextmanager
async def _cluster() -> AsyncIterator[Cluster]:
    with (
        tempfile.TemporaryDirectory(prefix="plumbline-bench-") as name,
        PostgresServer.started() as postgres,
        redis_server(Path(name) / "redis") as broker,
    ):
        url = postgres.new_database()
        catalog = Catalog(PostgresDatabase(url))
        await catalog.open()
        await catalog.collections.claim(SCOPE, Checkpoint(minilm_folder()).fingerprint())
        settings = CeleryQueueSettings(kind="celery", broker_url=SecretStr(broker.url))
        queue = CeleryQueue(catalog=catalog, app=celery_app(settings))
        data = Path(name) / "data"
        environment = {
            "RAG_DATA_DIR": str(data),
            "RAG_CATALOG__KIND": "postgres",
            "RAG_CATALOG__URL": url,
            "RAG_QUEUE__KIND": "celery",
            "RAG_QUEUE__BROKER_URL": broker.url,
        }
        async with queue.started():
            yield Cluster(catalog, queue, data, environment)
        await catalog.close()


@contextlib.contextmanager
def _worker(cluster: Cluster, options: Sequence[str]) -> Iterator[None]:
    """A worker, from the moment it takes tasks; stopped as it is meant to be."""
    log = cluster.data.parent / f"worker{''.join(options)}.log"
    with log.open("wb") as target:
        worker = subprocess.Popen(
            [sys.executable, "-m", "rag.cli.main", "worker", *options],
            env=os.environ | cluster.environment,
            stdout=target,
            stderr=target,
        )
    try:
        while b"ready." not in log.read_bytes():
            if worker.poll() is not None:
                raise RuntimeError(log.read_text())
            time.sleep(0.05)
        yield
    finally:
        worker.send_signal(signal.SIGTERM)
        worker.wait()
