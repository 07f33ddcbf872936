"""The contract of `Queue`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from rag.catalog.catalog import Catalog
from rag.errors import RagError, UpstreamError
from rag.protocols import Queue
from rag.records import Task
from rag.settings.storage import CeleryQueueSettings
from rag.types import Scope
from tests.catalogs import submission, succeed
from tests.redis_server import RedisServer, redis_server
from tests.waiting import until
from workers.celery_app import STAGES, celery_app, queues_of
from workers.celery_queue import WINDOW, CeleryQueue
from workers.local_queue import IN_FLIGHT, LocalQueue

pytestmark = pytest.mark.anyio


class Local:
    """A queue in this process that records its tasks and can be broken and mended."""

    def __init__(self, catalog: Catalog) -> None:
        self.queue: Queue = LocalQueue(catalog=catalog, ingest=self._ingest, maintain=self._tidy)
        self._catalog = catalog
        self._done: list[int] = []
        self._broken = False

    async def _ingest(self, task: Task) -> None:
        if self._broken:
            raise UpstreamError("The index is away.")
        await succeed(self._catalog, task)
        self._done.append(task.id)

    async def _tidy(self, scope: Scope) -> None:
        """Does nothing: there is no index."""

    def handed_out(self) -> list[int]:
        return self._done

    def break_down(self) -> None:
        self._broken = True

    def mend(self) -> None:
        self._broken = False


class Broker:
    """The same over a real broker; its messages are taken in this process."""

    def __init__(self, catalog: Catalog, server: RedisServer) -> None:
        self.app = celery_app(CeleryQueueSettings(kind="celery", broker_url=SecretStr(server.url)))
        self.queue: Queue = CeleryQueue(catalog=catalog, app=self.app)
        self._server = server
        self._taken: list[int] = []

    def handed_out(self) -> list[int]:
        with self.app.connection_for_read() as connection, connection.channel() as channel:
            for name in queues_of(STAGES):
                while message := channel.basic_get(name, no_ack=True):
                    (ids,), *_ = message.payload
                    self._taken += ids
        return self._taken

    def break_down(self) -> None:
        self._server.kill()

    def mend(self) -> None:
        self._server.start()


Made = Local | Broker


@pytest.fixture(params=["local", "celery"])
async def made(
    request: pytest.FixtureRequest, catalog: Catalog, scope: Scope, folder: Path
) -> AsyncIterator[Made]:
    await catalog.collections.claim(scope, "embedder-1")
    if request.param == "local":
        yield Local(catalog)
    else:
        with redis_server(folder / "redis") as server:
            yield (broker := Broker(catalog, server))
            broker.app.close()


async def submit(catalog: Catalog, scope: Scope, *names: str, bulk: bool = False) -> str:
    return await catalog.jobs.submit(scope, [submission(name) for name in names], bulk=bulk)


async def test_drain_hands_out_each_task_once(made: Made, catalog: Catalog, scope: Scope) -> None:
    await made.queue.drain()
    assert made.handed_out() == []
    await submit(catalog, scope, "a")
    await submit(catalog, scope, *(f"d{n}" for n in range(IN_FLIGHT + 1)), bulk=True)
    await made.queue.drain()
    await made.queue.drain()
    assert sorted(made.handed_out()) == list(range(1, IN_FLIGHT + 3))


async def test_an_error_loses_no_task(made: Made, catalog: Catalog, scope: Scope) -> None:
    made.break_down()
    job = await submit(catalog, scope, *(f"d{n}" for n in range(IN_FLIGHT + 3)))
    with pytest.raises(RagError):
        await made.queue.drain()
    counts = (await catalog.jobs.get(scope.tenant, job)).counts
    assert counts["pending"] >= 3
    assert counts.keys() <= {"pending", "running"}
    made.mend()
    await catalog.tasks.release()  # the next start
    await made.queue.drain()
    assert sorted(made.handed_out()) == list(range(1, IN_FLIGHT + 4))


async def test_a_started_queue_hands_out_what_waits_and_what_it_is_woken_for(
    made: Made, catalog: Catalog, scope: Scope
) -> None:
    await submit(catalog, scope, "first")
    others = asyncio.all_tasks()
    async with made.queue.started():
        await until(lambda: made.handed_out() == [1])
        await submit(catalog, scope, "second")
        made.queue.wake()
        await until(lambda: made.handed_out() == [1, 2])
        await submit(catalog, scope, "third")
        made.queue.wake()
        await until(lambda: made.handed_out() == [1, 2, 3])
    assert asyncio.all_tasks() <= others, "it ends with the block"


async def test_a_started_queue_outlives_an_error(
    made: Made, catalog: Catalog, scope: Scope, caplog: pytest.LogCaptureFixture
) -> None:
    async with made.queue.started():
        made.break_down()
        await submit(catalog, scope, "a", "b")
        made.queue.wake()
        await until(lambda: "away" in caplog.text or "does not answer" in caplog.text)
        made.mend()
        await until(lambda: sorted(made.handed_out()) == [1, 2])


async def test_one_tenant_s_backlog_does_not_delay_the_other_s_document(
    made: Made, catalog: Catalog, scope: Scope
) -> None:
    rival = Scope(tenant="rival", collection="default")
    await catalog.collections.claim(rival, "embedder-1")
    backlog = 5 * WINDOW
    await submit(catalog, scope, *(f"d{n}" for n in range(backlog)))
    async with made.queue.started():
        await until(lambda: len(made.handed_out()) > 0)
        await submit(catalog, rival, "theirs")
        made.queue.wake()
        await until(lambda: backlog + 1 in made.handed_out())
        before = made.handed_out().index(backlog + 1)
        assert before < backlog - WINDOW, "most of the other tenant's wait behind it"
        await until(lambda: len(made.handed_out()) == backlog + 1)
    assert sorted(made.handed_out()) == list(range(1, backlog + 2))
