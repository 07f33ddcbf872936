"""Tokens of issuers that a tenant refuses before they expire."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields

import sqlalchemy as sa

from rag.catalog.database import Database
from rag.catalog.tables import refused_tokens
from rag.errors import ConflictError, NotFoundError
from rag.records import Refusal, RefusalKind
from rag.text.validation_errors import shortened

MOST = 1000
"""Most refusals of a tenant."""
_FIND = (
    sa.select(sa.literal(1))
    .where(
        refused_tokens.c.tenant == sa.bindparam("of_tenant"),
        refused_tokens.c.expires_at > sa.bindparam("now"),
        sa.or_(
            sa.and_(
                refused_tokens.c.kind == "token",
                refused_tokens.c.value.in_(sa.bindparam("ids", expanding=True)),
            ),
            sa.and_(
                refused_tokens.c.kind == "subject",
                refused_tokens.c.value == sa.bindparam("subject"),
                refused_tokens.c.refused_at >= sa.bindparam("issued_at"),
            ),
        ),
    )
    .limit(1)
)


class RefusedTokens:
    """Queries and changes of refusals. Those that have ended are as if they were not there.

    Changes are single transactions: a command may make them beside a running server.
    """

    def __init__(self, database: Database) -> None:
        self._db = database

    async def add(self, refusal: Refusal) -> None:
        """Stores a refusal in place of an earlier one of the same token or subject.

        Raises:
            ConflictError: The tenant has `MOST` others.
        """
        row = asdict(refusal)
        added = self._db.insert(refused_tokens).values(row)
        others = ~_is(refusal.kind, refusal.value)
        count = sa.select(sa.func.count()).where(
            _lasts(refusal.tenant, now=refusal.refused_at), others
        )
        async with self._db.write() as db:
            if (await db.execute(count)).scalar_one() >= MOST:
                raise ConflictError(
                    f"The tenant refuses {MOST:,} tokens and subjects already, which is the most:"
                    " allow some of them, or wait until some have expired.",
                    code="too_many_refused",
                )
            key = refused_tokens.primary_key.columns.keys()
            await db.execute(added.on_conflict_do_update(index_elements=key, set_=row))

    async def remove(self, tenant: str, kind: RefusalKind, value: str, *, now: float) -> Refusal:
        """Removes a refusal, and returns it.

        Raises:
            NotFoundError: The tenant has no such one.
        """
        mine = sa.and_(_lasts(tenant, now=now), _is(kind, value))
        removed = refused_tokens.delete().where(mine).returning(*refused_tokens.columns)
        async with self._db.write() as db:
            row = (await db.execute(removed)).mappings().first()
        if row is None:
            raise NotFoundError(
                f"The {kind} {shortened(value)!r} is not refused.", code="not_refused"
            )
        return _refusal(row)

    async def of(self, tenant: str, *, now: float) -> list[Refusal]:
        """Returns the refusals of a tenant, oldest first."""
        ordered = refused_tokens.select().order_by(
            refused_tokens.c.refused_at, refused_tokens.c.kind, refused_tokens.c.value
        )
        rows = await self._db.rows(ordered.where(_lasts(tenant, now=now)))
        return [_refusal(row) for row in rows]

    async def refuses(
        self, tenant: str, *, ids: Sequence[str], subject: str, issued_at: float, now: float
    ) -> bool:
        """Returns True if a token with one of these ids, or one issued to the subject, is refused.

        Tokens of a refused subject are refused if they were issued at the time of the refusal, or
        before.
        """
        asked = {"of_tenant": tenant, "ids": ids, "subject": subject}
        return bool(await self._db.rows(_FIND, asked | {"issued_at": issued_at, "now": now}))

    async def tidy(self, *, now: float) -> None:
        """Removes the refusals of all tenants that have ended."""
        async with self._db.write() as db:
            await db.execute(refused_tokens.delete().where(refused_tokens.c.expires_at <= now))


def _lasts(tenant: str, *, now: float) -> sa.ColumnElement[bool]:
    return sa.and_(refused_tokens.c.tenant == tenant, refused_tokens.c.expires_at > now)


def _is(kind: RefusalKind, value: str) -> sa.ColumnElement[bool]:
    return sa.and_(refused_tokens.c.kind == kind, refused_tokens.c.value == value)


def _refusal(row: sa.RowMapping) -> Refusal:
    return Refusal(**{field.name: row[field.name] for field in fields(Refusal)})
