"""The catalog: accepted documents, their jobs and tasks, and the text of stored documents.

A document is listed as soon as it is accepted. A task is the ingestion of one document within a
job; tasks outlive the process: those running when it died are pending again at the next start.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from datetime import UTC, datetime
from itertools import islice
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from rag.catalog.database import Database
from rag.catalog.document_json import document_of, draft_of, structure_of
from rag.catalog.forgetting import forget_text, forget_versions
from rag.catalog.interrupted import (
    COUNT_INTERRUPTED,
    GIVEN_UP,
    IS_ANOTHER,
    IS_GIVEN_UP,
    IS_INTERRUPTED,
)
from rag.catalog.staged import Staged
from rag.catalog.tables import TO_SCORE, answers, collections, documents, jobs, tasks, texts
from rag.catalog.unsettled import Unsettled
from rag.errors import InputError, NotFoundError
from rag.records import (
    ATTEMPTS,
    Backlog,
    CollectionRecord,
    Cut,
    DocumentRecord,
    DueTask,
    JobRecord,
    OpenTasks,
    Submission,
    Task,
)
from rag.telemetry import metrics
from rag.types import Document, Scope, Stage, State

_OPEN = ("pending", "running")
_KEY = ("tenant", "collection", "id")
_LAST_CHARACTER = "\U0010ffff"
SHOWN_FAILURES = 100
SHOWN_URIS = 5
SUBMIT_SLICE = 500
LONGEST_WAIT = 120.0
"""Seconds that a task waits at most for its next try."""
_DELETED = "The document was deleted later, and what its error said was removed with it."
_EXPIRED = "It had not begun when its time was over: it was sent with `expires_in`."

# Statements that every document needs are built once: building one takes longer than running it.
_IS_OPEN = sa.or_(*(tasks.c.state == state for state in _OPEN))
_THE_TASK = tasks.c.id == sa.bindparam("task_id")
_THE_DOCUMENT = sa.and_(*(documents.c[name] == sa.bindparam(f"document_{name}") for name in _KEY))
_OF_TASK = sa.and_(
    documents.c.tenant == tasks.c.tenant,
    documents.c.collection == tasks.c.collection,
    documents.c.id == tasks.c.document_id,
)
_other = tasks.alias()
_newer = sa.and_(
    *(_other.c[name] == tasks.c[name] for name in ("tenant", "collection", "document_id")),
    _other.c.id > tasks.c.id,
)
_OVERTAKEN = sa.exists().where(_newer, _other.c.state == "succeeded")
"""Condition on a task: a newer task of its document has succeeded."""
_WANTED_AGAIN = sa.exists().where(_OF_TASK, tasks.c.id > sa.bindparam("task_id"), _IS_OPEN)
"""Condition on a document: a task newer than the given one is open."""
_TASKS = (
    sa.select(
        *(column for column in tasks.c if column is not tasks.c.draft),  # which may be large
        documents.c.uri,
        jobs.c.created_at.label("accepted_at"),
    )
    .join(documents, _OF_TASK)
    .join(jobs, jobs.c.id == tasks.c.job_id)
)
_FIND_TASKS = _TASKS.where(tasks.c.id.in_(sa.bindparam("ids", expanding=True))).order_by(tasks.c.id)
_FIND_INTERRUPTED = _TASKS.where(IS_INTERRUPTED).order_by(tasks.c.id)
_FIND_OPEN_TASK = (
    sa.select(_OVERTAKEN.label("overtaken"), tasks.c.expires_at, tasks.c.state)
    .where(_THE_TASK, _IS_OPEN)
    .with_for_update(of=tasks)
)
_CHANGE_TASK = tasks.update().where(_THE_TASK)
_END_TASK = tasks.update().where(_THE_TASK, _IS_OPEN)
_FIND_DOCUMENT = documents.select().where(_THE_DOCUMENT)
_CHANGE_DOCUMENT = documents.update().where(_THE_DOCUMENT)
_END_DOCUMENT = documents.update().where(_THE_DOCUMENT, ~_WANTED_AGAIN)
_FIND_CONTENT = (
    documents.select()
    .where(
        documents.c.tenant == sa.bindparam("document_tenant"),
        documents.c.collection == sa.bindparam("document_collection"),
        documents.c.version == sa.bindparam("content"),
        documents.c.duplicate_of.is_(None),
        documents.c.chunks > 0,
    )
    .order_by(documents.c.created_at)
    .limit(1)
)


class Catalog:
    """Queries and changes of the catalog's tables."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._exists: set[Scope] = set()
        self.unsettled = Unsettled(database)
        self.staged = Staged(database)
        new = database.insert(texts)
        self._store_text = new.on_conflict_do_update(
            index_elements=["tenant", "collection", "document_id"],
            set_={"text": new.excluded.text, "structure": new.excluded.structure},
        )

    async def open(self) -> None:
        """Makes the tables ready."""
        await self._db.open()

    async def release(self, *, died: bool = False) -> None:
        """Makes tasks and documents that are marked as running pending again.

        If one of them does run, its lock keeps other processes out. If the only process that
        ingests `died`, the tasks that it was running count as interrupted.
        """
        async with self._db.write() as db:
            if died:
                await self._count_interrupted(db)
            stuck = {"state": "pending", "updated_at": _now()}
            await db.execute(tasks.update().where(tasks.c.state == "running").values(stuck))
            await db.execute(documents.update().where(documents.c.state == "running").values(stuck))

    async def _count_interrupted(self, db: AsyncConnection) -> None:
        await db.execute(COUNT_INTERRUPTED)
        for row in (await db.execute(_TASKS.where(IS_GIVEN_UP))).mappings().all():
            await self._give_up(db, _task(row))

    async def _give_up(self, db: AsyncConnection, task: Task) -> None:
        await self._settle(db, task, "failed", _now(), error=GIVEN_UP)
        metrics.document("failed")

    async def close(self) -> None:
        """Closes every connection."""
        await self._db.close()

    def alone(
        self, *key: Hashable, wait: bool = True
    ) -> contextlib.AbstractAsyncContextManager[None]:
        """Holds the lock of a key: no other user of this catalog is in a block with this key.

        Raises:
            BusyError: Another user has the lock, and `wait` is False.
        """
        return self._db.alone(*key, wait=wait)

    # Collections

    async def claim_collection(self, scope: Scope, embedder: str) -> str:
        """Creates the collection if it is new; returns the fingerprint of its embedder."""
        row = {**_row(scope), "embedder": embedder, "created_at": _now()}
        mine = sa.select(collections.c.embedder).where(_in(scope, collections))
        async with self._db.write() as db:
            await db.execute(self._db.insert(collections).values(row).on_conflict_do_nothing())
            return str(await db.scalar(mine))

    async def check_exists(self, scope: Scope) -> None:
        """Checks that a collection exists. A found one is cached: collections are not removed.

        Raises:
            NotFoundError: There is no such collection.
        """
        if scope not in self._exists:
            await self.collection(scope)
            self._exists.add(scope)

    async def collection(self, scope: Scope) -> CollectionRecord:
        """Returns the collection.

        Raises:
            NotFoundError: There is no such collection; the message names the existing ones.
        """
        known = await self.collections(scope.tenant)
        for record in known:
            if record.name == scope.collection:
                return record
        have = ", ".join(r.name for r in known) or "none yet; `rag ingest PATH` makes one"
        raise NotFoundError(
            f"There is no collection {scope.collection!r}. Collections: {have}.",
            code="unknown_collection",
        )

    async def collections(self, tenant: str) -> list[CollectionRecord]:
        """Returns a tenant's collections, ordered by name."""
        held = sa.and_(
            documents.c.tenant == collections.c.tenant,
            documents.c.collection == collections.c.collection,
        )
        query = (
            sa.select(
                collections.c.collection.label("name"),
                collections.c.embedder,
                sa.func.count(documents.c.id).label("documents"),
                sa.func.coalesce(sa.func.sum(documents.c.chunks), 0).label("chunks"),
                collections.c.created_at,
            )
            .select_from(collections.outerjoin(documents, held))
            .where(collections.c.tenant == tenant)
            .group_by(*collections.c)
            .order_by(collections.c.collection)
        )
        return [CollectionRecord(**row) for row in await self._db.rows(query)]

    # Jobs and tasks

    async def submit(
        self,
        scope: Scope,
        submissions: Iterable[Submission],
        *,
        bulk: bool = False,
        expires_in: float | None = None,
    ) -> str:
        """Lists the documents as pending and returns the id of the job that will ingest them.

        All are stored or none; the submissions are read while they are written, a slice at a time.
        `bulk` documents wait for all others; those not begun within `expires_in` seconds fail.
        """
        job_id, now = uuid4().hex, _now()
        expires_at = None if expires_in is None else time.time() + expires_in
        stamp = {**_row(scope), "state": "pending", "updated_at": now}
        new = self._db.insert(documents)
        again = {
            "state": "pending",
            "error": None,
            "updated_at": now,
            "source": new.excluded.source,
        }
        key = list(_KEY)
        upsert = new.on_conflict_do_update(index_elements=key, set_=again)
        coming = iter(submissions)
        async with self._db.write() as db:
            await db.execute(jobs.insert().values(id=job_id, created_at=now, **_row(scope)))
            while part := list(islice(coming, SUBMIT_SLICE)):
                listed = [
                    stamp | {"id": s.document_id, "uri": s.uri, "title": s.title,
                             "source": dict(s.source), "created_at": now, "meta": {}}
                    for s in part
                ]  # fmt: skip
                queued: list[dict[str, object]] = [
                    stamp
                    | {
                        "job_id": job_id,
                        "document_id": s.document_id,
                        "source": dict(s.source),
                        "bulk": bulk,
                        "expires_at": expires_at,
                        "traceparent": s.traceparent,
                    }
                    for s in part
                ]
                await db.execute(upsert, listed)
                await db.execute(tasks.insert(), queued)
        return job_id

    async def claim(self, limit: int, *, bulk: int | None = None) -> list[Task]:
        """Marks the oldest due tasks as running and returns them; `begin` marks their documents.

        Bulk tasks come last, and at most `bulk` of them. Interrupted tasks are not included.
        """
        query = _TASKS.where(tasks.c.state == "pending", _due(), IS_ANOTHER).limit(limit)
        query = query.order_by(tasks.c.bulk, tasks.c.id)
        async with self._db.write() as db:
            found = (await db.execute(query.with_for_update(skip_locked=True, of=tasks))).mappings()
            due = [_task(row) for row in found]
            hurried = [task for task in due if not task.bulk]
            claimed = hurried + [task for task in due if task.bulk][:bulk]
            taken = tasks.c.id.in_([task.id for task in claimed])
            await db.execute(tasks.update().where(taken).values(_running()))
        return claimed

    async def interrupted(self) -> list[Task]:
        """Returns the tasks that wait since `release` found their process dead, oldest first."""
        return [_task(row) for row in await self._db.rows(_FIND_INTERRUPTED)]

    async def tasks(self, ids: Sequence[int]) -> list[Task]:
        """Returns the tasks that exist and whose documents exist, oldest first."""
        rows = await self._db.rows(_FIND_TASKS, {"ids": ids})
        return [_task(row) for row in rows]

    async def begin(self, task: Task) -> bool:
        """Marks a task as running; returns False if it is settled or cancelled instead.

        A task that is too late is settled here: it has expired, or a newer task of its document
        has succeeded meanwhile, and the document stays as that task left it. A task over which
        `ATTEMPTS` processes have died is settled here, too: the caller holds its lock, so no other
        process works on it.
        """
        async with self._db.write() as db:
            found = (await db.execute(_FIND_OPEN_TASK, {"task_id": task.id})).first()
            if found is None:
                return False
            if found.overtaken:
                over = {"state": "succeeded", "outcome": "unchanged", "error": None, "draft": None}
                await db.execute(_CHANGE_TASK, {"task_id": task.id} | over | {"updated_at": _now()})
                return False
            if found.expires_at is not None and found.expires_at <= time.time():
                await self._settle(db, task, "failed", _now(), error=_EXPIRED)
                return False
            died = task.interrupted and found.state == "running"
            if died and task.attempts >= ATTEMPTS:
                await self._give_up(db, task)
                return False
            begun = {"task_id": task.id, "expires_at": None}
            counted = {"attempts": task.attempts} if died else {}
            await db.execute(_CHANGE_TASK, begun | counted | _running())
            await db.execute(_CHANGE_DOCUMENT, _key(task.scope, task.document_id) | _running())
            return True

    async def parsed(self, task: Task, document: Document) -> None:
        """Stores the parsed document; its task then waits for the embed stage."""
        running = sa.and_(tasks.c.id == task.id, tasks.c.state == "running")
        waits = {"state": "pending", "stage": "embed", "draft": draft_of(document)}
        afresh = {"attempts": 0, "queued_at": None, "updated_at": _now()}
        async with self._db.write() as db:
            await db.execute(tasks.update().where(running).values(waits | afresh))

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
        again = {"state": "pending", "error": error, "updated_at": _now()}
        timing = {"attempts": task.attempts + 1, "not_before": time.time() + seconds}
        running = sa.and_(tasks.c.id == task.id, tasks.c.state == "running")
        async with self._db.write() as db:
            values = again | timing | {"queued_at": None}
            await db.execute(tasks.update().where(running).values(values))
            await db.execute(_CHANGE_DOCUMENT, _key(task.scope, task.document_id) | again)
        metrics.document("retried")

    async def next_due(self) -> float | None:
        """Returns the seconds until a pending task is due; None if none is pending."""
        first = sa.select(sa.func.min(tasks.c.not_before).label("at"))
        [row] = await self._db.rows(first.where(tasks.c.state == "pending"))
        return None if row["at"] is None else min(max(0.0, row["at"] - time.time()), LONGEST_WAIT)

    async def retry(self, job_id: str) -> JobRecord:
        """Makes the failed tasks of a job pending again, if their documents are still failed."""
        await self.job(job_id)
        failed = sa.and_(tasks.c.job_id == job_id, tasks.c.state == "failed")
        again = {"state": "pending", "error": None, "updated_at": _now()}
        timing = {"attempts": 0, "not_before": 0.0, "queued_at": None, "expires_at": None}
        afresh = again | timing | {"stage": "parse"}
        dead = sa.exists().where(_OF_TASK, documents.c.state == "failed")
        async with self._db.write() as db:
            await db.execute(tasks.update().where(failed, dead).values(afresh))
            waiting = sa.and_(tasks.c.job_id == job_id, tasks.c.state == "pending")
            waits = sa.exists().where(_OF_TASK, waiting)
            await db.execute(documents.update().where(waits).values(again))
        return await self.job(job_id)

    @contextlib.asynccontextmanager
    async def outbox(self, limit: int) -> AsyncIterator[list[DueTask]]:
        """Yields due tasks that were not sent to a broker; they count as sent after the block.

        If the block fails, they do not: to send one twice is harmless, not to send it is not.
        """
        unsent = sa.and_(tasks.c.state.in_(_OPEN), tasks.c.queued_at.is_(None), _due())
        told = (tasks.c[name] for name in DueTask._fields)
        query = sa.select(*told).where(unsent)
        query = query.order_by(tasks.c.bulk, tasks.c.id).limit(limit)
        async with self._db.write() as db:
            found = (await db.execute(query.with_for_update(skip_locked=True))).all()
            yield [DueTask(*row) for row in found]
            given = tasks.c.id.in_([row.id for row in found])
            await db.execute(tasks.update().where(given).values(queued_at=time.time()))

    async def let_go(self, task: Task) -> None:
        """Makes the task of a process that has to stop pending again; it counts as no failure."""
        stopped = {"state": "pending", "updated_at": _now()}
        running = sa.and_(tasks.c.id == task.id, tasks.c.state == "running")
        async with self._db.write() as db:
            let_go = await db.execute(tasks.update().where(running).values(stopped))
            if let_go.rowcount:
                key = _key(task.scope, task.document_id)
                await db.execute(_CHANGE_DOCUMENT, key | stopped)

    async def put_back(self, task: Task, *, seconds: float) -> None:
        """Puts a task into the outbox again, due in `seconds`, unless it is settled."""
        waits = sa.and_(tasks.c.id == task.id, _IS_OPEN)
        later = {"queued_at": None, "not_before": time.time() + seconds}
        async with self._db.write() as db:
            await db.execute(tasks.update().where(waits).values(later))

    async def give_again(self, queues: Iterable[tuple[Stage, bool]], *, older_than: float) -> None:
        """Puts tasks sent to these (stage, bulk) queues `older_than` s ago back into the outbox."""
        now = time.time()
        old = sa.or_(tasks.c.queued_at < now - older_than, tasks.c.queued_at > now + LONGEST_WAIT)
        async with self._db.write() as db:
            theirs = sa.tuple_(tasks.c.stage, tasks.c.bulk).in_(list(queues))
            lost = tasks.update().where(_IS_OPEN, theirs, old)
            await db.execute(lost.values(queued_at=None))

    async def succeed(
        self, task: Task, document: Document, *, recipe: str, chunks: int, duplicate_of: str | None
    ) -> None:
        """Stores a document's new state and text, and settles its task as succeeded."""
        now = _now()
        values = {
            "title": document.title,
            "media_type": document.media_type,
            "version": document.version,
            "meta": dict(document.meta),
            "recipe": recipe,
            "chunks": chunks,
            "duplicate_of": duplicate_of,
        }
        text = {
            **_row(task.scope),
            "document_id": task.document_id,
            "text": document.text,
            "structure": structure_of(document),
        }
        async with self._db.write() as db:
            await db.execute(self._store_text, text)
            await forget_versions(db, task.scope, task.document_id, but=document.version)
            outcome = "duplicate" if duplicate_of else "stored"
            await self._settle(db, task, "succeeded", now, outcome=outcome, document=values)
            await self.unsettled.unmark(db, task.scope, task.document_id)
        metrics.document(outcome)

    async def unchanged(self, task: Task, document: Document) -> None:
        """Records that a document has not changed; stores its structure if none was stored."""
        mine = _in(task.scope, texts) & (texts.c.document_id == task.document_id)
        unkept = texts.update().where(mine, texts.c.structure.is_(None))
        async with self._db.write() as db:
            await db.execute(unkept.values(structure=structure_of(document)))
            await self._settle(db, task, "succeeded", _now(), outcome="unchanged")
        metrics.document("unchanged")

    async def fail(self, task: Task, error: str) -> None:
        """Records that a document could not be ingested; its earlier stored state stays."""
        async with self._db.write() as db:
            await self._settle(db, task, "failed", _now(), error=error)
        metrics.document("failed")

    async def cancel(self, job_id: str) -> JobRecord:
        """Cancels the tasks of a job that have not begun; running ones are finished."""
        await self.job(job_id)
        cancelled = {"state": "cancelled", "updated_at": _now()}
        waiting = sa.and_(tasks.c.job_id == job_id, tasks.c.state == "pending")
        listed = sa.exists().where(_OF_TASK, waiting)
        wanted = sa.exists().where(_OF_TASK, tasks.c.job_id != job_id, tasks.c.state.in_(_OPEN))
        async with self._db.write() as db:
            # Tasks before documents, as everywhere: another order may deadlock two writers.
            await db.execute(sa.select(tasks.c.id).where(waiting).with_for_update())
            job = sa.and_(jobs.c.id == job_id, sa.exists().where(waiting))
            await db.execute(jobs.update().where(job).values(cancelled=True))
            await db.execute(documents.update().where(listed, ~wanted).values(cancelled))
            await db.execute(tasks.update().where(waiting).values(cancelled | {"draft": None}))
        return await self.job(job_id)

    async def job(self, job_id: str) -> JobRecord:
        """Returns the job.

        Raises:
            NotFoundError: There is no such job.
        """
        found = await self._db.rows(jobs.select().where(jobs.c.id == job_id))
        if not found:
            raise NotFoundError(f"There is no job {job_id!r}.", code="unknown_job")
        grouped = (
            sa.select(
                tasks.c.state,
                tasks.c.stage,
                tasks.c.outcome,
                sa.func.count().label("n"),
                sa.func.max(tasks.c.updated_at).label("at"),
            )
            .where(tasks.c.job_id == job_id)
            .group_by(tasks.c.state, tasks.c.stage, tasks.c.outcome)
        )
        failed = (
            sa.select(
                tasks.c.document_id,
                documents.c.uri,
                sa.func.coalesce(tasks.c.error, _DELETED).label("error"),
            )
            .join(documents, _OF_TASK)
            .where(tasks.c.job_id == job_id, tasks.c.state == "failed")
            .order_by(tasks.c.id)
            .limit(SHOWN_FAILURES)
        )
        counted = await self._db.rows(grouped)  # first: every counted failure is then listed, too
        failures = [dict(row) for row in await self._db.rows(failed)]
        return _job_record(found[0], counted, failures)

    async def backlog(self) -> Backlog:
        """Returns the open tasks and unscored answers of all tenants."""
        queue = (tasks.c.stage, tasks.c.bulk, tasks.c.state)
        accepted = sa.func.min(jobs.c.created_at)
        grouped = (
            sa.select(*queue, sa.func.count().label("tasks"), accepted.label("accepted"))
            .join(jobs, jobs.c.id == tasks.c.job_id)
            .where(tasks.c.state.in_(_OPEN))
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

    async def spooled(self, scope: Scope | None = None, ids: Sequence[str] = ()) -> set[str]:
        """Returns the spool keys of the bytes that open tasks or failed documents still need.

        Covers all documents, or those with these ids in a scope. Failed ones may be retried.
        """
        waiting = sa.select(tasks.c.source).where(tasks.c.state.in_(_OPEN))
        failed = sa.select(documents.c.source).where(documents.c.state == "failed")
        if scope is not None:
            waiting = waiting.where(_in(scope, tasks), tasks.c.document_id.in_(ids))
            failed = failed.where(_in(scope), documents.c.id.in_(ids))
        return _spool_keys(await self._db.rows(sa.union_all(waiting, failed)))

    async def cancelled(self, job_id: str) -> set[str]:
        """Returns the spool keys of a job's cancelled tasks, whose bytes are no longer needed."""
        query = sa.select(tasks.c.source).where(
            tasks.c.job_id == job_id, tasks.c.state == "cancelled"
        )
        return _spool_keys(await self._db.rows(query))

    # Documents

    async def documents(
        self,
        scope: Scope,
        *,
        limit: int,
        after: str = "",
        state: str | None = None,
        uri_prefix: str = "",
    ) -> list[DocumentRecord]:
        """Returns the documents with ids greater than `after`, ordered by id."""
        query = documents.select()
        columns: list[sa.ColumnElement[str]] = [documents.c[name] for name in _KEY]
        if uri_prefix:
            first, last = sa.literal(uri_prefix), sa.literal(uri_prefix + _LAST_CHARACTER)
            query = query.where(documents.c.uri >= first, documents.c.uri < last)
            # No index covers these expressions, so the planner has to take the one on uris.
            columns = [column.concat("") for column in columns]
        if state is not None:
            query = query.where(documents.c.state == state)
        tenant, collection, place = columns
        query = query.where(tenant == scope.tenant, collection == scope.collection, place > after)
        rows = await self._db.rows(query.order_by(place).limit(limit))
        return [_document(row) for row in rows]

    async def document(self, scope: Scope, document_id: str) -> DocumentRecord:
        """Returns the document.

        Raises:
            NotFoundError: There is no such document.
        """
        rows = await self._db.rows(_FIND_DOCUMENT, _key(scope, document_id))
        if not rows:
            raise _no_document(scope, document_id)
        return _document(rows[0])

    async def known(self, scope: Scope, document_ids: Sequence[str]) -> set[str]:
        """Returns those of these ids that belong to a document."""
        query = sa.select(documents.c.id).where(_in(scope), documents.c.id.in_(document_ids))
        return {row["id"] for row in await self._db.rows(query)}

    async def text(self, scope: Scope, document_id: str) -> str:
        """Returns the text that citations quote from; empty if the document was never read."""
        query = sa.select(texts.c.text).where(_in(scope, texts), texts.c.document_id == document_id)
        rows = await self._db.rows(query)
        return str(rows[0]["text"]) if rows else ""

    async def content(self, scope: Scope, document_id: str) -> bytes:
        """Returns the text of a document in UTF-8; it may be long, so it is not decoded first.

        Raises:
            NotFoundError: There is no such document, or it was never read.
        """
        both = sa.and_(_in(scope, texts), texts.c.document_id == documents.c.id)
        query = sa.select(self._db.utf8(texts.c.text).label("text"), documents.c.state)
        query = query.select_from(documents.outerjoin(texts, both))
        rows = await self._db.rows(query.where(_in(scope), documents.c.id == document_id))
        if not rows:
            raise _no_document(scope, document_id)
        if rows[0]["text"] is None:
            raise NotFoundError(
                f"The document {document_id!r} has no text: it was not read yet, and is"
                f" {rows[0]['state']}.",
                code="no_content",
            )
        return bytes(rows[0]["text"])

    async def stored(self, scope: Scope, document_id: str) -> Document:
        """Returns the document as it was read when it was ingested.

        Raises:
            NotFoundError: There is no such document.
            InputError: An older version ingested it, and did not store its structure.
        """
        both = sa.and_(_in(scope, texts), texts.c.document_id == documents.c.id)
        query = sa.select(documents, texts.c.text, texts.c.structure).join(texts, both)
        rows = await self._db.rows(query.where(_in(scope), documents.c.id == document_id))
        if not rows:
            raise _no_document(scope, document_id)
        if rows[0]["structure"] is None:
            raise _incomplete([rows[0]["uri"]])
        return document_of(dict(rows[0]), text=rows[0]["text"], structure=rows[0]["structure"])

    async def check_complete(self, scope: Scope) -> None:
        """Raises InputError if only the text of a document is stored, without its structure."""
        both = sa.and_(_in(scope, texts), texts.c.document_id == documents.c.id)
        query = sa.select(documents.c.uri).join(texts, both)
        only_text = query.where(
            _in(scope), documents.c.version != "", texts.c.structure.is_(None)
        ).order_by(documents.c.uri)
        if rows := await self._db.rows(only_text):
            raise _incomplete([row["uri"] for row in rows])

    async def same_content(self, scope: Scope, version: str) -> DocumentRecord | None:
        """Returns the document that is indexed for these bytes; None if there is none."""
        of = {"document_tenant": scope.tenant, "document_collection": scope.collection}
        rows = await self._db.rows(_FIND_CONTENT, of | {"content": version})
        return _document(rows[0]) if rows else None

    async def duplicates(self, scope: Scope, document_id: str) -> list[DocumentRecord]:
        """Returns the documents that are recorded as duplicates of this one, oldest first."""
        query = documents.select().where(_in(scope), documents.c.duplicate_of == document_id)
        return [
            _document(row) for row in await self._db.rows(query.order_by(documents.c.created_at))
        ]

    async def lose(self, scope: Scope, error: str, *, document_id: str | None = None) -> None:
        """Marks one document, or all, as no longer stored, so that they can be ingested again."""
        lost = {"state": "failed", "error": error, "version": "", "recipe": "", "chunks": 0}
        which = _in(scope)
        if document_id is not None:
            which &= documents.c.id == document_id
        async with self._db.write() as db:
            await db.execute(documents.update().where(which).values(lost | {"duplicate_of": None}))

    async def inherit(
        self, scope: Scope, heirs: Sequence[DocumentRecord], *, chunks: int, recipe: str
    ) -> bool:
        """Makes the first heir the indexed document of the bytes that it shares with the others.

        Returns:
            False if that heir was deleted meanwhile: nothing is changed, and the mark of its
            deletion stays.
        """
        first = _in(scope) & (documents.c.id == heirs[0].id)
        others = _in(scope) & documents.c.id.in_([heir.id for heir in heirs[1:]])
        async with self._db.write() as db:
            own = {"duplicate_of": None, "chunks": chunks, "recipe": recipe}
            if not (await db.execute(documents.update().where(first).values(own))).rowcount:
                return False
            await db.execute(documents.update().where(others).values(duplicate_of=heirs[0].id))
            await self.unsettled.unmark(db, scope, heirs[0].id)
        return True

    async def delete(self, scope: Scope, document_id: str) -> set[str]:
        """Deletes a document and its text, cancels its tasks; returns spool keys to remove.

        Its chunks are still in the index, so the document is marked as unsettled.
        """
        its_tasks = _in(scope, tasks) & (tasks.c.document_id == document_id)
        its_text = _in(scope, texts) & (texts.c.document_id == document_id)
        cancel = tasks.update().where(its_tasks, _IS_OPEN).values(state="cancelled", draft=None)
        cancelled = sa.select(tasks.c.source).where(its_tasks, tasks.c.state == "cancelled")
        async with self._db.write() as db:
            await db.execute(cancel)
            await forget_text(db, scope, document_id)
            found = (await db.execute(_FIND_DOCUMENT, _key(scope, document_id))).mappings().all()
            await db.execute(documents.delete().where(_in(scope), documents.c.id == document_id))
            await db.execute(texts.delete().where(its_text))
            await db.execute(cancel)  # again: a new task may have come before the deletion
            for row in found:
                held = {name: row[name] for name in ("version", "recipe", "chunks")}
                await self.unsettled.mark_deleted(db, scope, document_id, **held)
            return _spool_keys([*found, *(await db.execute(cancelled)).mappings()])

    # Versions of an index

    async def document_ids(self, scope: Scope) -> list[str]:
        """Returns the ids of the documents that were read at least once, in order."""
        query = sa.select(documents.c.id).where(_in(scope), documents.c.version != "")
        return [row["id"] for row in await self._db.rows(query.order_by(documents.c.id))]

    async def previous(self, scope: Scope) -> tuple[str, dict[str, Cut]] | None:
        """Returns the previous version's embedder and its cuts by document id; None if none."""
        query = sa.select(collections.c.previous_embedder).where(_in(scope, collections))
        rows = await self._db.rows(query)
        if not rows or rows[0]["previous_embedder"] is None:
            return None
        cuts = sa.select(documents.c.id, documents.c.previous)
        kept = await self._db.rows(cuts.where(_in(scope), documents.c.previous.is_not(None)))
        return rows[0]["previous_embedder"], {row["id"]: Cut(**row["previous"]) for row in kept}

    @contextlib.asynccontextmanager
    async def switching(
        self, scope: Scope, cuts: Mapping[str, Cut], *, embedder: str
    ) -> AsyncIterator[None]:
        """Records the cuts of the version that the block switches to; nothing if the block fails.

        The cuts recorded until then become the previous ones. A document that was added, changed
        or deleted since it was cut is unsettled until it is `recut`. The staged switch is removed.
        """
        async with self._db.write() as db:
            rows = (await db.execute(documents.select().where(_in(scope)))).mappings().all()
            await db.execute(
                collections.update()
                .where(_in(scope, collections))
                .values(previous_embedder=collections.c.embedder, embedder=embedder)
            )
            unknown = {"previous": None, "recipe": ""}
            await db.execute(documents.update().where(_in(scope)).values(unknown))
            changes = [
                {"key": row["id"], **_recut(cuts[row["id"]]), "previous": asdict(_cut(row))}
                for row in rows
                if row["id"] in cuts and is_of(cuts[row["id"]], _document(row))
            ]
            if changes:
                one = _in(scope) & (documents.c.id == sa.bindparam("key"))
                await db.execute(documents.update().where(one), changes)
            known = {*cuts, *(row["id"] for row in rows if row["version"])}
            await self.unsettled.mark(db, scope, known - {change["key"] for change in changes})
            await self.staged.clear(db, scope)
            yield

    async def recut(self, scope: Scope, document_id: str, cut: Cut) -> None:
        """Records how a document is cut now, and marks it as settled."""
        one = _in(scope) & (documents.c.id == document_id)
        async with self._db.write() as db:
            await db.execute(documents.update().where(one).values(_recut(cut)))
            await self.unsettled.unmark(db, scope, document_id)

    async def _settle(
        self,
        db: AsyncConnection,
        task: Task,
        state: State,
        now: str,
        *,
        error: str | None = None,
        outcome: str | None = None,
        document: Mapping[str, Any] | None = None,
    ) -> None:
        ended = {"state": state, "error": error, "updated_at": now}
        of_task, of_document = {"task_id": task.id}, _key(task.scope, task.document_id)
        await db.execute(_END_TASK, of_task | ended | {"outcome": outcome, "draft": None})
        if document:
            await db.execute(_CHANGE_DOCUMENT, of_document | dict(document))
        await db.execute(_END_DOCUMENT, of_task | of_document | ended)


def _spool_keys(rows: Sequence[sa.RowMapping]) -> set[str]:
    return {row["source"]["spool"] for row in rows if "spool" in row["source"]}


def _open_tasks(row: sa.RowMapping) -> OpenTasks:
    age = datetime.now(UTC) - datetime.fromisoformat(row["accepted"])
    return OpenTasks(
        stage=row["stage"],
        bulk=row["bulk"],
        state=row["state"],
        tasks=row["tasks"],
        oldest_seconds=max(0.0, age.total_seconds()),
    )


def is_of(cut: Cut, record: DocumentRecord) -> bool:
    """Returns True if a cut is of the document's current bytes."""
    return (cut.version, cut.duplicate_of) == (record.version, record.duplicate_of)


def _cut(row: sa.RowMapping) -> Cut:
    return Cut(**{field.name: row[field.name] for field in fields(Cut)})


def _recut(cut: Cut) -> dict[str, Any]:
    return {"recipe": cut.recipe, "chunks": cut.chunks, "duplicate_of": cut.duplicate_of}


def _no_document(scope: Scope, document_id: str) -> NotFoundError:
    return NotFoundError(
        f"There is no document {document_id!r} in collection {scope.collection!r}.",
        code="unknown_document",
    )


def _incomplete(uris: Sequence[str]) -> InputError:
    named = ", ".join(uris[:SHOWN_URIS]) + (", …" if len(uris) > SHOWN_URIS else "")
    return InputError(
        f"Of {len(uris)} documents, ingested by an older version, no headings, tables and pages are"
        f" kept: {named}. Ingest them once more; those that did not change are not embedded.",
        code="incomplete_documents",
    )


def _row(scope: Scope) -> dict[str, str]:
    return {"tenant": scope.tenant, "collection": scope.collection}


def _in(scope: Scope, table: sa.Table = documents) -> sa.ColumnElement[bool]:
    return sa.and_(table.c.tenant == scope.tenant, table.c.collection == scope.collection)


def _key(scope: Scope, document_id: str) -> dict[str, Any]:
    """Returns the parameters of `_THE_DOCUMENT`."""
    return {
        "document_tenant": scope.tenant,
        "document_collection": scope.collection,
        "document_id": document_id,
    }


def _running() -> dict[str, str]:
    return {"state": "running", "updated_at": _now()}


def _due() -> sa.ColumnElement[bool]:
    """Returns the condition of a due task; a time too far ahead is from before a clock change."""
    now = time.time()
    return sa.or_(tasks.c.not_before <= now, tasks.c.not_before > now + LONGEST_WAIT)


def _task(row: sa.RowMapping) -> Task:
    interrupted = row["state"] == "running"
    return Task(
        id=row["id"],
        job_id=row["job_id"],
        scope=Scope(tenant=row["tenant"], collection=row["collection"]),
        document_id=row["document_id"],
        uri=row["uri"],
        source=row["source"],
        attempts=row["attempts"] + interrupted,
        stage=row["stage"],
        accepted_at=datetime.fromisoformat(row["accepted_at"]).timestamp(),
        traceparent=row["traceparent"],
        interrupted=interrupted,
        bulk=row["bulk"],
    )


def _document(row: sa.RowMapping) -> DocumentRecord:
    return DocumentRecord(**{field.name: row[field.name] for field in fields(DocumentRecord)})


def _job_record(
    job: sa.RowMapping, rows: Sequence[sa.RowMapping], failures: Sequence[Mapping[str, str]]
) -> JobRecord:
    counts, stages, outcomes = Counter[str](), Counter[str](), Counter[str]()
    for row in rows:
        counts[row["state"]] += row["n"]
        if row["state"] in _OPEN:
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
    open_ = sum(counts.get(state, 0) for state in _OPEN)
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


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
