"""The API keys of the catalog: their digests, and what they permit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields

import sqlalchemy as sa

from rag.catalog.database import Database
from rag.catalog.tables import api_keys
from rag.errors import ConflictError, NotFoundError
from rag.records import KeyRecord, StoredKey
from rag.text.validation_errors import shortened

_LISTS = ("scopes", "collections", "groups")
_FIND = api_keys.select().where(api_keys.c.id == sa.bindparam("key_id"))


class Keys:
    """Queries and changes of the API keys. A key of another tenant is not found.

    Changes are single statements: a command may make them beside a running server.
    """

    def __init__(self, database: Database) -> None:
        self._db = database

    async def add(self, record: KeyRecord, digest: str) -> None:
        """Stores a new key of the record's tenant, which may be one of several tenants."""
        async with self._db.write() as db:
            await db.execute(api_keys.insert().values(**asdict(record), digest=digest))

    async def find(self, id_: str) -> StoredKey | None:
        """Returns the key with this id, of all tenants; None if there is none."""
        found = await self._db.rows(_FIND, {"key_id": id_})
        if not found:
            return None
        row = found[0]
        return StoredKey(_record(row), row["digest"], row["previous_digest"])

    async def of(self, tenant: str) -> list[KeyRecord]:
        """Returns the keys of a tenant, oldest first; revoked and expired ones, too."""
        theirs = api_keys.select().where(api_keys.c.tenant == tenant)
        ordered = theirs.order_by(api_keys.c.created_at, api_keys.c.id)
        return [_record(row) for row in await self._db.rows(ordered)]

    async def get(self, tenant: str, id_: str) -> KeyRecord:
        """Returns a key.

        Raises:
            NotFoundError: The tenant has no such key.
        """
        found = await self._db.rows(api_keys.select().where(_of(tenant, id_)))
        if not found:
            raise NotFoundError(f"There is no key {shortened(id_)!r}.", code="unknown_key")
        return _record(found[0])

    async def rotate(
        self, tenant: str, id_: str, digest: str, *, now: float, until: float
    ) -> KeyRecord:
        """Replaces a key by a new one; the old one is accepted until `until`.

        The one before it is no longer accepted.

        Raises:
            NotFoundError: The tenant has no such key.
            ConflictError: The key was revoked, or has expired.
        """
        lives = sa.or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > now)
        change = (
            api_keys.update()
            .where(_of(tenant, id_), api_keys.c.revoked_at.is_(None), lives)
            .values(previous_digest=api_keys.c.digest, previous_until=until, digest=digest)
        )
        async with self._db.write() as db:
            changed = (await db.execute(change)).rowcount
        record = await self.get(tenant, id_)
        if not changed:
            raise ConflictError(
                f"The key {id_!r} is revoked or has expired: make a new one.", code="key_ended"
            )
        return record

    async def revoke(self, tenant: str, id_: str, *, now: float) -> KeyRecord:
        """Ends a key, and returns it; one that was revoked before stays as it is.

        Raises:
            NotFoundError: The tenant has no such key.
        """
        end = api_keys.update().where(_of(tenant, id_), api_keys.c.revoked_at.is_(None))
        async with self._db.write() as db:
            await db.execute(end.values(revoked_at=now))
        return await self.get(tenant, id_)

    async def used(self, times: Mapping[str, float]) -> None:
        """Stores when keys, by their ids, were last used; they may be of several tenants."""
        stamp = (
            api_keys.update()
            .where(api_keys.c.id == sa.bindparam("key_id"))
            .values(last_used_at=sa.bindparam("at"))
        )
        rows = [{"key_id": id_, "at": at} for id_, at in sorted(times.items())]
        async with self._db.write() as db:
            await db.execute(stamp, rows)


def _of(tenant: str, id_: str) -> sa.ColumnElement[bool]:
    return sa.and_(api_keys.c.tenant == tenant, api_keys.c.id == id_)


def _record(row: sa.RowMapping) -> KeyRecord:
    values = {field.name: row[field.name] for field in fields(KeyRecord)}
    lists = {name: None if values[name] is None else tuple(values[name]) for name in _LISTS}
    return KeyRecord(**values | lists)
