"""API keys: `pl_`, the id, `_`, and a secret of 256 random bits; all in lower-case hex.

A key is stored as its SHA-256. Slow hashes such as bcrypt, and salts, protect secrets that people
choose: these can be guessed. 256 random bits cannot, and no table of their hashes can be made; a
slow hash would only delay each request.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rag.catalog.keys import Keys
from rag.errors import ConflictError, ForbiddenError
from rag.records import KeyRecord
from rag.types import Permission, Principal

ID_BYTES = 6
SECRET_BYTES = 32
_KEY = re.compile(r"pl_([0-9a-f]{12})_[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """The purpose of a new key, and its permissions.

    `expires_in` is in seconds; None: it does not expire.
    """

    name: str
    scopes: Sequence[Permission]
    collections: Sequence[str] | None = None
    subject: str = ""
    groups: Sequence[str] = ()
    expires_in: float | None = None


class ApiKeys:
    """Makes, rotates and revokes keys. A caller manages the keys of the own tenant."""

    def __init__(self, keys: Keys, *, changed: Callable[[str], None]) -> None:
        """Takes a function that is called with the id of a key after each change."""
        self._keys = keys
        self._changed = changed

    async def create(self, caller: Principal, grant: Grant) -> tuple[KeyRecord, str]:
        """Returns a new key's record and the key, which is returned only here.

        Raises:
            ForbiddenError: It would permit more than the caller may do.
            ConflictError: A key for keys would be bound to collections.
        """
        _check(caller, grant.scopes)
        if grant.collections is not None and "admin" in grant.scopes:
            raise ConflictError("A key with the scope 'admin' reaches all collections: name none.")
        now, id_ = time.time(), secrets.token_hex(ID_BYTES)
        record = KeyRecord(
            id=id_,
            tenant=caller.tenant,
            name=grant.name,
            scopes=tuple(grant.scopes),
            collections=None if grant.collections is None else tuple(grant.collections),
            subject=grant.subject,
            groups=tuple(grant.groups),
            created_at=now,
            expires_at=None if grant.expires_in is None else now + grant.expires_in,
        )
        key = _new_key(id_)
        await self._keys.add(record, digest_of(key))
        return record, key

    async def rotate(self, caller: Principal, id_: str, *, overlap: float) -> tuple[KeyRecord, str]:
        """Returns a key's record and a new key; the old one is accepted for `overlap` seconds more.

        Raises:
            ForbiddenError: The key permits more than the caller may do.
            NotFoundError: The caller's tenant has no such key.
            ConflictError: The key was revoked, or has expired.
        """
        _check(caller, (await self._keys.get(caller.tenant, id_)).scopes)
        key, now = _new_key(id_), time.time()
        record = await self._keys.rotate(
            caller.tenant, id_, digest_of(key), now=now, until=now + overlap
        )
        self._changed(id_)
        return record, key

    async def revoke(self, caller: Principal, id_: str) -> KeyRecord:
        """Ends a key: at once in this process, in others when their caches forget it.

        Returns:
            The key; one that was revoked before is unchanged.

        Raises:
            NotFoundError: The caller's tenant has no such key.
        """
        _check(caller, ())
        record = await self._keys.revoke(caller.tenant, id_, now=time.time())
        self._changed(id_)
        return record

    async def of(self, caller: Principal) -> list[KeyRecord]:
        """Returns the keys of the caller's tenant, oldest first."""
        _check(caller, ())
        return await self._keys.of(caller.tenant)


def id_of(key: str) -> str | None:
    """Returns the id within a key; None if it has not the form of one."""
    found = _KEY.fullmatch(key)
    return found[1] if found else None


def digest_of(key: str) -> str:
    """Returns the digest by which a key is stored."""
    return hashlib.sha256(key.encode()).hexdigest()


def _new_key(id_: str) -> str:
    return f"pl_{id_}_{secrets.token_hex(SECRET_BYTES)}"


def _check(caller: Principal, scopes: Sequence[Permission]) -> None:
    if caller.collections is not None:
        raise ForbiddenError("Who is bound to collections does not manage keys.")
    if more := sorted(set(scopes) - caller.scopes):
        raise ForbiddenError(
            f"A key permits at most what the caller may do, who lacks {', '.join(more)}."
        )
