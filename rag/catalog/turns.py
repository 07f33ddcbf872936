"""The turns of tasks, by which tenants share the queue.

Tasks are handed out in the order of their turns. A tenant's tasks have consecutive turns, which
begin at that of the task that is due next: the tasks of two tenants alternate, however many each
has, and a tenant that comes later waits for no more than the tasks under way. This is start-time
fair queueing with equal weights (Goyal, Vin, Cheng 1996), with a document as the unit.
"""

from __future__ import annotations

import time

import sqlalchemy as sa

from rag.catalog.tables import IS_PENDING, tasks


def next_turn(db: sa.Connection, tenant: str, *, bulk: bool) -> int:
    """Returns the turn of a tenant's next task, among those that are bulk, or that are not."""
    alike = (IS_PENDING, tasks.c.bulk == bulk, tasks.c.not_before <= time.time())
    first = sa.select(tasks.c.turn).where(*alike).order_by(tasks.c.turn, tasks.c.id).limit(1)
    theirs = sa.select(tasks.c.turn).where(*alike, tasks.c.tenant == tenant)
    last = theirs.order_by(tasks.c.turn.desc()).limit(1)
    now, before = db.scalar(first), db.scalar(last)
    return max(now or 0, 0 if before is None else before + 1)
