"""The tasks of the catalog, each the ingestion of one document within a job.

Tasks outlive the process: those running when it died are pending again at the next start. A `Task`
names its scope; calls that take none hand out the tasks of all tenants.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import asdict

import sqlalchemy as sa

from rag.catalog.database import Database
from rag.catalog.document_json import document_of, draft_of
from rag.catalog.interrupted import (
    COUNT_INTERRUPTED,
    GIVEN_UP,
    IS_ANOTHER,
    IS_GIVEN_UP,
    IS_INTERRUPTED,
)
from rag.catalog.outcomes import settle
from rag.catalog.sql import (
    CHANGE_DOCUMENT,
    CHANGE_OPEN_TASK,
    IS_OPEN,
    OPEN,
    THE_TASK,
    document_key,
    same_document,
    same_scope,
    task_of,
    utc_now,
)
from rag.catalog.tables import collections, documents, jobs, tasks
from rag.records import ATTEMPTS, DueTask, Submission, Task
from rag.telemetry import metrics
from rag.types import Document, Stage

LONGEST_WAIT = 120.0
"""Seconds that a task waits at most for its next try."""
_EXPIRED = "It had not begun when its time was over: it was sent with `expires_in`."

# Statements that every document needs are built once: building one takes longer than running it.
_OF_TASK = same_document(documents, tasks)
_other = tasks.alias()
_newer = sa.and_(same_document(_other, tasks), _other.c.id > tasks.c.id)
_OVERTAKEN = sa.exists().where(_newer, _other.c.state == "succeeded")
"""Condition on a task: a newer task of its document has succeeded."""
_TASKS = (
    sa.select(
        *(column for column in tasks.c if column is not tasks.c.draft),  # which may be large
        documents.c.uri,
        jobs.c.created_at.label("accepted_at"),
        jobs.c.key_id,
        jobs.c.subject,
    )
    .join(documents, _OF_TASK)
    .join(jobs, jobs.c.id == tasks.c.job_id)
)
_FIND = _TASKS.where(tasks.c.id.in_(sa.bindparam("ids", expanding=True))).order_by(tasks.c.id)
_FIND_INTERRUPTED = _TASKS.where(IS_INTERRUPTED).order_by(tasks.c.id)
_FIND_NEXT_DUE = sa.select(sa.func.min(tasks.c.not_before).label("at")).where(
    tasks.c.state == "pending"
)
_IS_REMOVED = sa.exists().where(
    same_scope(collections, tasks), collections.c.removed_at.is_not(None)
)
"""Condition on a task: its collection is being removed, which waits for begun tasks alone."""
_FIND_OPEN = (
    sa.select(_OVERTAKEN.label("overtaken"), tasks.c.expires_at, tasks.c.state)
    .where(THE_TASK, tasks.c.job_id == sa.bindparam("its_job"), IS_OPEN, ~_IS_REMOVED)
    .with_for_update(of=tasks)
)
_BY_TURN = (tasks.c.bulk, tasks.c.turn, tasks.c.id)
_IS_DUE = sa.or_(
    tasks.c.not_before <= sa.bindparam("now"), tasks.c.not_before > sa.bindparam("too_late")
)
"""Condition on a task, with the values of `_now`: a time too far ahead is from before a clock
change."""
_FIND_DUE = (
    _TASKS.where(tasks.c.state == "pending", _IS_DUE, IS_ANOTHER)
    .order_by(*_BY_TURN)
    .limit(sa.bindparam("most"))
    .with_for_update(skip_locked=True, of=tasks)
)
_CHANGE = tasks.update().where(THE_TASK)
_CHANGE_RUNNING = tasks.update().where(THE_TASK, tasks.c.state == "running")


class Tasks:
    """Queries and changes of the tasks that have not ended, and of their documents with them."""

    def __init__(self, database: Database) -> None:
        self._db = database

    async def release(self, *, died: bool = False) -> None:
        """Makes tasks and documents that are marked as running pending again, of all tenants.

        If one of them does run, its lock keeps other processes out. If the only process that
        ingests `died`, the tasks that it was running count as interrupted.
        """
        async with self._db.write() as db:
            if died:
                await db.run_sync(self._count_interrupted)
            stuck = {"state": "pending", "updated_at": utc_now()}
            await db.execute(tasks.update().where(tasks.c.state == "running").values(stuck))
            await db.execute(documents.update().where(documents.c.state == "running").values(stuck))

    def _count_interrupted(self, db: sa.Connection) -> None:
        db.execute(COUNT_INTERRUPTED)
        for row in db.execute(_TASKS.where(IS_GIVEN_UP)).mappings().all():
            self._give_up(db, task_of(row))

    def _give_up(self, db: sa.Connection, task: Task) -> None:
        settle(db, task, "failed", error=GIVEN_UP)
        metrics.document("failed", task.scope.tenant)

    async def claim(self, limit: int, *, bulk: int | None = None) -> list[Task]:
        """Marks the next due tasks as running and returns them; `begin` marks their documents.

        They are of all tenants, which take turns. Bulk tasks come last, and at most `bulk` of them.
        Interrupted tasks are not included.
        """
        return await self._db.change(self._claim, limit, bulk)

    def _claim(self, db: sa.Connection, limit: int, bulk: int | None) -> list[Task]:
        found = db.execute(_FIND_DUE, _now() | {"most": limit}).mappings()
        due = [task_of(row) for row in found]
        hurried = [task for task in due if not task.bulk]
        claimed = hurried + [task for task in due if task.bulk][:bulk]
        if claimed:
            db.execute(_CHANGE, [{"task_id": task.id, **_running()} for task in claimed])
        return claimed

    async def interrupted(self) -> list[Task]:
        """Returns the tasks that wait since `release` found their process dead, oldest first.

        They are of all tenants.
        """
        return [task_of(row) for row in await self._db.rows(_FIND_INTERRUPTED)]

    async def get(self, ids: Sequence[int]) -> list[Task]:
        """Returns the tasks that exist and whose documents exist, oldest first.

        The ids are those of `outbox`, which a broker has brought: of all tenants.
        """
        return [task_of(row) for row in await self._db.rows(_FIND, {"ids": ids})]

    async def begin(self, task: Task) -> bool:
        """Marks a task as running; returns False if it is settled or cancelled instead.

        A task that is too late is settled here: it has expired, or a newer task of its document
        has succeeded meanwhile, and the document stays as that task left it. A task over which
        `ATTEMPTS` processes have died is settled here, too: the caller holds its lock, so no other
        process works on it.
        """
        return await self._db.change(self._begin, task)

    def _begin(self, db: sa.Connection, task: Task) -> bool:
        # SQLite gives the numbers of removed tasks to new ones: the job tells them apart.
        found = db.execute(_FIND_OPEN, {"task_id": task.id, "its_job": task.job_id}).first()
        if found is None:
            return False
        if found.overtaken:
            over = {"state": "succeeded", "outcome": "unchanged", "error": None, "draft": None}
            db.execute(_CHANGE, {"task_id": task.id, "updated_at": utc_now(), **over})
            return False
        if found.expires_at is not None and found.expires_at <= time.time():
            settle(db, task, "failed", error=_EXPIRED)
            return False
        died = task.interrupted and found.state == "running"
        if died and task.attempts >= ATTEMPTS:
            self._give_up(db, task)
            return False
        begun = {"task_id": task.id, "expires_at": None}
        counted = {"attempts": task.attempts} if died else {}
        db.execute(_CHANGE, begun | counted | _running())
        db.execute(CHANGE_DOCUMENT, document_key(task.scope, task.document_id) | _running())
        return True

    async def parsed(
        self, task: Task, document: Document, *, attachments: Sequence[Submission] = ()
    ) -> None:
        """Stores the parsed document; its task then waits for the embed stage.

        Its attachments are noted in the task's source, and are accepted once it is ingested.
        """
        noted = [asdict(each) for each in attachments]
        source = {**task.source, "attachments": noted} if noted else dict(task.source)
        waits = {
            "state": "pending",
            "stage": "embed",
            "draft": draft_of(document),
            "source": source,
        }
        afresh = {"attempts": 0, "queued_at": None, "updated_at": utc_now()}
        async with self._db.write() as db:
            await db.execute(_CHANGE_RUNNING, {"task_id": task.id} | waits | afresh)

    async def draft(self, task: Task) -> Document | None:
        """Returns the document that `parsed` stored; None if there is none."""
        rows = await self._db.rows(sa.select(tasks.c.draft).where(tasks.c.id == task.id))
        if not rows or rows[0]["draft"] is None:
            return None
        kept = rows[0]["draft"]
        row = {**kept, "id": task.document_id, "uri": task.uri}
        return document_of(row, text=kept["text"], structure=kept["structure"])

    async def postpone(self, task: Task, error: str, *, seconds: float) -> None:
        """Makes a task that failed pending again, for a later time."""
        again = {"state": "pending", "error": error, "updated_at": utc_now()}
        timing = {"attempts": task.attempts + 1, "not_before": time.time() + seconds}
        waits = {"task_id": task.id, "queued_at": None} | again | timing
        async with self._db.write() as db:
            await db.execute(_CHANGE_RUNNING, waits)
            await db.execute(CHANGE_DOCUMENT, document_key(task.scope, task.document_id) | again)
        metrics.document("retried", task.scope.tenant)

    async def next_due(self) -> float | None:
        """Returns the seconds until a task of any tenant is due; None if none is pending."""
        [row] = await self._db.rows(_FIND_NEXT_DUE)
        return None if row["at"] is None else min(max(0.0, row["at"] - time.time()), LONGEST_WAIT)

    @contextlib.asynccontextmanager
    async def outbox(
        self, limit: int, queue: tuple[Stage, bool] | None = None
    ) -> AsyncIterator[list[DueTask]]:
        """Yields due tasks of all tenants, in turn, that were not sent to a broker.

        With `queue`, a pair of stage and bulk, only those of this queue.

        They count as sent after the block. If the block fails, they do not: to send one twice is
        harmless, not to send it is not.
        """
        unsent = sa.and_(tasks.c.state.in_(OPEN), tasks.c.queued_at.is_(None), _IS_DUE)
        query = sa.select(*(tasks.c[name] for name in DueTask._fields)).where(unsent)
        if queue is not None:
            stage, bulk = queue
            query = query.where(tasks.c.stage == stage, tasks.c.bulk == bulk)
        query = query.order_by(*_BY_TURN).limit(limit)
        async with self._db.write() as db:
            locked = query.with_for_update(skip_locked=True)
            found = (await db.execute(locked, _now())).all()
            yield [DueTask(*row) for row in found]
            given = tasks.c.id.in_([row.id for row in found])
            await db.execute(tasks.update().where(given).values(queued_at=time.time()))

    async def make_pending(self, task: Task) -> None:
        """Makes the task of a process that has to stop pending again; it counts as no failure."""
        stopped = {"state": "pending", "updated_at": utc_now()}
        async with self._db.write() as db:
            if (await db.execute(_CHANGE_RUNNING, {"task_id": task.id} | stopped)).rowcount:
                key = document_key(task.scope, task.document_id)
                await db.execute(CHANGE_DOCUMENT, key | stopped)

    async def put_back(self, task: Task, *, seconds: float) -> None:
        """Puts a task into the outbox again, due in `seconds`, unless it is settled."""
        later = {"queued_at": None, "not_before": time.time() + seconds}
        async with self._db.write() as db:
            await db.execute(CHANGE_OPEN_TASK, {"task_id": task.id} | later)

    async def requeue(self, queues: Iterable[tuple[Stage, bool]], *, older_than: float) -> None:
        """Puts tasks sent to these (stage, bulk) queues `older_than` s ago back into the outbox.

        The queues hold tasks of all tenants.
        """
        now = time.time()
        old = sa.or_(tasks.c.queued_at < now - older_than, tasks.c.queued_at > now + LONGEST_WAIT)
        async with self._db.write() as db:
            theirs = sa.tuple_(tasks.c.stage, tasks.c.bulk).in_(list(queues))
            lost = tasks.update().where(IS_OPEN, theirs, old)
            await db.execute(lost.values(queued_at=None))


def _running() -> dict[str, str]:
    return {"state": "running", "updated_at": utc_now()}


def _now() -> dict[str, float]:
    """Returns the values of `_IS_DUE`."""
    now = time.time()
    return {"now": now, "too_late": now + LONGEST_WAIT}
