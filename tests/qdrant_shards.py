"""Collections of several shards in the client's local mode, each shard a local collection.

As on a server, a point's id or shard key selects its shard, each shard answers a query separately,
with its own IDF, and the best of all answers are returned.
"""

from __future__ import annotations

import contextlib
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any
from unittest import mock

from grpc import StatusCode
from qdrant_client import AsyncQdrantClient, async_qdrant_client, models
from qdrant_client.conversions import common_types as types
from qdrant_client.embed.type_inspector import Inspector
from qdrant_client.local import (
    json_path_parser,
    local_collection,
    payload_filters,
    payload_value_extractor,
)

# Each client would copy the schemas of all requests, which takes most of a small test's time.
vars(async_qdrant_client)["Inspector"] = cache(Inspector)
# Local mode would parse the name of a field again for each point that it compares.
vars(payload_value_extractor)["parse_json_path"] = cache(json_path_parser.parse_json_path)
_BESIDE = "#"
"""The separator in the name of a local collection that is a shard of another one."""


class RefusedError(Exception):
    """A server's error about a request on shards that it refuses."""

    def __init__(self, status: StatusCode, text: str) -> None:
        super().__init__(text)
        self.status, self.text = status, text


class ShardedClient:
    """A client in local mode. `standalone`: it refuses shard keys, as a single server does.

    `shards` is the number that collections without shard keys get.
    """

    def __init__(self, *, standalone: bool = False, shards: int = 1) -> None:
        self.local = AsyncQdrantClient(":memory:")
        self._standalone, self._auto = standalone, shards
        self._shards: dict[str, dict[str | None, list[str]]] = {}
        """For each collection, its local collections by shard key; key None if it has no keys."""
        self.partial: set[str] = set()
        """Shard keys to which points are still being moved."""
        self.indexed: set[str] = set()
        """Fields with an index in any collection: local mode needs no index."""
        self._options: dict[str, dict[str, Any]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.local, name)

    # Collections

    async def create_collection(self, name: str, **options: Any) -> bool:
        custom = options.pop("sharding_method", None) == models.ShardingMethod.CUSTOM
        number = max(options.pop("shard_number", None) or 1, self._auto)
        made = await self.local.create_collection(name, **options)
        self._options[name], self._shards[name] = options, {}
        if not custom:
            beside = [f"{name}{_BESIDE}{i}" for i in range(1, number)]
            for each in beside:
                await self.local.create_collection(each, **options)
            self._shards[name][None] = [name, *beside]
        return made

    async def create_shard_key(self, name: str, shard_key: Any) -> bool:
        if self._standalone:
            raise RefusedError(StatusCode.UNIMPLEMENTED, "Qdrant is running in standalone mode")
        keys = self._shards[name]
        if None in keys:
            text = "Bad request: Shard Key cannot be created with Auto sharding method"
            raise RefusedError(StatusCode.INVALID_ARGUMENT, text)
        if shard_key in keys:
            text = f"Bad request: Sharding key {shard_key} already exists for collection {name}"
            raise RefusedError(StatusCode.INVALID_ARGUMENT, text)
        keys[shard_key] = [f"{name}{_BESIDE}{shard_key}"]
        await self.local.create_collection(keys[shard_key][0], **self._options[name])
        return True

    async def list_shard_keys(self, name: str) -> models.ShardKeysResponse:
        keys = [key for key in self._shards[await self._physical(name)] if key is not None]
        described = [models.ShardKeyDescription(key=key) for key in keys]
        return models.ShardKeysResponse(shard_keys=described)

    async def collection_cluster_info(self, name: str) -> models.CollectionClusterInfo:
        keys = [key for key in self._shards[await self._physical(name)] if key is not None]
        states = models.ReplicaState.PARTIAL, models.ReplicaState.ACTIVE
        shards = [
            models.LocalShardInfo(
                shard_id=i, shard_key=key, points_count=0, state=states[key not in self.partial]
            )
            for i, key in enumerate(keys)
        ]
        return models.CollectionClusterInfo(
            peer_id=1,
            shard_count=len(shards),
            local_shards=shards,
            remote_shards=[],
            shard_transfers=[],
        )

    async def delete_collection(self, name: str) -> bool:
        for each in await self._all(name):
            await self.local.delete_collection(each)
        self._shards.pop(name, None)
        return await self.local.delete_collection(name)

    async def get_collection(self, name: str) -> models.CollectionInfo:
        return await self.local.get_collection(await self._physical(name))

    async def get_collections(self) -> models.CollectionsResponse:
        held = (await self.local.get_collections()).collections
        return models.CollectionsResponse(collections=[c for c in held if _BESIDE not in c.name])

    async def update_collection(self, name: str, **changes: Any) -> bool:
        for each in await self._all(name):
            await self.local.update_collection(each, **changes)
        return await self.local.update_collection(name, **changes)

    async def create_vector_name(self, name: str, vector: str, config: Any) -> Any:
        physical = await self._physical(name)
        for each in {physical, *await self._all(name)}:
            done = await self.local.create_vector_name(each, vector, config)
        return done

    async def create_payload_index(self, name: str, field: str, _schema: Any = None) -> None:
        await self._physical(name)
        self.indexed.add(field)

    # Points

    async def upsert(self, name: str, points: Any, *, shard_key_selector: Any = None) -> None:
        shards = await self._written(name, shard_key_selector)
        for point in points:
            await self.local.upsert(_shard_of(point.id, shards), [point])

    async def delete(self, name: str, points: Any, *, shard_key_selector: Any = None) -> None:
        for shard in await self._written(name, shard_key_selector):
            await self.local.delete(shard, points)

    async def batch_update_points(self, name: str, operations: Sequence[Any]) -> list[Any]:
        done = []
        for operation in operations:
            [(_, change)] = operation
            shards = await self._written(name, change.shard_key)
            for shard in shards:
                part = operation
                if isinstance(operation, models.UpdateVectorsOperation):
                    points = [p for p in change.points if _shard_of(p.id, shards) == shard]
                    update = change.model_copy(update={"points": points})
                    part = models.UpdateVectorsOperation(update_vectors=update)
                done += await self.local.batch_update_points(shard, [part])
        return done

    async def scroll(
        self, name: str, *, limit: int, shard_key_selector: Any = None, **asked: Any
    ) -> tuple[list[models.Record], Any]:
        found: list[models.Record] = []
        following: list[Any] = []
        for shard in await self._read(name, shard_key_selector):
            records, offset = await self.local.scroll(shard, limit=limit, **asked)
            found += records
            following += [] if offset is None else [offset]
        found.sort(key=lambda record: _order(record.id))
        following += [record.id for record in found[limit:]]
        return found[:limit], min(following, key=_order, default=None)

    async def count(
        self, name: str, where: Any = None, *, exact: bool = True, shard_key_selector: Any = None
    ) -> models.CountResult:
        shards = await self._read(name, shard_key_selector)
        counts = [(await self.local.count(shard, where, exact=exact)).count for shard in shards]
        return models.CountResult(count=sum(counts))

    async def facet(
        self,
        name: str,
        key: str,
        where: Any,
        *,
        limit: int,
        exact: bool,
        shard_key_selector: Any = None,
    ) -> models.FacetResponse:
        counts: Counter[Any] = Counter()
        for shard in await self._read(name, shard_key_selector):
            hits = (await self.local.facet(shard, key, where, 10**6, exact)).hits
            counts.update({hit.value: hit.count for hit in hits})
        hits = [models.FacetValueHit(value=v, count=n) for v, n in counts.most_common(limit)]
        return models.FacetResponse(hits=hits)

    async def query_batch_points(
        self, name: str, requests: Sequence[models.QueryRequest]
    ) -> list[types.QueryResponse]:
        shards = [await self._read(name, request.shard_key) for request in requests]
        ranked = []
        with _compared_once():
            for request, read in zip(requests, shards, strict=True):
                points: list[models.ScoredPoint] = []
                for shard in read:
                    [response] = await self.local.query_batch_points(shard, [request])
                    points += response.points
                points.sort(key=lambda point: (-point.score, _order(point.id)))
                ranked.append(types.QueryResponse(points=points[: request.limit]))
        return ranked

    # Shards

    async def _physical(self, name: str) -> str:
        aliases = (await self.local.get_aliases()).aliases
        physical = next((a.collection_name for a in aliases if a.alias_name == name), name)
        if physical not in self._shards:
            raise ValueError(f"Collection {name} not found")
        return physical

    async def _all(self, name: str) -> list[str]:
        """Returns all local collections except the one with the collection's name."""
        physical = await self._physical(name)
        return [s for shards in self._shards[physical].values() for s in shards if s != physical]

    async def _read(self, name: str, selector: Any) -> list[str]:
        keys = self._shards[await self._physical(name)]
        if selector is None:
            return [shard for shards in keys.values() for shard in shards]
        return keys[self._chosen(keys, selector)]

    async def _written(self, name: str, selector: Any) -> list[str]:
        keys = self._shards[await self._physical(name)]
        if selector is None and None not in keys:
            raise RefusedError(StatusCode.INVALID_ARGUMENT, "Wrong input: Shard key not specified")
        return keys[None if selector is None else self._chosen(keys, selector)]

    def _chosen(self, keys: dict[str | None, list[str]], selector: Any) -> str:
        if isinstance(selector, models.ShardKeyWithFallback):
            for key in (selector.target, selector.fallback):
                if key in keys and key not in self.partial:
                    return str(key)
            text = f"Neither target shard key {selector.target} nor fallback shard key"
            text = f"Not found: {text} {selector.fallback} exist"
            raise RefusedError(StatusCode.NOT_FOUND, text)
        if selector in self.partial:
            raise RefusedError(StatusCode.UNAVAILABLE, "The replica set has no active replica")
        if selector not in keys:
            text = f"Bad request: Shard key {selector} not found"
            raise RefusedError(StatusCode.INVALID_ARGUMENT, text)
        return str(selector)


@contextlib.contextmanager
def _compared_once() -> Iterator[None]:
    """Lets local mode compare its points with each filter once: in the block no point changes."""
    compare = payload_filters.calculate_payload_mask
    masks: dict[tuple[int, str], Any] = {}

    def compared(*, payloads: Any, payload_filter: Any, **others: Any) -> Any:
        key = id(payloads), repr(payload_filter)
        if key not in masks:
            masks[key] = compare(payloads, payload_filter, **others)
        return masks[key]

    with mock.patch.object(local_collection, "calculate_payload_mask", compared):
        yield


def _shard_of(point_id: Any, shards: Sequence[str]) -> str:
    return shards[_order(point_id) % len(shards)]


def _order(point_id: Any) -> int:
    return point_id if isinstance(point_id, int) else uuid.UUID(str(point_id)).int
