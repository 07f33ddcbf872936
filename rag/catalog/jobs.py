"""The jobs of the catalog: submissions, their progress, and the backlog of all of them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any
from uuid import uuid4

import sqlalchemy as sa

from rag.catalog.accepting import Accepting
from rag.catalog.acls import default_of, readable_by
from rag.catalog.collections import being_removed
from rag.catalog.database import Database, Transaction
from rag.catalog.sql import (
    OPEN,
    in_scope,
    same_document,
    same_scope,
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
SUBMIT_SLICE = 500
_DELETED = "The document was deleted later, and what its error said was removed with it."
_OF_TASK = same_document(documents, tasks)


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
        of_job = sa.select(jobs, collections.c.acl.label("default_acl"))
        its_collection = same_scope(jobs, collections)
        found = await self._db.rows(of_job.outerjoin(collections, its_collection).where(theirs))
        if not found:
            raise no_job(job_id)
        known = _known(readers, found[0]["default_acl"])
        counted = await self._db.rows(_grouped(job_id, known))
        failed = await self._db.rows(_failed(job_id, known))  # last: every counted one is listed
        return _job_record(found[0], counted, [dict(row) for row in failed])

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
        """Returns the open tasks and unscored answers of all tenants, for the process's metrics."""
        queue = (tasks.c.stage, tasks.c.bulk, tasks.c.state)
        accepted = sa.func.min(jobs.c.created_at)
        grouped = (
            sa.select(*queue, sa.func.count().label("tasks"), accepted.label("accepted"))
            .join(jobs, jobs.c.id == tasks.c.job_id)
            .where(tasks.c.state.in_(OPEN))
            .group_by(*queue)
        )
        # A literal condition, the same as in the partial index; below, too.
        failed = sa.select(sa.func.count().label("documents")).where(
            documents.c.state == sa.text("'failed'")
        )
        given = sa.func.min(answers.c.at).label("given")
        unscored = sa.select(sa.func.count().label("answers"), given).where(TO_SCORE)
        groups = await self._db.rows(grouped)
        (dead,) = await self._db.rows(failed)
        (waiting,) = await self._db.rows(unscored)
        age = time.time() - waiting["given"] if waiting["answers"] else 0.0
        return Backlog(
            groups=tuple(_open_tasks(row) for row in groups),
            dead_letters=dead["documents"],
            to_score=waiting["answers"],
            oldest_to_score_seconds=max(0.0, age),
        )


def _known(readers: Readers | None, default_acl: str | None) -> sa.ColumnElement[bool]:
    """Returns the condition that readers may read a task's document, if it is still there."""
    if readers is None:
        return sa.true()
    by_default = sa.literal(not readers.isdisjoint(default_of(default_acl)))
    return sa.and_(documents.c.id.is_not(None), readable_by(readers, by_default=by_default))


def _grouped(job_id: str, known: sa.ColumnElement[bool]) -> sa.Select[Any]:
    """Returns the query of the tasks of a job, counted by state, stage and outcome."""
    tells = tasks.c.outcome.in_(("unchanged", "duplicate"))  # of what was stored before
    outcome = sa.case((tells & ~known, "stored"), else_=tasks.c.outcome).label("outcome")
    columns = (tasks.c.state, tasks.c.stage, tasks.c.updated_at, outcome)
    shown = sa.select(*columns).select_from(tasks.outerjoin(documents, _OF_TASK))
    each = shown.where(tasks.c.job_id == job_id).subquery().c
    by = (each.state, each.stage, each.outcome)
    counts = (sa.func.count().label("n"), sa.func.max(each.updated_at).label("at"))
    return sa.select(*by, *counts).group_by(*by)


def _failed(job_id: str, known: sa.ColumnElement[bool]) -> sa.Select[Any]:
    """Returns the query of the first failures of a job."""
    return (
        sa.select(
            tasks.c.document_id,
            sa.case((known, documents.c.uri), else_="").label("uri"),
            sa.func.coalesce(tasks.c.error, _DELETED).label("error"),
        )
        .join(documents, _OF_TASK)
        .where(tasks.c.job_id == job_id, tasks.c.state == "failed")
        .order_by(tasks.c.id)
        .limit(MAX_LISTED_FAILURES)
    )


def _open_tasks(row: sa.RowMapping) -> OpenTasks:
    age = datetime.now(UTC) - datetime.fromisoformat(row["accepted"])
    return OpenTasks(
        stage=row["stage"],
        bulk=row["bulk"],
        state=row["state"],
        tasks=row["tasks"],
        oldest_seconds=max(0.0, age.total_seconds()),
    )


def no_job(job_id: str) -> NotFoundError:
    """Returns the error for a job that does not exist, or that the caller may not know of."""
    return NotFoundError(f"There is no job {job_id!r}.", code="unknown_job")


def _job_record(
    job: sa.RowMapping, rows: Sequence[sa.RowMapping], failures: Sequence[Mapping[str, str]]
) -> JobRecord:
    counts, stages, outcomes = Counter[str](), Counter[str](), Counter[str]()
    for row in rows:
        counts[row["state"]] += row["n"]
        if row["state"] in OPEN:
            stages[row["stage"]] += row["n"]
        if row["outcome"]:
            outcomes[row["outcome"]] += row["n"]
    updated_at = max((row["at"] for row in rows), default=job["created_at"])
    per_second, eta_seconds = _pace(counts, since=job["created_at"], until=updated_at)
    return JobRecord(
        id=job["id"],
        collection=job["collection"],
        state=_job_state(counts, cancelled=job["cancelled"]),
        counts=dict(counts),
        stages=dict(stages),
        outcomes=dict(outcomes),
        failures=failures,
        error=failures[0]["error"] if failures else None,
        per_second=per_second,
        eta_seconds=eta_seconds,
        created_at=job["created_at"],
        updated_at=updated_at,
    )


def _pace(
    counts: Mapping[str, int], *, since: str, until: str
) -> tuple[float | None, float | None]:
    """Returns documents per second, and seconds until the open ones are done."""
    seconds = (datetime.fromisoformat(until) - datetime.fromisoformat(since)).total_seconds()
    open_ = sum(counts.get(state, 0) for state in OPEN)
    ended = counts.get("succeeded", 0) + counts.get("failed", 0)
    if not ended or seconds <= 0:
        return None, None
    return ended / seconds, open_ * seconds / ended if open_ else None


def _job_state(counts: Mapping[str, int], *, cancelled: bool) -> State:
    """Returns a job's state from the states of its tasks; an empty job has succeeded."""
    ended: dict[str, State] = {"succeeded": "succeeded", "failed": "failed"}
    if counts.get("running") or (counts.get("pending") and len(counts) > 1):
        return "running"
    if counts.get("pending"):
        return "pending"
    if cancelled:
        return "cancelled"
    states = [state for state, n in counts.items() if n]
    if len(states) > 1:
        return "partial"
    return ended.get(states[0], "cancelled") if states else "succeeded"
