"""Creates collections on a Qdrant server, and the fields and payload indexes that points need."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

from qdrant_client import models

from rag.errors import ConfigError, NotFoundError, StorageError
from rag.types import Scope
from rag.types.acl import stored_acl
from retrieval.indexes.payload import ACL, FieldType, path_of
from retrieval.indexes.qdrant_failures import EXISTS
from retrieval.indexes.qdrant_known import Known
from retrieval.indexes.qdrant_points import (
    DENSE,
    INDEXES,
    INDEXING_KB,
    SCHEMA,
    TOKENS,
    TOKENS_ON_DISK,
    Layout,
    collection_options,
    equal,
    permitting,
    tokens_field,
)
from retrieval.indexes.qdrant_server import Server
from retrieval.indexes.qdrant_shards import part_keys, tenant_key
from retrieval.indexes.qdrant_versions import VERSION, Versions, own_series

MAX_FIELDS = 256
"""Meta fields of one tenant, and payload indexes of a collection, at most; a filter on a field
beyond them still holds, without an index of its own."""
_ACL_FIELD = models.PayloadField(key=ACL)


class Collections:
    """Makes collections and their versions ready for points."""

    def __init__(
        self, server: Server, versions: Versions, known: Known, *, dim: int, layout: Layout
    ) -> None:
        """Take a server, which the caller closes; `dim` is the length of dense vectors."""
        self._server = server
        self._client = server.client
        self._versions = versions
        self._indexed = known.indexed
        self._dim = dim
        self._layout = layout

    async def prepare(self, collection: str) -> None:
        """Checks that the collection exists and fits, once in a process; creates it if needed.

        Raises:
            ConfigError: It is none of Plumbline's, or was made with vectors of another length.
        """
        if collection in self._indexed:
            return
        name = self._versions.name(collection)
        info = await self._opened(collection, name)
        vectors: Any = info.config.params.vectors
        dense = vectors.get(DENSE) if isinstance(vectors, dict) else None
        if dense is None:
            raise ConfigError(
                f"The collection {name!r} on the Qdrant server is none of Plumbline's: set another"
                " `index.prefix`."
            )
        if dense.size != self._dim:
            raise ConfigError(
                f"The collection {name!r} was made with vectors of {dense.size} numbers, and the"
                f" embedder's have {self._dim}: use the model it was made with, or ingest into"
                " another collection."
            )
        indexed = set(info.payload_schema)
        if ACL not in indexed:
            await self._follow_default(name)
        for path in INDEXES.keys() - indexed:  # also if its creation was interrupted
            await self._server.call(self._client.create_payload_index, name, path, INDEXES[path])
        self._indexed[collection] = indexed | INDEXES.keys()

    async def _follow_default(self, name: str) -> None:
        """Lets the chunks that were stored before there were ACLs follow the default."""
        before = models.Filter(must=[models.IsEmptyCondition(is_empty=_ACL_FIELD)])
        found = (await self._server.call(self._client.list_shard_keys, name)).shard_keys or []
        keys: list[str | None] = [str(each.key) for each in found]
        for key in keys or [None]:
            steps = permitting(before, stored_acl(None), key)
            await self._server.call(self._client.batch_update_points, name, steps)

    async def admit_tokens(self, collection: str) -> None:
        """Adds the field of token vectors, also to a collection that was created without it.

        Checked before every write: the name may stand for another version by now.
        """
        name = self._versions.name(collection)
        info = await self._server.call(self._client.get_collection, name)
        vectors: Any = info.config.params.vectors
        if TOKENS not in vectors:
            field = tokens_field(dim=self._dim)
            await self._server.call(self._client.create_vector_name, name, TOKENS, field)
            await self._server.call(
                self._client.update_collection, name, vectors_config=TOKENS_ON_DISK
            )

    async def admit_fields(self, collection: str, kinds: Iterable[tuple[str, FieldType]]) -> None:
        """Has meta fields indexed, as long as there are fewer than `MAX_FIELDS` indexes."""
        name, indexed = self._versions.name(collection), self._indexed[collection]
        for path, schema in ((path_of(field, kind), SCHEMA[kind]) for field, kind in kinds):
            if path not in indexed and len(indexed) < MAX_FIELDS:
                await self._server.call(self._client.create_payload_index, name, path, schema)
                indexed.add(path)

    async def create_version(self, collection: str) -> str:
        """Creates an empty version, which nothing reads yet; returns its name."""
        number = max(await self._versions.stored(collection), default=0) + 1
        version = f"{collection}{VERSION}{number}"
        await self._create(version)
        return version

    async def begin_version(self, scope: Scope) -> str:
        """Creates an empty version; removes those that are neither current nor previous.

        If other tenants have chunks in the collection, the version is the tenant's own, and theirs
        stay where they are. No graph is built while many points are loaded: `build_graph` starts
        that. With several shards, the tenant gets one of its own.
        """
        at = await self._versions.located(scope, fresh=True)
        if at == scope and await self._is_shared(scope):
            at = own_series(scope)
        await self._versions.sweep(at.collection)
        version = await self.create_version(at.collection)
        physical = self._versions.name(version)
        if self._layout.shards > 1:
            await self._make_key(physical, tenant_key(scope.tenant))
        await self._build_from(physical, kilobytes=0)
        return version

    async def build_graph(self, version: str) -> None:
        """Has the graph of a version that was filled built from here on, in the background."""
        await self._build_from(self._versions.name(version), kilobytes=INDEXING_KB)

    async def _is_shared(self, scope: Scope) -> bool:
        """True if other tenants have chunks in the scope's collection."""
        name = self._versions.name(scope.collection)
        others = models.Filter(must_not=[equal("tenant", scope.tenant)])
        with contextlib.suppress(NotFoundError):
            return (await self._server.call(self._client.count, name, others)).count > 0
        return False

    async def _opened(self, collection: str, name: str) -> models.CollectionInfo:
        """Returns the collection, created if missing; versions are made by `create_version`."""
        try:
            return await self._server.call(self._client.get_collection, name)
        except NotFoundError:
            if VERSION in collection:
                raise
        if await self._versions.current(collection) is None:
            first = f"{collection}{VERSION}1"
            await self._create(first)
            if await self._versions.current(collection) is None:  # no other worker came before
                await self._versions.switch(collection, first)
        await self._versions.check_alias(collection)
        return await self._server.call(self._client.get_collection, name)

    async def _create(self, version: str) -> None:
        physical, is_ours = self._versions.name(version), False
        with _ignore_existing():  # another worker was faster
            await self._server.call(
                self._client.create_collection,
                physical,
                **collection_options(self._layout, dim=self._dim),
            )
            is_ours = True
        try:
            for key in part_keys(self._layout.shards) if self._layout.shards > 1 else []:
                await self._make_key(physical, key)
        except ConfigError:  # no shard keys on a server that runs alone
            if is_ours:
                await self._server.call(self._client.delete_collection, physical)
            raise

    async def _make_key(self, physical: str, key: str) -> None:
        with _ignore_existing():
            await self._server.call(self._client.create_shard_key, physical, key)

    async def _build_from(self, physical: str, *, kilobytes: int) -> None:
        threshold = models.OptimizersConfigDiff(indexing_threshold=kilobytes)
        await self._server.call(
            self._client.update_collection, physical, optimizers_config=threshold
        )


@contextlib.contextmanager
def _ignore_existing() -> Iterator[None]:
    try:
        yield
    except StorageError as error:
        if error.code != EXISTS:
            raise
