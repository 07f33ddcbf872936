"""Records of jobs, computed of their tasks."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from rag.catalog.acls import default_of, readable_by
from rag.catalog.database import Database
from rag.catalog.sql import OPEN, same_document, same_scope
from rag.catalog.tables import collections, documents, jobs, tasks
from rag.records import JobRecord
from rag.types import Readers, State

_DELETED = "The document was deleted later, and what its error said was removed with it."
_OF_TASK = same_document(documents, tasks)
_FAILURE = ("document_id", "uri", "error")


def job_rows() -> sa.Select[Any]:
    """Returns the query of the rows of all jobs that `records_of` takes."""
    its_collection = same_scope(jobs, collections)
    rows = sa.select(jobs, collections.c.acl.label("default_acl"))
    return rows.outerjoin(collections, its_collection)


async def records_of(
    database: Database, found: Sequence[sa.RowMapping], readers: Readers | None, *, failures: int
) -> list[JobRecord]:
    """Returns the records of rows of `job_rows`, in their order.

    Args:
        database: where the tasks are.
        found: the rows.
        readers: those who see the records; they learn nothing of documents that they may not read.
            None: they may read all.
        failures: the most failed documents that are listed of each job.
    """
    counted: defaultdict[str, list[sa.RowMapping]] = defaultdict(list)
    failed: defaultdict[str, list[dict[str, str]]] = defaultdict(list)
    for ids, known in _by_what_is_known(found, readers):
        for row in await database.rows(_grouped(ids, known)):
            counted[row["job_id"]].append(row)
        # Last: every counted one is listed.
        for row in await database.rows(_failed(ids, known, failures)):
            failed[row["job_id"]].append({name: row[name] for name in _FAILURE})
    return [_job_record(row, counted[row["id"]], failed[row["id"]]) for row in found]


def _by_what_is_known(
    found: Sequence[sa.RowMapping], readers: Readers | None
) -> Iterator[tuple[list[str], sa.ColumnElement[bool]]]:
    """Yields ids of jobs, and the condition on a task's document that readers know of it.

    They know of a document that is still there and that they may read.
    """
    if readers is None:
        yield [row["id"] for row in found], sa.true()
        return
    ids: defaultdict[bool, list[str]] = defaultdict(list)
    for row in found:
        ids[not readers.isdisjoint(default_of(row["default_acl"]))].append(row["id"])
    for by_default, these in ids.items():
        readable = readable_by(readers, by_default=sa.literal(by_default))
        yield these, sa.and_(documents.c.id.is_not(None), readable)


def _grouped(ids: Sequence[str], known: sa.ColumnElement[bool]) -> sa.Select[Any]:
    """Returns the query of the tasks of jobs, counted by state, stage and outcome."""
    tells = tasks.c.outcome.in_(("unchanged", "duplicate"))  # of what was stored before
    outcome = sa.case((tells & ~known, "stored"), else_=tasks.c.outcome).label("outcome")
    columns = (tasks.c.job_id, tasks.c.state, tasks.c.stage, tasks.c.updated_at, outcome)
    shown = sa.select(*columns).select_from(tasks.outerjoin(documents, _OF_TASK))
    each = shown.where(tasks.c.job_id.in_(ids)).subquery().c
    by = (each.job_id, each.state, each.stage, each.outcome)
    counts = (sa.func.count().label("n"), sa.func.max(each.updated_at).label("at"))
    return sa.select(*by, *counts).group_by(*by)


def _failed(ids: Sequence[str], known: sa.ColumnElement[bool], most: int) -> sa.Select[Any]:
    """Returns the query of the first failures of each of the jobs."""
    place = sa.func.row_number().over(partition_by=tasks.c.job_id, order_by=tasks.c.id)
    each = (
        sa.select(
            tasks.c.id,
            tasks.c.job_id,
            tasks.c.document_id,
            sa.case((known, documents.c.uri), else_="").label("uri"),
            sa.func.coalesce(tasks.c.error, _DELETED).label("error"),
            place.label("place"),
        )
        .join(documents, _OF_TASK)
        .where(tasks.c.job_id.in_(ids), tasks.c.state == "failed")
        .subquery()
        .c
    )
    columns = (each.job_id, each.document_id, each.uri, each.error)
    return sa.select(*columns).where(each.place <= most).order_by(each.id)


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
