"""The placement of a tenant's chunks in a collection that has several shards.

IDF is counted in each shard alone, so all chunks of a tenant lie in one: matches and their order do
not depend on the number of shards. A collection with several has custom sharding, one shard for
each shard key. Tenants share the parts, each in the one that its name is hashed to; a tenant may
have a shard of its own besides. Every call names the tenant's own key, and its part as the
fallback, so that a tenant can be moved while others search and write.
"""

from __future__ import annotations

import hashlib
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from qdrant_client import models

from rag.errors import ConfigError
from rag.types import Scope
from retrieval.indexes.qdrant_points import ShardKey


@dataclass(frozen=True, slots=True)
class Placement:
    """Selects a tenant's shard; no key if a collection was made without them."""

    key: ShardKey = None
    own: bool = False
    """True if no other tenant's chunks lie in the shard."""


def part_keys(parts: int) -> list[str]:
    """Returns the shard keys of parts that tenants share.

    Each contains the number of parts: a key made for another collection then gives an error, not
    the wrong part.
    """
    return [f"part-{i}-of-{parts}" for i in range(parts)]


def tenant_key(tenant: str) -> str:
    """Returns the shard key of a tenant's own shard."""
    return f"tenant-{tenant}"


def placement_of(tenant: str, keys: AbstractSet[str]) -> Placement:
    """Returns the placement of a tenant's chunks in a collection with these shard keys.

    Raises:
        ConfigError: The shard keys are not Plumbline's.
    """
    own = tenant_key(tenant)
    if not keys:
        return Placement()
    if own in keys:
        return Placement(key=own, own=True)
    parts = sum(key.startswith("part-") for key in keys)
    if not parts or not keys >= set(part_keys(parts)):
        raise ConfigError(
            "A collection on the Qdrant server has shard keys that are none of Plumbline's: set"
            " another `index.prefix`.",
            detail=f"It has {', '.join(sorted(keys)[:5])}.",
        )
    digest = hashlib.blake2b(tenant.encode(), digest_size=8).digest()
    part = part_keys(parts)[int.from_bytes(digest) % parts]
    return Placement(key=models.ShardKeyWithFallback(target=own, fallback=part))


def is_active(info: models.CollectionClusterInfo, key: str) -> bool:
    """True if a shard of this key has all its points, and is read and written."""
    shards: list[Any] = [*info.local_shards, *info.remote_shards]
    return any(s.shard_key == key and s.state == models.ReplicaState.ACTIVE for s in shards)


def placed(scope: Scope, request: models.QueryRequest, place: Placement) -> models.QueryRequest:
    """Returns a query for the tenant's shard.

    In a shard of the tenant's own IDF is counted over all of it, which costs nothing; over some of
    the points in a shard it takes time for each of them.
    """
    if place.key is None:
        return request
    filtered = request.params is not None and request.params.idf is not None
    is_all = place.own and scope.readers is None
    params = None if is_all and filtered else request.params
    return request.model_copy(update={"shard_key": place.key, "params": params})
