"""The outbox of webhooks: jobs that ended, and messages that receivers have not taken yet."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict

import sqlalchemy as sa

from rag.catalog.database import Database
from rag.catalog.sql import OPEN
from rag.catalog.tables import UNANNOUNCED, jobs, tasks, webhook_messages
from rag.records import WebhookMessage

AT_ONCE = 16
"""Rows that are read together."""
_HAS_ENDED = ~sa.exists().where(tasks.c.job_id == jobs.c.id, tasks.c.state.in_(OPEN))


class Webhooks:
    """Queries and changes of the outbox, which serves the process and has all tenants' rows."""

    def __init__(self, database: Database) -> None:
        self._db = database

    async def ended(self) -> list[tuple[str, str]]:
        """Returns tenants and ids of some jobs that have ended, and were not announced."""
        found = sa.select(jobs.c.tenant, jobs.c.id).where(UNANNOUNCED, _HAS_ENDED).limit(AT_ONCE)
        return [(row["tenant"], row["id"]) for row in await self._db.rows(found)]

    async def announce(self, job_id: str, messages: Sequence[WebhookMessage]) -> None:
        """Stores the messages about a job, unless they are stored or it was begun again."""
        mine = jobs.update().where(jobs.c.id == job_id, UNANNOUNCED, _HAS_ENDED)
        async with self._db.write() as db:
            marked = await db.execute(mine.values(announced=True))
            if marked.rowcount and messages:
                await db.execute(webhook_messages.insert(), [asdict(each) for each in messages])

    async def due(self) -> list[WebhookMessage]:
        """Returns some messages whose time has come, the longest due first."""
        which = webhook_messages.c.not_before <= time.time()
        ordered = webhook_messages.select().where(which).order_by(webhook_messages.c.not_before)
        rows = await self._db.rows(ordered.limit(AT_ONCE))
        return [WebhookMessage(**row) for row in rows]

    async def done(self, message_id: str) -> None:
        """Deletes a message: its receiver has it, or will not get it."""
        mine = webhook_messages.c.id == message_id
        async with self._db.write() as db:
            await db.execute(webhook_messages.delete().where(mine))

    async def put_back(self, message_id: str, *, seconds: float) -> None:
        """Counts a failed attempt; the message is due again in `seconds`."""
        mine = webhook_messages.update().where(webhook_messages.c.id == message_id)
        later = {"not_before": time.time() + seconds}
        counted = {"attempts": webhook_messages.c.attempts + 1}
        async with self._db.write() as db:
            await db.execute(mine.values(later | counted))
