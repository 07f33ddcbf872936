"""An index on a Qdrant server or cluster: many workers write, and tenants share a collection.

A collection `docs` is an alias, `plumbline_docs`, of a physical collection, `plumbline_docs.v1`: a
new version is filled beside the old one and the alias moved in one step. (No collection's name has
a dot, so aliases and physical names never coincide.) Every point names its tenant, every call
filters by tenant, and a point's id is its chunk's combined with the tenant's: two tenants may have
the same chunk id. IDF is the tenant's own; with several shards all its chunks lie in one.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from qdrant_client import models

from rag.errors import ConfigError, InputError, NotFoundError, RagError, StorageError
from rag.types import Point, Scope
from retrieval.bm25 import rounded_mean
from retrieval.indexes.payload import OWN_FIELDS, field_kinds, path_of
from retrieval.indexes.qdrant_points import (
    DENSE,
    INDEXES,
    INDEXING_KB,
    SCHEMA,
    SPARSE,
    TOKENS,
    TOKENS_ON_DISK,
    Layout,
    ShardKey,
    collection_options,
    equal,
    has_ids,
    has_mean,
    length_of,
    of,
    one_of,
    point_of,
    reweighing,
    rewriting,
    tokens_field,
)
from retrieval.indexes.qdrant_reads import MAX_FIELDS, PAGE, PREVIOUS, VERSION, QdrantReader, slices
from retrieval.indexes.qdrant_server import EXISTS, Server
from retrieval.indexes.qdrant_shards import part_keys, tenant_key

WRITE_SLICE = 256
"""Points in one request: under 2 MB with 384 dimensions and their texts."""
TOKENS_SLICE = 16
"""Points with token vectors in one request: 3 MB."""
LENGTHS = 10_000
"""Largest number of different chunk lengths, in terms, that are counted."""

VERSION_SECONDS = 10.0
"""Seconds for which the searched version is cached: other processes may switch."""
VERSION_PATIENCE = 0.2
"""Seconds that a question waits for the version, which only its trace needs."""
SHOWN = 5
"""Fields that a message names, at most."""


@dataclass(slots=True)
class Lengths:
    """The number of a scope's chunks, and of the terms in them together."""

    points: int
    terms: int

    @property
    def mean(self) -> float:
        """The mean length for new weights."""
        return rounded_mean(self.terms, self.points)


class QdrantIndex(QdrantReader):
    """`Index` on a Qdrant server. Any number of processes may work on the same collections."""

    def __init__(
        self,
        server: Server,
        *,
        dim: int,
        prefix: str = "",
        layout: Layout | None = None,
    ) -> None:
        """Make an index; `prefix` comes before the names of its collections on the server."""
        self._layout = layout or Layout()
        super().__init__(server, prefix=prefix, rescore=self._layout.quantization != "none")
        self._dim = dim
        self._indexed: dict[str, set[str]] = {}
        """Payload indexes of each collection that was written to."""
        self._lengths: dict[Scope, Lengths] = {}
        self._versions: dict[str, tuple[str, float]] = {}
        """The searched version of each collection, and the time until which it is cached."""

    # Writing

    async def upsert(self, scope: Scope, points: Sequence[Point]) -> None:
        """Writes points; those without vectors keep the ones they have.

        Raises:
            InputError: The tenant would have more than `MAX_FIELDS` meta fields.
            ConfigError: The collection was made with vectors of another length.
        """
        name = self._name(scope.collection)
        try:
            await self._prepare(scope.collection)
            await self._admit(scope, points)
            vectors = list({p.chunk.id: p for p in points if p.dense is not None}.values())
            by_token = any(p.tokens is not None for p in vectors)
            if by_token:
                await self._admit_tokens(name)
            mean = (await self._noted(scope, vectors)).mean
            for part in slices(vectors, TOKENS_SLICE if by_token else WRITE_SLICE):
                structs = [point_of(scope, point, mean) for point in part]
                await self._at(scope, self._client.upsert, structs)
            moved = list({p.chunk.id: p.chunk for p in points if p.dense is None}.values())
            for chunks in slices(moved, WRITE_SLICE):
                await self._update(scope, partial(rewriting, scope, chunks))
        except NotFoundError:  # someone removed the collection: the next write makes it anew
            self._indexed.pop(name, None)
            raise

    async def delete(self, scope: Scope, chunk_ids: Sequence[str]) -> None:
        """Removes chunks; unknown ids are ignored.

        All chunks of their documents are removed from the previous version first, so that a
        repeated call completes an interrupted one.
        """
        with contextlib.suppress(NotFoundError):
            previous = await self.previous_version(scope) if chunk_ids else None
            for part in slices(chunk_ids, PAGE):
                where = of(scope, has_ids(scope, part))
                if previous is not None:
                    await self._delete_before(previous, scope, where)
                await self._remove(scope, where)

    async def _delete_before(self, previous: Scope, scope: Scope, where: models.Filter) -> None:
        """Removes the documents of these points from the previous version."""
        documents: set[str] = set()
        async for records in self._pages(scope, where, payload=["document_id"]):
            documents.update((record.payload or {})["document_id"] for record in records)
        if not documents:
            return
        with contextlib.suppress(NotFoundError):
            theirs = of(previous, one_of("document_id", sorted(documents)))
            await self._remove(previous, theirs)

    async def _remove(self, scope: Scope, where: models.Filter) -> None:
        await self._at(scope, self._client.delete, models.FilterSelector(filter=where))

    def erasing(self) -> contextlib.AbstractAsyncContextManager[None]:
        """Does nothing: the server's optimizer removes deleted points in its own time."""
        return contextlib.nullcontext()

    async def maintain(self, scope: Scope) -> None:
        """Recomputes BM25 weights that were made with another mean. Searches and writes continue.

        So weights depend on the chunks alone, not on the writer: if several processes maintain
        while the mean still changes, the last one sees it. For a version that was filled, the graph
        is built from here on, in the background.
        """
        if VERSION in scope.collection:
            await self._build_from(self._name(scope.collection), kilobytes=INDEXING_KB)
        with contextlib.suppress(NotFoundError):
            if not await self.holds(scope):
                return
            await self._prepare(scope.collection)  # one made by an older release has no lengths
            before, whole = None, True
            while (mean := (await self._measured(scope)).mean) != before or not whole:
                whole = True
                drifted = of(scope, models.Filter(must_not=[has_mean(mean)]))
                async for records in self._pages(scope, drifted, ["length", "mean"], [SPARSE]):
                    whole &= await self._reweigh(scope, records, mean)
                before = mean

    async def close(self) -> None:
        """Closes the connections."""
        await self._server.close()

    async def name_of(self, scope: Scope) -> str:
        """Returns the version that the alias names now; for a version its own number: "v2"."""
        name, _, number = scope.collection.partition(VERSION)
        version = int(number) if number else await self.current_version(name)
        return "" if version is None else f"v{version}"

    async def version(self, scope: Scope) -> str:
        """Returns the version that the alias names, "v2"; also "" if the server does not answer.

        A question does not fail because its trace lacks the version.
        """
        name, until = self._versions.get(scope.collection, ("", 0.0))
        if time.monotonic() < until:
            return name
        until = time.monotonic() + VERSION_SECONDS  # others do not ask meanwhile
        self._versions[scope.collection] = name, until
        with contextlib.suppress(RagError, TimeoutError):
            async with asyncio.timeout(VERSION_PATIENCE):
                current = await self.current_version(scope.collection)
            before, name = name, "" if current is None else f"v{current}"
            if before not in ("", name):  # another process has switched
                self._forget(scope.collection)
            self._versions[scope.collection] = name, until
        return name

    # Versions: `begin_version`, fill and `maintain` it, `switch_version`

    async def create_version(self, collection: str) -> int:
        """Creates an empty version, which nothing reads yet; returns its number."""
        version = max(await self.versions(collection), default=0) + 1
        await self._create(collection, version)
        return version

    async def switch(self, collection: str, version: int) -> int | None:
        """Makes a version the current one in one atomic step; returns the one before it.

        Raises:
            NotFoundError: There is no such version.
        """
        before, previous = await self._aliased(collection)
        alias = self._name(collection)
        steps = [*_moved(alias, before, self._physical(collection, version))]
        if before is not None and before != version:
            steps += _moved(alias + PREVIOUS, previous, self._physical(collection, before))
        await self._server.call(self._client.update_collection_aliases, steps)
        self._forget(collection)
        return before

    async def begin_version(self, scope: Scope) -> Scope:
        """Creates an empty version; removes those that are neither current nor previous.

        No graph is built while many points are loaded: `maintain` starts that. With several shards,
        the tenant gets one of its own.

        Raises:
            InputError: The collection holds other tenants' chunks: a version covers all tenants.
        """
        await self._check_owned(scope)
        await self._sweep(scope.collection)
        version = await self.create_version(scope.collection)
        if self._layout.shards > 1:
            await self._make_key(
                self._physical(scope.collection, version), tenant_key(scope.tenant)
            )
        await self._build_from(self._physical(scope.collection, version), kilobytes=0)
        return replace(scope, collection=f"{scope.collection}{VERSION}{version}")

    async def previous_version(self, scope: Scope) -> Scope | None:
        """Returns the version that a second alias names."""
        _, previous = await self._aliased(scope.collection)
        if previous is None:
            return None
        return replace(scope, collection=f"{scope.collection}{VERSION}{previous}")

    async def switch_version(self, scope: Scope, version: Scope) -> None:
        """Moves both aliases; the version before the previous one is removed."""
        _, _, number = version.collection.partition(VERSION)
        await self.switch(scope.collection, int(number))
        with contextlib.suppress(RagError):  # it is switched; the next version sweeps again
            await self._sweep(scope.collection)

    async def _check_owned(self, scope: Scope) -> None:
        name = self._name(scope.collection)
        others = models.Filter(must_not=[equal("tenant", scope.tenant)])
        with contextlib.suppress(NotFoundError):
            if (await self._server.call(self._client.count, name, others)).count:
                raise InputError(
                    f"The collection {name!r} on the Qdrant server holds chunks of other tenants,"
                    " and a new version would be without them: only a collection of one tenant's"
                    " can be indexed again.",
                    code="shared_collection",
                )

    async def _sweep(self, collection: str) -> None:
        kept = await self._aliased(collection)
        for version in await self.versions(collection):
            if version not in kept:
                await self.drop_version(collection, version)

    async def drop_version(self, collection: str, version: int) -> None:
        """Removes a version that is not the current one.

        Raises:
            InputError: The version is the current one.
        """
        if version == await self.current_version(collection):
            raise InputError(
                f"Version {version} of {collection!r} is in use: switch to another one first."
            )
        physical = self._physical(collection, version)
        await self._server.call(self._client.delete_collection, physical)
        self._forget(f"{collection}{VERSION}{version}")  # the next one may have its number

    # Names

    def _forget(self, collection: str) -> None:
        """Discards what is cached about a collection, but not about its versions."""
        self._indexed.pop(self._name(collection), None)
        self._versions.pop(collection, None)
        for known in (self._fields, self._lengths, self._placements):
            for scope in [scope for scope in known if scope.collection == collection]:
                known.pop(scope)

    # Collections

    async def _prepare(self, collection: str) -> None:
        """Checks that the collection exists and fits, once in a process; creates it if needed."""
        name = self._name(collection)
        if name in self._indexed:
            return
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
        for path in INDEXES.keys() - indexed:  # also if its creation was interrupted
            await self._server.call(self._client.create_payload_index, name, path, INDEXES[path])
        self._indexed[name] = indexed | INDEXES.keys()

    async def _admit_tokens(self, name: str) -> None:
        """Adds the field of token vectors, also to a collection that was created without it.

        Checked before every write: the name may stand for another version by now.
        """
        info = await self._server.call(self._client.get_collection, name)
        vectors: Any = info.config.params.vectors
        if TOKENS not in vectors:
            field = tokens_field(dim=self._dim)
            await self._server.call(self._client.create_vector_name, name, TOKENS, field)
            await self._server.call(
                self._client.update_collection, name, vectors_config=TOKENS_ON_DISK
            )

    async def _opened(self, collection: str, name: str) -> models.CollectionInfo:
        """Returns the collection, created if missing; versions are made by `create_version`."""
        try:
            return await self._server.call(self._client.get_collection, name)
        except NotFoundError:
            if VERSION in collection:
                raise
        if await self.current_version(collection) is None:
            await self._create(collection, 1)
            if await self.current_version(collection) is None:  # no other worker came before
                await self.switch(collection, 1)
        await self._check_alias(collection)
        return await self._server.call(self._client.get_collection, name)

    async def _create(self, collection: str, version: int) -> None:
        physical, is_ours = self._physical(collection, version), False
        with _there_already():  # another worker was faster
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
        with _there_already():
            await self._server.call(self._client.create_shard_key, physical, key)

    async def _build_from(self, physical: str, *, kilobytes: int) -> None:
        threshold = models.OptimizersConfigDiff(indexing_threshold=kilobytes)
        await self._server.call(
            self._client.update_collection, physical, optimizers_config=threshold
        )

    # Fields

    async def _admit(self, scope: Scope, points: Sequence[Point]) -> None:
        """Records the points' meta fields and has them indexed."""
        kinds = field_kinds(point.chunk.meta for point in points)
        fields = {field for field, _ in kinds} - OWN_FIELDS.keys()
        if not fields <= self._fields.get(scope, set()):
            known = await self._known_fields(scope) - OWN_FIELDS.keys()
            if len(known | fields) > MAX_FIELDS:
                raise InputError(
                    f"The collection has {len(known)} meta fields and cannot take"
                    f" {', '.join(sorted(fields - known)[:SHOWN])} besides ({MAX_FIELDS} at most):"
                    " put rarely used values into one field.",
                    code="too_many_fields",
                )
        name = self._name(scope.collection)
        indexed = self._indexed[name]
        for path, schema in ((path_of(field, kind), SCHEMA[kind]) for field, kind in kinds):
            if path not in indexed and len(indexed) < MAX_FIELDS:
                await self._server.call(self._client.create_payload_index, name, path, schema)
                indexed.add(path)

    # Lengths

    async def _noted(self, scope: Scope, points: Sequence[Point]) -> Lengths:
        """Returns the scope's lengths with these points'; a process's first write measures them."""
        lengths = self._lengths.get(scope) or await self._measured(scope)
        lengths.points += len(points)
        lengths.terms += sum(length_of(point) for point in points)
        return lengths

    async def _measured(self, scope: Scope) -> Lengths:
        """Measures the lengths of all chunks: the server counts the chunks of each length."""
        counts = await self._facet(scope, "length", LENGTHS)
        self._lengths[scope] = Lengths(
            points=sum(counts.values()),
            terms=sum(int(length) * count for length, count in counts.items()),
        )
        return self._lengths[scope]

    async def _reweigh(self, scope: Scope, records: Sequence[models.Record], mean: float) -> bool:
        """Recomputes these points' weights with `mean`, except points that were written meanwhile.

        Returns False if a point was deleted meanwhile, which ends the request early.

        The mean is written first, and only over the one that was read; the weights follow only if
        that succeeded. Between the two a point's weight is as inaccurate as before, never wrong.
        """
        try:
            await self._update(scope, partial(reweighing, scope, records, mean))
        except NotFoundError:
            return False
        return True

    async def _update(self, scope: Scope, operations: Callable[[ShardKey], list[Any]]) -> None:
        name, update = self._name(scope.collection), self._client.batch_update_points
        await self._placed(
            scope, lambda place: self._server.call(update, name, operations(place.key))
        )


@contextlib.contextmanager
def _there_already() -> Iterator[None]:
    try:
        yield
    except StorageError as error:
        if error.code != EXISTS:
            raise


def _moved(alias: str, before: int | None, physical: str) -> Iterator[Any]:
    """Yields the steps that make an alias name another collection, or a first one."""
    if before is not None:
        delete = models.DeleteAlias(alias_name=alias)
        yield models.DeleteAliasOperation(delete_alias=delete)
    create = models.CreateAlias(collection_name=physical, alias_name=alias)
    yield models.CreateAliasOperation(create_alias=create)
