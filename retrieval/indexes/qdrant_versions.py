"""The versions of collections on a Qdrant server, and the aliases that name them.

A collection `docs` is an alias, `plumbline_docs`, of a physical collection, `plumbline_docs.v1`: a
new version is filled beside the old one and the alias moved in one step. (No collection's name has
a dot, so aliases and physical names never coincide.) A second alias names the previous version.

Tenants share these versions. A tenant that indexes a shared collection again gets a series of
versions of its own, `docs.tenant-0123456789abcdef`, with the same two aliases; the others stay
where they are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from qdrant_client import models

from rag.errors import ConfigError, InputError, StorageError
from rag.types import Scope
from retrieval.indexes.qdrant_known import Known
from retrieval.indexes.qdrant_server import Server

VERSION, PREVIOUS = ".v", ".previous"
"""Suffixes of a collection's name: in the name of a version, and of the alias of the previous one.
A scope with such a name is that version."""
_OWN = ".tenant-"


def own_series(scope: Scope) -> Scope:
    """Returns the scope of the tenant's own versions of a collection."""
    digest = hashlib.blake2b(scope.tenant.encode(), digest_size=8).hexdigest()
    return replace(scope, collection=f"{scope.collection}{_OWN}{digest}")


def series_of(version: str) -> str:
    """Returns the name of the collection, or of the tenant's own series, of a version."""
    return version.rpartition(VERSION)[0]


def label_of(version: str) -> str:
    """Returns a version's name within its collection: `v2`, or `own-v2` in a tenant's own series.

    Raises:
        ConfigError: It has no number, so the name is not Plumbline's.
    """
    series, _, number = version.rpartition(VERSION)
    return f"{'own-' if _OWN in series else ''}v{_number_of(number)}"


class Versions:
    """Lists, switches and removes the versions of collections, and of tenants' own series.

    A version is named by its scope's collection, such as `docs.v2`.
    """

    def __init__(self, server: Server, known: Known, *, prefix: str) -> None:
        """Take a server, which the caller closes; `prefix` comes before the names there."""
        self._server = server
        self._client = server.client
        self._known = known
        self._prefix = prefix

    def name(self, collection: str) -> str:
        """Returns the alias of a collection; for a version's name, its physical collection."""
        return f"{self._prefix}{collection}"

    async def located(self, scope: Scope, *, fresh: bool = False) -> Scope:
        """Returns the tenant's own series if it has one; else, and for a version, the scope itself.

        A series that was found is cached. Others are asked for anew if `fresh`: another process may
        have made one.
        """
        if "." in scope.collection:
            return scope
        own, known = own_series(scope), self._known.own
        if (fresh and not known.get(scope.whole)) or scope.whole not in known:
            known[scope.whole] = await self.current(own.collection) is not None
        return own if known[scope.whole] else scope

    async def stored(self, collection: str) -> list[int]:
        """Returns the numbers of the stored versions of one series, in order."""
        stem = self.name(f"{collection}{VERSION}")
        held = (await self._server.call(self._client.get_collections)).collections
        return sorted(
            _number_of(c.name.removeprefix(stem)) for c in held if c.name.startswith(stem)
        )

    async def current(self, collection: str) -> str | None:
        """Returns the version that is read and written; None if the collection was never made."""
        current, _ = await self.aliased(collection)
        return current

    async def aliased(self, collection: str) -> tuple[str | None, str | None]:
        """Returns the current and the previous version."""
        found = await self._aliases()
        return found.get(collection), found.get(collection + PREVIOUS)

    async def check_alias(self, collection: str) -> None:
        """Checks a collection that was not found: it was never created, or is a version.

        Raises:
            StorageError: The collection's alias names a version that does not exist.
        """
        current = None if VERSION in collection else await self.current(collection)
        if current is None:
            return
        held = (await self._server.call(self._client.get_collections)).collections
        if self.name(current) not in {each.name for each in held}:
            raise StorageError(
                f"The version of {collection!r} that is searched, {label_of(current)}, is not on"
                " the Qdrant server. Bring it back from a snapshot; or remove its alias, and ingest"
                " again.",
                code="dangling_alias",
                detail=f"The alias is {self.name(collection)!r}.",
            )

    async def switch(self, collection: str, version: str, *, before: str | None = None) -> None:
        """Makes a version the current one in one atomic step, and the current one the previous.

        `before` is the version that was read until now, if no alias of this series names it.

        Raises:
            NotFoundError: There is no such version.
        """
        current, previous = await self.aliased(collection)
        alias = self.name(collection)
        steps = [*_moved(alias, current, self.name(version))]
        before = current or before
        if before is not None and before != version:
            steps += _moved(alias + PREVIOUS, previous, self.name(before))
        await self._server.call(self._client.update_collection_aliases, steps)
        self._known.forget(collection)

    async def drop(self, version: str) -> None:
        """Removes a version that is in no use.

        Raises:
            InputError: The version is the current one.
        """
        if version == await self.current(series_of(version)):
            raise InputError(f"Version {version!r} is in use: switch to another one first.")
        await self._server.call(self._client.delete_collection, self.name(version))
        self._known.forget(version)  # the next may have its number

    async def sweep(self, collection: str) -> None:
        """Removes the versions of a series that no alias names."""
        used = set((await self._aliases()).values())
        for number in await self.stored(collection):
            if (version := f"{collection}{VERSION}{number}") not in used:
                await self.drop(version)

    async def remove_aliases(self, collection: str) -> None:
        """Removes both aliases of a series."""
        found = await self._aliases()
        aliases = [a for a in (collection, collection + PREVIOUS) if a in found]
        if aliases:
            steps = [_deleted(self.name(alias)) for alias in aliases]
            await self._server.call(self._client.update_collection_aliases, steps)
        self._known.forget(collection)

    async def _aliases(self) -> dict[str, str]:
        """Returns the version that each alias with our prefix names."""
        held = (await self._server.call(self._client.get_aliases)).aliases
        start = len(self._prefix)
        return {
            each.alias_name[start:]: each.collection_name[start:]
            for each in held
            if each.alias_name.startswith(self._prefix)
        }


def _number_of(version: str) -> int:
    if not version.isdecimal():
        raise ConfigError(
            f"An alias or collection on the Qdrant server, {version!r}, is none of Plumbline's and"
            " has a name of its: set another `index.prefix`."
        )
    return int(version)


def _moved(alias: str, before: str | None, physical: str) -> Iterator[Any]:
    """Yields the steps that make an alias name another collection, or a first one."""
    if before is not None:
        yield _deleted(alias)
    create = models.CreateAlias(collection_name=physical, alias_name=alias)
    yield models.CreateAliasOperation(create_alias=create)


def _deleted(alias: str) -> models.DeleteAliasOperation:
    return models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias))
