"""`rag worker` on a real broker and a real PostgreSQL; processes are killed by SIGKILL."""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from ingest.sources.files import submission_of
from rag.catalog.catalog import Catalog
from rag.catalog.database import PostgresDatabase
from rag.catalog.interrupted import GIVEN_UP
from rag.errors import UpstreamError
from rag.records import JobRecord
from rag.settings.storage import CeleryQueueSettings
from rag.types import DEFAULT_TENANT, Scope
from retrieval.embedders.checkpoint import Checkpoint
from retrieval.indexes.edge import EdgeIndex
from tests import papers
from tests.disks import fill, small_disk
from tests.forked import Process
from tests.ports import free_port
from tests.postgres import PostgresServer
from tests.redis_server import RedisServer, redis_server
from tests.servers import PATIENCE, RAG, rag, start, wait_for
from tests.shallow_minilm import make_shallow_minilm
from workers.celery_app import celery_app
from workers.celery_queue import CeleryQueue

pytestmark = pytest.mark.anyio

SCOPE = Scope(tenant=DEFAULT_TENANT, collection="default")
DIM = 384


@dataclass
class Cluster:
    """A catalog, a broker, and workers that start and end."""

    folder: Path
    broker: RedisServer
    catalog_url: str
    catalog: Catalog
    queue: CeleryQueue
    embedder: dict[str, str]
    extra: dict[str, str] = field(default_factory=dict)
    """Further settings of workers."""
    started: list[Process] = field(default_factory=list)

    def kill_workers(self) -> None:
        """Kills the workers that a failed test left running."""
        for worker in self.started:
            worker.kill()
            worker.wait()

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> Path:
        return self.folder / "worker.log"

    def settings(self, *, metrics: int = 0) -> dict[str, str]:
        settings = {
            "RAG_CATALOG__KIND": "postgres",
            "RAG_CATALOG__URL": self.catalog_url,
            "RAG_QUEUE__KIND": "celery",
            "RAG_QUEUE__BROKER_URL": self.broker.url,
            "RAG_QUEUE__VISIBILITY_SECONDS": "5",
        }
        if metrics:
            settings["RAG_QUEUE__METRICS_PORT"] = str(metrics)
        return settings | self.embedder | self.extra

    def start_worker(self, *options: str, metrics: int = 0, program: str = "") -> Process:
        """Starts a worker and waits until it takes tasks; `metrics` is Prometheus's port.

        See `tests.servers.start` for `program`.
        """
        settings = self.settings(metrics=metrics)
        before = self.log.stat().st_size if self.log.exists() else 0
        worker = start(
            "worker", *options, data=self.data, log=self.log, env=settings, program=program
        )
        self.started.append(worker)

        def ready() -> bool:
            log = self.log.read_bytes()[before:].decode()
            assert worker.poll() is None, log
            return "ready." in log

        wait_for(ready)
        return worker

    @contextlib.contextmanager
    def worker(self, *options: str, metrics: int = 0) -> Iterator[Process]:
        """Runs a worker in the block; then sends SIGTERM and checks that it exits with 0."""
        worker = self.start_worker(*options, metrics=metrics)
        try:
            yield worker
        finally:
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(PATIENCE) == 0, self.log.read_text()

    async def submit(self, files: Sequence[Path], *, bulk: bool = False) -> str:
        job = await self.catalog.jobs.submit(SCOPE, map(submission_of, files), bulk=bulk)
        self.queue.wake()
        return job

    async def ended(self, job_id: str, *, seconds: float = PATIENCE) -> JobRecord:
        return await self.until(
            job_id, lambda job: job.state not in ("pending", "running"), seconds=seconds
        )

    async def until(
        self, job_id: str, holds: Callable[[JobRecord], bool], *, seconds: float = PATIENCE
    ) -> JobRecord:
        async with asyncio.timeout(seconds):
            while True:
                job = await self.catalog.jobs.get(SCOPE.tenant, job_id)
                if holds(job):
                    return job
                await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def running(
    folder: Path, postgres: PostgresServer, *, durable: bool = True, dispatching: bool = True
) -> AsyncIterator[Cluster]:
    url = postgres.new_database()
    catalog = Catalog(PostgresDatabase(url))
    await catalog.open()
    model = make_shallow_minilm(folder / "model")
    await catalog.collections.claim(SCOPE, Checkpoint(model).fingerprint())
    with redis_server(folder / "redis", durable=durable) as broker:
        app = celery_app(CeleryQueueSettings(kind="celery", broker_url=SecretStr(broker.url)))
        queue = CeleryQueue(catalog=catalog, app=app)
        async with queue.started() if dispatching else contextlib.nullcontext():
            embedder = {"RAG_EMBEDDER__MODEL": str(model)}
            cluster = Cluster(folder, broker, url, catalog, queue, embedder)
            try:
                yield cluster
            finally:
                cluster.kill_workers()
        app.close()
    await catalog.close()


@pytest.fixture
async def cluster(tmp_path: Path, postgres: PostgresServer) -> AsyncIterator[Cluster]:
    async with running(tmp_path, postgres) as made:
        yield made


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.celery_queue.LOST_SECONDS", 3.0)


def write(folder: Path, count: int) -> list[Path]:
    """Writes documents of several kinds, a few chunks each."""
    folder.mkdir()
    files = []
    for n in range(count):
        words = [f"Document {n} says in paragraph {m} that {n * 31 + m} lamps burn. " * 8
                 for m in range(4)]  # fmt: skip
        match n % 10:
            case 0:
                file, data = folder / f"{n:03}.docx", papers.docx(*map(papers.paragraph, words))
            case 1:
                file, data = (
                    folder / f"{n:03}.pdf",
                    papers.pdf(*(w.replace(". ", ".\n") for w in words)),
                )
            case _:
                file, data = folder / f"{n:03}.txt", "\n\n".join(words).encode()
        file.write_bytes(data)
        files.append(file)
    return files


async def stored(data: Path) -> dict[str, str]:
    """Returns the text of every chunk by its id; no process may own the folder."""
    index = EdgeIndex(data / "index", dim=DIM)
    ids = sorted(await index.chunk_ids(SCOPE, None))
    chunks = await index.fetch(SCOPE, ids)
    await index.close()
    return {chunk.id: chunk.text for chunk in chunks}


async def clean_load(cluster: Cluster, files: Sequence[Path]) -> dict[str, str]:
    data = cluster.folder / "clean"
    ran = await asyncio.to_thread(rag, "ingest", *files, data=data, env=cluster.embedder)
    assert ran.returncode == 0, ran.stderr
    return await stored(data)


async def test_a_worker_ingests_what_the_broker_hands_out(cluster: Cluster) -> None:
    files = write(cluster.folder / "files", 20)
    port, notice = free_port(), cluster.folder / "notice"
    cluster.extra["RAG_SERVER__STOP_NOTICE"] = str(notice)
    with cluster.worker(metrics=port) as worker:
        job = await cluster.ended(await cluster.submit(files))
        assert (job.state, job.counts) == ("succeeded", {"succeeded": 20})
        again = await cluster.ended(await cluster.submit(files, bulk=True))
        assert again.outcomes == {"unchanged": 20}
        metrics = await asyncio.to_thread(httpx.get, f"http://127.0.0.1:{port}/metrics")
        assert 'plumbline_documents_total{outcome="stored",tenant=""} 20.0' in metrics.text
        assert 'plumbline_documents_total{outcome="unchanged",tenant=""} 20.0' in metrics.text
        settings = cluster.settings(metrics=port)
        taken = rag("worker", "--stage", "parse", data=cluster.data, env=settings, command=RAG)
        assert taken.returncode == 2
        assert "Each worker on a machine needs a port of its own" in taken.stderr
        notice.touch()
        assert await asyncio.to_thread(worker.wait, PATIENCE) == 0
    assert await stored(cluster.data) == await clean_load(cluster, files)


async def whole(cluster: Cluster, files: Sequence[Path]) -> None:
    """Checks that nothing is lost or doubled: the chunks equal those of an undisturbed load."""
    assert await stored(cluster.data) == await clean_load(cluster, files)
    for record in await cluster.catalog.documents.page(SCOPE, limit=1000):
        assert (record.state, record.error) == ("succeeded", None)


async def test_a_worker_that_is_killed_again_and_again_loses_and_doubles_nothing(
    cluster: Cluster,
) -> None:
    files = write(cluster.folder / "files", 300)
    job = await cluster.submit(files, bulk=True)
    chance = random.Random(7)
    for _ in range(10):
        worker = await asyncio.to_thread(cluster.start_worker)
        await asyncio.sleep(chance.uniform(0.0, 0.6))
        worker.kill()
        worker.wait()
    with cluster.worker():
        record = await cluster.ended(job)
        if record.counts.get("failed"):  # slow enough, one is under way at five of the ten kills
            assert {failure["error"] for failure in record.failures} == {GIVEN_UP}
            await cluster.catalog.jobs.retry(SCOPE.tenant, job)
            cluster.queue.wake()
            record = await cluster.ended(job)
    assert record.counts == {"succeeded": 300}
    await whole(cluster, files)


async def test_one_worker_parses_and_another_embeds(cluster: Cluster) -> None:
    files = write(cluster.folder / "files", 20)
    job = await cluster.submit(files)
    with cluster.worker("--stage", "parse"):
        parsed = await cluster.until(job, lambda record: record.stages == {"embed": 20})
        assert parsed.counts == {"pending": 20}
        for file in files:
            file.unlink()  # embedding no longer needs the files
        with cluster.worker("--stage", "embed"):
            assert (await cluster.ended(job)).outcomes == {"stored": 20}
    shutil.rmtree(cluster.folder / "files")
    await whole(cluster, write(cluster.folder / "files", 20))


async def test_workers_that_are_killed_in_each_stage_lose_and_double_nothing(
    cluster: Cluster,
) -> None:
    files = write(cluster.folder / "files", 100)
    job = await cluster.submit(files, bulk=True)
    chance = random.Random(11)
    for stage in ("parse", "embed") * 3:
        worker = await asyncio.to_thread(cluster.start_worker, "--stage", stage)
        await asyncio.sleep(chance.uniform(0.1, 0.6))
        worker.kill()
        worker.wait()
    with cluster.worker("--stage", "parse"), cluster.worker("--stage", "embed"):
        assert (await cluster.ended(job)).counts == {"succeeded": 100}
    await whole(cluster, files)


async def test_a_broker_that_is_killed_and_forgets_loses_nothing(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    async with running(tmp_path, postgres, durable=False) as cluster:
        files = write(cluster.folder / "files", 60)
        with cluster.worker():
            job = await cluster.submit(files)
            await some(cluster, job)
            cluster.broker.kill()
            await asyncio.sleep(1)
            await asyncio.to_thread(cluster.broker.start)
            assert (await cluster.ended(job)).counts == {"succeeded": 60}
        await whole(cluster, files)


async def some(cluster: Cluster, job_id: str) -> None:
    """Waits until a few documents of a job are done."""
    async with asyncio.timeout(PATIENCE):
        while (await cluster.catalog.jobs.get(SCOPE.tenant, job_id)).counts.get("succeeded", 0) < 5:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_a_catalog_that_is_restarted_loses_nothing(tmp_path: Path) -> None:
    with PostgresServer.started() as postgres:
        async with running(tmp_path, postgres) as cluster:
            files = write(cluster.folder / "files", 60)
            with cluster.worker():
                job = await cluster.submit(files)
                await some(cluster, job)
                await asyncio.to_thread(postgres.stop)
                await asyncio.sleep(1)
                await asyncio.to_thread(postgres.start)
                assert (await cluster.ended(job)).counts == {"succeeded": 60}
            await whole(cluster, files)


async def test_a_dispatcher_that_dies_between_catalog_and_broker_loses_nothing(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    async with running(tmp_path, postgres) as cluster:
        files = write(cluster.folder / "files", 20)
        with cluster.worker():
            cluster.broker.kill()
            job = await cluster.submit(files)
            await asyncio.sleep(1.5)
            assert (await cluster.catalog.jobs.get(SCOPE.tenant, job)).state == "pending"
            await asyncio.to_thread(cluster.broker.start)
            assert (await cluster.ended(job)).counts == {"succeeded": 20}
        await whole(cluster, files)


async def test_a_broker_that_hangs_is_given_up_and_given_the_tasks_later(
    tmp_path: Path, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.celery_app.ANSWER_SECONDS", 0.5)
    # Alone: the cluster's own dispatcher might be first to take the task.
    async with running(tmp_path, postgres, dispatching=False) as cluster:
        with cluster.broker.hanging():
            await cluster.catalog.jobs.submit(SCOPE, [submission_of(tmp_path / "a.txt")])
            with pytest.raises(UpstreamError, match="broker does not answer"):
                async with asyncio.timeout(PATIENCE):
                    await cluster.queue.drain()
        await cluster.queue.drain()


async def test_tasks_that_are_delivered_many_times_are_done_once(cluster: Cluster) -> None:
    files = write(cluster.folder / "files", 10)  # delivered four times, they have room
    job = await cluster.submit(files)
    for _ in range(3):
        await asyncio.sleep(0.3)
        await cluster.catalog.tasks.requeue([("parse", False)], older_than=0)
        await cluster.queue.drain()
    with cluster.worker():
        assert (await cluster.ended(job)).outcomes == {"stored": 10}
    await whole(cluster, files)


async def test_what_always_crashes_its_parser_is_in_the_dead_letter_list(
    cluster: Cluster,
) -> None:
    files = write(cluster.folder / "files", 4)
    bomb = cluster.folder / "bomb.docx"
    bomb.write_bytes(papers.docx(papers.paragraph("x" * (300 << 20))))
    with cluster.worker():
        job = await cluster.ended(await cluster.submit([*files, bomb]))
        assert job.counts == {"succeeded": 4, "failed": 1}
        [failure] = job.failures
        assert failure["uri"] == bomb.as_uri()
        assert "bomb.docx" in failure["error"]
        [dead] = await cluster.catalog.documents.page(SCOPE, limit=9, state="failed")
        assert dead.error == failure["error"]
        bomb.write_bytes(papers.docx(papers.paragraph("Harmless now.")))
        await cluster.catalog.jobs.retry(SCOPE.tenant, job.id)
        assert (await cluster.ended(job.id)).counts == {"succeeded": 5}


async def test_a_full_disk_fails_documents_with_its_reason_and_they_can_be_retried(
    cluster: Cluster,
) -> None:
    files = write(cluster.folder / "files", 30)
    with small_disk(cluster.data, 400):
        with cluster.worker():
            first = await cluster.ended(await cluster.submit(files[:10]))
            assert first.counts == {"succeeded": 10}
            filler = fill(cluster.data, leave=0)
            full = await cluster.ended(await cluster.submit(files[10:]))
            assert full.counts == {"failed": 20}
            assert "disk is full" in (full.error or "").lower()
            filler.unlink()
            await cluster.catalog.jobs.retry(SCOPE.tenant, full.id)
            assert (await cluster.ended(full.id)).counts == {"succeeded": 20}
        await whole(cluster, files)


async def test_what_waits_is_cancelled_and_what_is_interactive_goes_first(
    cluster: Cluster,
) -> None:
    files = write(cluster.folder / "files", 60)
    bulk = await cluster.submit(files[:50], bulk=True)
    now = await cluster.submit(files[50:55])
    gone = await cluster.submit(files[55:], bulk=True)
    assert (await cluster.catalog.jobs.cancel(SCOPE.tenant, gone)).state == "cancelled"
    with cluster.worker():
        await cluster.ended(now)
        assert (await cluster.catalog.jobs.get(SCOPE.tenant, bulk)).state in (
            "pending",
            "running",
        )
        assert (await cluster.ended(bulk)).counts == {"succeeded": 50}
    assert (await cluster.catalog.jobs.get(SCOPE.tenant, gone)).counts == {"cancelled": 5}
    with cluster.worker("--priority", "bulk"):
        left = await cluster.submit(files[:1])
        taken = await cluster.submit(files[1:2], bulk=True)
        assert (await cluster.ended(taken)).counts == {"succeeded": 1}
        assert (await cluster.catalog.jobs.get(SCOPE.tenant, left)).counts == {"pending": 1}


def test_a_worker_that_parses_alone_needs_a_catalog_that_is_shared(tmp_path: Path) -> None:
    settings = {"RAG_QUEUE__KIND": "celery", "RAG_QUEUE__BROKER_URL": "redis://127.0.0.1:1/0"}
    ran = rag("worker", "--stage", "parse", data=tmp_path / "data", env=settings)
    assert ran.returncode == 2
    assert "catalog.kind" in ran.stderr


def test_a_worker_without_a_broker_says_what_to_set(tmp_path: Path) -> None:
    ran = rag("worker", data=tmp_path / "data")
    assert ran.returncode == 2
    assert 'Set queue.kind = "celery"' in ran.stderr
