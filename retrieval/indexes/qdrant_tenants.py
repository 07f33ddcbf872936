"""Requests about one tenant's points on a Qdrant server, each sent to the shard that has them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, TypeVar

from qdrant_client import models

from rag.errors import NotFoundError, StorageError
from rag.types import Scope
from retrieval.indexes.qdrant_failures import MOVED
from retrieval.indexes.qdrant_known import Known
from retrieval.indexes.qdrant_points import ShardKey, of
from retrieval.indexes.qdrant_server import Server
from retrieval.indexes.qdrant_shards import Placement, is_active, placement_of, tenant_key
from retrieval.indexes.qdrant_versions import Versions

PAGE = 1_000
"""Points read in one request."""

_T = TypeVar("_T")


class TenantPoints:
    """The points of a scope. Any method raises NotFoundError if there is no such collection."""

    def __init__(self, server: Server, versions: Versions, known: Known) -> None:
        """Take a server, which the caller closes."""
        self._server = server
        self._client = server.client
        self._versions = versions
        self._placements = known.placements

    async def count(self, scope: Scope, where: models.Filter | None = None) -> int:
        """Returns the number of points, or of those that meet a condition."""
        return (await self.request(scope, self._client.count, where or of(scope))).count

    async def facet(self, scope: Scope, field: str, limit: int) -> dict[Any, int]:
        """Counts the points with each value of an indexed field, for at most `limit` values."""
        facet = self._client.facet
        response = await self.request(scope, facet, field, of(scope), limit=limit, exact=True)
        return {hit.value: hit.count for hit in response.hits}

    async def pages(
        self,
        scope: Scope,
        where: models.Filter,
        payload: bool | list[str] | models.PayloadSelectorExclude,
        vectors: bool | list[str] = False,
        page: int | None = None,
    ) -> AsyncIterator[list[models.Record]]:
        """Yields the points in pages of `PAGE`, none empty: the server refuses an empty batch."""
        offset: Any = None
        while True:
            records, offset = await self.request(
                scope,
                self._client.scroll,
                scroll_filter=where,
                limit=page or PAGE,
                offset=offset,
                with_payload=payload,
                with_vectors=vectors,
            )
            if records:
                yield records
            if offset is None:
                return

    async def upsert(self, scope: Scope, structs: Sequence[models.PointStruct]) -> None:
        """Writes points."""
        await self.request(scope, self._client.upsert, structs)

    async def update(self, scope: Scope, operations: Callable[[ShardKey], list[Any]]) -> None:
        """Sends the operations for the tenant's shard key, in one request."""
        name, update = self._versions.name(scope.collection), self._client.batch_update_points
        await self.placed(
            scope, lambda place: self._server.call(update, name, operations(place.key))
        )

    async def remove(self, scope: Scope, where: models.Filter) -> None:
        """Removes the points that meet a condition."""
        await self.request(scope, self._client.delete, models.FilterSelector(filter=where))

    async def request(
        self, scope: Scope, method: Callable[..., Awaitable[_T]], *args: Any, **kwargs: Any
    ) -> _T:
        """Calls a method of the client on the tenant's shard."""
        name = self._versions.name(scope.collection)
        return await self.placed(
            scope,
            lambda place: self._server.call(
                method, name, *args, shard_key_selector=place.key, **kwargs
            ),
        )

    async def is_alone(self, scope: Scope) -> bool:
        """True if the tenant has a shard of its own."""
        return (await self._placement(scope.whole)).own

    async def placed(self, scope: Scope, operation: Callable[[Placement], Awaitable[_T]]) -> _T:
        """Asks the shard with the tenant's chunks.

        The placement is cached. If another process has switched to a version with other shards, the
        server reports that, and it is asked once more.
        """
        try:
            return await operation(await self._placement(scope.whole))
        except NotFoundError:
            await self._versions.check_alias(scope.collection)
            raise
        except StorageError as error:
            if error.code != MOVED:
                raise
        self._placements.pop(scope.whole, None)
        return await operation(await self._placement(scope.whole))

    async def _placement(self, scope: Scope) -> Placement:
        if scope not in self._placements:
            name = self._versions.name(scope.collection)
            found = (await self._server.call(self._client.list_shard_keys, name)).shard_keys or []
            keys, own = {str(each.key) for each in found}, tenant_key(scope.tenant)
            if own in keys:
                info = await self._server.call(self._client.collection_cluster_info, name)
                if not is_active(info, own):  # the tenant is still being moved to it
                    keys.remove(own)
            self._placements[scope] = placement_of(scope.tenant, keys)
        return self._placements[scope]
