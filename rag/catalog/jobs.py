"""The jobs of the catalog: submissions, their progress, and the backlog of all of them."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import NamedTuple
from uuid import uuid4

import sqlalchemy as sa

from rag.catalog.accepting import Accepting
from rag.catalog.batch_rows import LINES_LEFT
from rag.catalog.collections import being_removed
from rag.catalog.database import Database, Transaction
from rag.catalog.job_records import job_rows, records_of
from rag.catalog.sql import (
    OPEN,
    in_scope,
    same_document,
    scope_row,
    spool_keys,
    utc_now,
)
from rag.catalog.tables import TO_SCORE, answers, collections, documents, jobs, tasks
from rag.catalog.turns import next_turn
from rag.errors import NotFoundError
from rag.records import Backlog, JobRecord, OpenTasks, Submission
from rag.types import Readers, Scope, State

MAX_LISTED_FAILURES = 100
FEW_FAILURES = 3
"""Failures of each job of a page."""
LOOKED_AT = 200
"""Jobs that are looked at for those of one state."""
_HAS_TASK: Mapping[State | None, Sequence[str]] = {
    "pending": OPEN,
    "running": OPEN,
    "failed": ("failed",),
}
"""States of tasks of which a job in a state has one: others are not looked at."""
SUBMIT_SLICE = 500
_QUEUE = (tasks.c.state, tasks.c.stage, tasks.c.bulk)
# By job first, in the order of an index that has all of it: a million tasks that wait are counted
# in a tenth of the time that it takes to find the job of each.
_OPEN_BY_JOB = (
    sa.select(*_QUEUE, tasks.c.job_id, sa.func.count().label("tasks"))
    .where(tasks.c.state.in_(OPEN))
    .group_by(*_QUEUE, tasks.c.job_id)
    .subquery()
)
_BY_QUEUE = [_OPEN_BY_JOB.c[column.name] for column in _QUEUE]
_OPEN_BY_QUEUE = (
    sa.select(
        *_BY_QUEUE,
        sa.func.sum(_OPEN_BY_JOB.c.tasks).label("tasks"),
        sa.func.min(jobs.c.created_at).label("accepted"),
    )
    .join(jobs, jobs.c.id == _OPEN_BY_JOB.c.job_id)
    .group_by(*_BY_QUEUE)
)
_OF_TASK = same_document(documents, tasks)


class Place(NamedTuple):
    """The place of a job among all, which are ordered by time."""

    created_at: str
    id: str


class JobPage(NamedTuple):
    """Some jobs, and the place behind which further ones follow; None: these are the last."""

    jobs: Sequence[JobRecord]
    after: Place | None


class Jobs:
    """Queries and changes of the jobs. A job of another tenant is not found."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._accepting = Accepting(database)

    async def submit(
        self,
        scope: Scope,
        submissions: Iterable[Submission],
        *,
        bulk: bool = False,
        expires_in: float | None = None,
        key_id: str = "",
        subject: str = "",
    ) -> str:
        """Lists the documents as pending and returns the id of the job that will ingest them.

        All are stored or none; the submissions are read while they are written, a slice at a time.
        `bulk` documents wait for all others; those not begun within `expires_in` seconds fail.
        The key and the user are those who are charged.
        The tenant takes turns with the others (see `rag.catalog.turns`).
        """
        job_id, now = uuid4().hex, utc_now()
        expires_at = None if expires_in is None else time.time() + expires_in
        coming = iter(submissions)
        async with self._db.write() as db:
            await self._check_collection(db, scope)
            sender = {"key_id": key_id, "subject": subject, "reader": scope.reader}
            job = {"id": job_id, "created_at": now, **scope_row(scope), **sender}
            await db.execute(jobs.insert().values(job))
            while part := list(islice(coming, SUBMIT_SLICE)):
                await db.run_sync(
                    self._accepting.add, scope, job_id, part, bulk=bulk, expires_at=expires_at
                )
        return job_id

    async def _check_collection(self, db: Transaction, scope: Scope) -> None:
        """Checks that the collection is not being removed, and holds that up until the commit."""
        mine = sa.select(collections.c.removed_at).where(in_scope(scope, collections))
        if (await db.execute(mine.with_for_update(read=True))).scalar() is not None:
            raise being_removed(scope.collection)

    async def get(self, tenant: str, job_id: str, *, readers: Readers | None = None) -> JobRecord:
        """Returns the job; for `readers`, only one that one of them has sent.

        They do not learn from it of a document that they may not read, although its id or bytes are
        those of one that they sent: its outcome is that of a new one, and its uri is left out.

        Raises:
            NotFoundError: The tenant has no such job.
        """
        theirs = sa.and_(jobs.c.id == job_id, jobs.c.tenant == tenant)
        if readers is not None:
            theirs = sa.and_(theirs, jobs.c.reader.in_(sorted(readers)))
        found = await self._db.rows(job_rows().where(theirs))
        if not found:
            raise no_job(job_id)
        [record] = await records_of(self._db, found, readers, failures=MAX_LISTED_FAILURES)
        return record

    async def page(
        self,
        tenant: str,
        *,
        limit: int,
        after: Place | None = None,
        state: State | None = None,
        readers: Readers | None = None,
        within: Collection[str] | None = None,
    ) -> JobPage:
        """Returns jobs as `get` does, newest first, each with its first `FEW_FAILURES`.

        The state of a job is computed of its tasks, so with a `state` a page may have fewer jobs
        than `limit`, or none, although others follow: at most `LOOKED_AT` are looked at.

        Args:
            tenant: whose jobs they are.
            limit: the most that are returned.
            after: the place of a job; those behind it are returned.
            state: of the jobs; None: any.
            readers: as `get` takes them.
            within: the collections that the jobs are of; None: all.
        """
        looked_at = limit if state is None else max(limit, LOOKED_AT)
        newest = (jobs.c.created_at.desc(), jobs.c.id.desc())
        query = job_rows().where(*_listed(tenant, after, state, readers, within))
        rows = await self._db.rows(query.order_by(*newest).limit(looked_at + 1))
        records = await records_of(self._db, rows[:looked_at], readers, failures=FEW_FAILURES)
        found = [record for record in records if state in (None, record.state)]
        last = records[-1] if len(rows) > looked_at else None
        if len(found) > limit:
            last = found[limit - 1]
        return JobPage(found[:limit], Place(last.created_at, last.id) if last else None)

    async def retry(self, tenant: str, job_id: str) -> JobRecord:
        """Makes the failed tasks of a job pending again, if their documents are still failed.

        Raises:
            NotFoundError: The tenant has no such job.
        """
        await self.get(tenant, job_id)
        failed = sa.and_(tasks.c.job_id == job_id, tasks.c.state == "failed")
        again = {"state": "pending", "error": None, "updated_at": utc_now()}
        timing = {"attempts": 0, "not_before": 0.0, "queued_at": None, "expires_at": None}
        afresh = again | timing | {"stage": "parse"}
        dead = sa.exists().where(_OF_TASK, documents.c.state == "failed")
        alike = sa.select(tasks.c.bulk).where(tasks.c.job_id == job_id).limit(1)
        place = sa.func.row_number().over(order_by=tasks.c.id).label("place")
        placed = sa.select(tasks.c.id, place).where(failed, dead).subquery()
        again_each = tasks.update().where(tasks.c.id == placed.c.id)
        async with self._db.write() as db:
            is_bulk = bool((await db.execute(alike)).scalar())
            turn = await db.run_sync(next_turn, tenant, bulk=is_bulk)
            turns = {"turn": turn + placed.c.place - 1}
            await db.execute(again_each.values(afresh | turns))
            unended = jobs.update().where(jobs.c.id == job_id)
            await db.execute(unended.values(announced=False))
            waiting = sa.and_(tasks.c.job_id == job_id, tasks.c.state == "pending")
            waits = sa.exists().where(_OF_TASK, waiting)
            await db.execute(documents.update().where(waits).values(again))
        return await self.get(tenant, job_id)

    async def cancel(self, tenant: str, job_id: str) -> JobRecord:
        """Cancels the tasks of a job that have not begun; running ones are finished.

        Raises:
            NotFoundError: The tenant has no such job.
        """
        await self.get(tenant, job_id)
        cancelled = {"state": "cancelled", "updated_at": utc_now()}
        waiting = sa.and_(tasks.c.job_id == job_id, tasks.c.state == "pending")
        listed = sa.exists().where(_OF_TASK, waiting)
        wanted = sa.exists().where(_OF_TASK, tasks.c.job_id != job_id, tasks.c.state.in_(OPEN))
        async with self._db.write() as db:
            # Tasks before documents, as everywhere: another order may deadlock two writers.
            await db.execute(sa.select(tasks.c.id).where(waiting).with_for_update())
            job = sa.and_(jobs.c.id == job_id, sa.exists().where(waiting))
            await db.execute(jobs.update().where(job).values(cancelled=True))
            await db.execute(documents.update().where(listed, ~wanted).values(cancelled))
            await db.execute(tasks.update().where(waiting).values(cancelled | {"draft": None}))
        return await self.get(tenant, job_id)

    async def cancelled(self, tenant: str, job_id: str) -> set[str]:
        """Returns the spool keys of a job's cancelled tasks, whose bytes are no longer needed."""
        theirs = sa.and_(tasks.c.job_id == job_id, tasks.c.tenant == tenant)
        query = sa.select(tasks.c.source).where(theirs, tasks.c.state == "cancelled")
        return spool_keys(await self._db.rows(query))

    async def backlog(self) -> Backlog:
        """Returns what waits, of all tenants, for the process's metrics."""
        groups = await self._db.rows(_OPEN_BY_QUEUE)
        # A literal condition, the same as in the partial index; below, too.
        failed = sa.select(sa.func.count().label("documents")).where(
            documents.c.state == sa.text("'failed'")
        )
        given = sa.func.min(answers.c.at).label("given")
        unscored = sa.select(sa.func.count().label("answers"), given).where(TO_SCORE)
        (dead,) = await self._db.rows(failed)
        (waiting,) = await self._db.rows(unscored)
        (lines,) = await self._db.rows(LINES_LEFT)
        age = time.time() - waiting["given"] if waiting["answers"] else 0.0
        return Backlog(
            groups=tuple(_open_tasks(row) for row in groups),
            dead_letters=dead["documents"],
            to_score=waiting["answers"],
            oldest_to_score_seconds=max(0.0, age),
            batch_lines=int(lines["left"] or 0),
            batch_seconds_left=lines["first"] and max(0.0, lines["first"] - time.time()),
        )


def _listed(
    tenant: str,
    after: Place | None,
    state: State | None,
    readers: Readers | None,
    within: Collection[str] | None,
) -> Iterator[sa.ColumnElement[bool]]:
    """Yields the conditions of a page: see `Jobs.page`."""
    yield jobs.c.tenant == tenant
    if readers is not None:
        yield jobs.c.reader.in_(sorted(readers))
    if within is not None:
        yield jobs.c.collection.in_(sorted(within))
    if after is not None:
        place = sa.tuple_(sa.literal(after.created_at), sa.literal(after.id))
        yield sa.tuple_(jobs.c.created_at, jobs.c.id) < place
    if state in _HAS_TASK:
        has = tasks.c.state.in_(_HAS_TASK[state])
        yield sa.exists().where(tasks.c.job_id == jobs.c.id, has)


def _open_tasks(row: sa.RowMapping) -> OpenTasks:
    age = datetime.now(UTC) - datetime.fromisoformat(row["accepted"])
    return OpenTasks(
        stage=row["stage"],
        bulk=row["bulk"],
        state=row["state"],
        tasks=int(row["tasks"]),
        oldest_seconds=max(0.0, age.total_seconds()),
    )


def no_job(job_id: str) -> NotFoundError:
    """Returns the error for a job that does not exist, or that the caller may not know of."""
    return NotFoundError(f"There is no job {job_id!r}.", code="unknown_job")
