"""The versions of collections on a Qdrant server, and the aliases that name them.

A collection `docs` is an alias, `plumbline_docs`, of a physical collection, `plumbline_docs.v1`: a
new version is filled beside the old one and the alias moved in one step. (No collection's name has
a dot, so aliases and physical names never coincide.) A second alias names the previous version.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from qdrant_client import models

from rag.errors import ConfigError, InputError, StorageError
from retrieval.indexes.qdrant_known import Known
from retrieval.indexes.qdrant_server import Server

VERSION, PREVIOUS = ".v", ".previous"
"""Suffixes of a collection's name: in the name of a version, and of the alias of the previous one.
A scope with such a name is that version."""


class Versions:
    """Lists, switches and removes the versions of collections."""

    def __init__(self, server: Server, known: Known, *, prefix: str) -> None:
        """Take a server, which the caller closes; `prefix` comes before the names there."""
        self._server = server
        self._client = server.client
        self._known = known
        self._prefix = prefix

    def name(self, collection: str) -> str:
        """Returns the alias of a collection; for a version's name, its physical collection."""
        return f"{self._prefix}{collection}"

    def physical(self, collection: str, version: int | Literal[""]) -> str:
        """Returns the name of a version's physical collection; with "", what all begin with."""
        return f"{self.name(collection)}{VERSION}{version}"

    async def stored(self, collection: str) -> list[int]:
        """Returns the stored versions, in order."""
        stem = self.physical(collection, "")
        held = (await self._server.call(self._client.get_collections)).collections
        return sorted(number_of(c.name.removeprefix(stem)) for c in held if c.name.startswith(stem))

    async def current(self, collection: str) -> int | None:
        """Returns the version that is read and written; None if the collection was never made."""
        current, _ = await self.aliased(collection)
        return current

    async def aliased(self, collection: str) -> tuple[int | None, int | None]:
        """Returns the current and the previous version."""
        alias, stem = self.name(collection), self.physical(collection, "")
        found = {
            each.alias_name: number_of(each.collection_name.removeprefix(stem))
            for each in (await self._server.call(self._client.get_aliases)).aliases
            if each.alias_name in (alias, alias + PREVIOUS)
        }
        return found.get(alias), found.get(alias + PREVIOUS)

    async def check_alias(self, collection: str) -> None:
        """Checks a collection that was not found: it was never created, or is a version.

        Raises:
            StorageError: The collection's alias names a version that does not exist.
        """
        current = None if VERSION in collection else await self.current(collection)
        if current is not None and current not in await self.stored(collection):
            raise StorageError(
                f"The version of {collection!r} that is searched, v{current}, is not on the Qdrant"
                " server. Bring it back from a snapshot; or remove its alias, and ingest again.",
                code="dangling_alias",
                detail=f"The alias is {self.name(collection)!r}.",
            )

    async def switch(self, collection: str, version: int) -> int | None:
        """Makes a version the current one in one atomic step; returns the one before it.

        Raises:
            NotFoundError: There is no such version.
        """
        before, previous = await self.aliased(collection)
        alias = self.name(collection)
        steps = [*_moved(alias, before, self.physical(collection, version))]
        if before is not None and before != version:
            steps += _moved(alias + PREVIOUS, previous, self.physical(collection, before))
        await self._server.call(self._client.update_collection_aliases, steps)
        self._known.forget(collection)
        return before

    async def drop(self, collection: str, version: int) -> None:
        """Removes a version that is not the current one.

        Raises:
            InputError: The version is the current one.
        """
        if version == await self.current(collection):
            raise InputError(
                f"Version {version} of {collection!r} is in use: switch to another one first."
            )
        physical = self.physical(collection, version)
        await self._server.call(self._client.delete_collection, physical)
        self._known.forget(f"{collection}{VERSION}{version}")  # the next may have its number

    async def sweep(self, collection: str) -> None:
        """Removes the versions that are neither current nor previous."""
        kept = await self.aliased(collection)
        for version in await self.stored(collection):
            if version not in kept:
                await self.drop(collection, version)


def number_of(version: str) -> int:
    """Returns the number in a version's name.

    Raises:
        ConfigError: It is no number, so the name is not Plumbline's.
    """
    if not version.isdecimal():
        raise ConfigError(
            f"An alias or collection on the Qdrant server, {version!r}, is none of Plumbline's and"
            " has a name of its: set another `index.prefix`."
        )
    return int(version)


def _moved(alias: str, before: int | None, physical: str) -> Iterator[Any]:
    """Yields the steps that make an alias name another collection, or a first one."""
    if before is not None:
        delete = models.DeleteAlias(alias_name=alias)
        yield models.DeleteAliasOperation(delete_alias=delete)
    create = models.CreateAlias(collection_name=physical, alias_name=alias)
    yield models.CreateAliasOperation(create_alias=create)
