"""The client's local mode behind gRPC: all requests of the index use a real connection.

A request that breaks a limit of the published API is refused, as a server refuses it.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from grpc import StatusCode
from grpc.aio import server as grpc_server
from qdrant_client import grpc as wire
from qdrant_client import models
from qdrant_client.conversions.conversion import GrpcToRest, RestToGrpc
from qdrant_client.grpc import (
    collections_service_pb2_grpc,
    points_service_pb2_grpc,
    qdrant_pb2_grpc,
)

from retrieval.indexes.qdrant_server import Server, connect
from tests.qdrant_limits import Limited
from tests.qdrant_shards import RefusedError, ShardedClient

Handler = Callable[[Any, Any], Awaitable[Any]]


@contextlib.asynccontextmanager
async def grpc_qdrant(
    *failures: StatusCode, stored: ShardedClient | None = None
) -> AsyncIterator[Server]:
    """Yields a connection to a server whose first answers about points are these failures."""
    async with grpc_port(*failures, stored=stored) as port:
        server = connect(
            f"http://127.0.0.1:{port}", api_key=None, grpc_port=port, prefer_grpc=True, timeout=60
        )
        yield server
        await server.close()


@contextlib.asynccontextmanager
async def grpc_port(
    *failures: StatusCode,
    at: int = 0,
    stored: ShardedClient | None = None,
    version: str = "1.20.0",
) -> AsyncIterator[int]:
    """Runs a server whose first answers about points are these failures; yields its port.

    Args:
        failures: in their order.
        at: the port; 0: a free one.
        stored: its storage; by default a new one in memory.
        version: the version that it reports.
    """
    behind = stored or ShardedClient()
    listening = grpc_server(interceptors=[Limited()])
    register: Any  # generated, without types
    for register, service in (
        (qdrant_pb2_grpc.add_QdrantServicer_to_server, _Root(version)),
        (collections_service_pb2_grpc.add_CollectionsServicer_to_server, _Collections(behind)),
        (points_service_pb2_grpc.add_PointsServicer_to_server, _Points(behind, *failures)),
    ):
        register(service, listening)
    port = listening.add_insecure_port(f"127.0.0.1:{at}")
    await listening.start()
    yield port
    await listening.stop(grace=None)
    if stored is None:
        await behind.close()


def _failing_as_a_server(handler: Callable[..., Awaitable[Any]]) -> Handler:
    """Translates local mode's errors to a server's status and message."""

    async def handled(self: Any, request: Any, context: Any = None) -> Any:
        if self.failures:
            await context.abort(self.failures.pop(0), "as the test says")
        try:
            return await handler(self, request)
        except RefusedError as error:
            await context.abort(error.status, error.text)
        except KeyError as error:
            await context.abort(StatusCode.NOT_FOUND, f"Not found: No point with id {error} found")
        except ValueError as error:
            missing = "not found" in str(error)
            status = StatusCode.NOT_FOUND if missing else StatusCode.INVALID_ARGUMENT
            await context.abort(status, f"Wrong input: {error}")

    return handled


class _Root:
    def __init__(self, version: str) -> None:
        self.version = version

    async def HealthCheck(self, request: Any, context: Any) -> Any:  # noqa: N802
        return wire.HealthCheckReply(title="qdrant", version=self.version)


class _Service:
    def __init__(self, behind: ShardedClient, *failures: StatusCode) -> None:
        self.behind = behind
        self.failures = list(failures)

    def __getattr__(self, name: str) -> None:
        return None  # what the index never calls


class _Collections(_Service):
    @_failing_as_a_server
    async def Get(self, request: Any) -> Any:  # noqa: N802
        info = await self.behind.get_collection(request.collection_name)
        return wire.GetCollectionInfoResponse(result=RestToGrpc.convert_collection_info(info))

    @_failing_as_a_server
    async def Create(self, request: Any) -> Any:  # noqa: N802
        sparse = GrpcToRest.convert_sparse_vector_config(request.sparse_vectors_config)
        await self.behind.create_collection(
            request.collection_name,
            vectors_config=GrpcToRest.convert_vectors_config(request.vectors_config),
            sparse_vectors_config=sparse,
            shard_number=request.shard_number,
            sharding_method=GrpcToRest.convert_sharding_method(request.sharding_method),
        )
        return wire.CollectionOperationResponse(result=True)

    @_failing_as_a_server
    async def CreateShardKey(self, request: Any) -> Any:  # noqa: N802
        key = GrpcToRest.convert_shard_key(request.request.shard_key)
        made = await self.behind.create_shard_key(request.collection_name, key)
        return wire.CreateShardKeyResponse(result=made)

    @_failing_as_a_server
    async def ListShardKeys(self, request: Any) -> Any:  # noqa: N802
        held = (await self.behind.list_shard_keys(request.collection_name)).shard_keys or []
        keys = [RestToGrpc.convert_shard_key(each.key) for each in held]
        described = [wire.ShardKeyDescription(key=key) for key in keys]
        return wire.ListShardKeysResponse(shard_keys=described)

    @_failing_as_a_server
    async def CollectionClusterInfo(self, request: Any) -> Any:  # noqa: N802
        info = await self.behind.collection_cluster_info(request.collection_name)
        held: list[Any] = info.local_shards
        state_of: Any = RestToGrpc.convert_replica_state
        shards = [
            wire.LocalShardInfo(
                shard_id=each.shard_id,
                shard_key=RestToGrpc.convert_shard_key(each.shard_key),
                state=state_of(each.state),
            )
            for each in held
        ]
        return wire.CollectionClusterInfoResponse(
            peer_id=info.peer_id, shard_count=info.shard_count, local_shards=shards
        )

    @_failing_as_a_server
    async def Update(self, request: Any) -> Any:  # noqa: N802
        await self.behind.update_collection(
            request.collection_name,
            optimizers_config=GrpcToRest.convert_optimizers_config_diff(request.optimizers_config),
            vectors_config=GrpcToRest.convert_vectors_config_diff(request.vectors_config)
            if request.HasField("vectors_config")
            else None,
        )
        return wire.CollectionOperationResponse(result=True)

    @_failing_as_a_server
    async def Delete(self, request: Any) -> Any:  # noqa: N802
        await self.behind.delete_collection(request.collection_name)
        return wire.CollectionOperationResponse(result=True)

    @_failing_as_a_server
    async def List(self, request: Any) -> Any:  # noqa: N802
        held = (await self.behind.get_collections()).collections
        return wire.ListCollectionsResponse(
            collections=[RestToGrpc.convert_collection_description(each) for each in held]
        )

    @_failing_as_a_server
    async def UpdateAliases(self, request: Any) -> Any:  # noqa: N802
        steps = [GrpcToRest.convert_alias_operations(step) for step in request.actions]
        await self.behind.update_collection_aliases(steps)
        return wire.CollectionOperationResponse(result=True)

    @_failing_as_a_server
    async def ListAliases(self, request: Any) -> Any:  # noqa: N802
        held = (await self.behind.get_aliases()).aliases
        aliases = [RestToGrpc.convert_alias_description(each) for each in held]
        return wire.ListAliasesResponse(aliases=aliases)


class _Points(_Service):
    @_failing_as_a_server
    async def CreateFieldIndex(self, request: Any) -> Any:  # noqa: N802
        await self.behind.create_payload_index(request.collection_name, request.field_name)
        return _done()

    @_failing_as_a_server
    async def CreateVectorName(self, request: Any) -> Any:  # noqa: N802
        given = request.dense_config
        dense = models.DenseVectorConfig(
            size=given.size,
            distance=GrpcToRest.convert_distance(given.distance),
            multivector_config=GrpcToRest.convert_multivector_config(given.multivector_config),
            datatype=GrpcToRest.convert_datatype(given.datatype),
        )
        config = models.DenseVectorNameConfig(dense=dense)
        await self.behind.create_vector_name(request.collection_name, request.vector_name, config)
        return _done()

    @_failing_as_a_server
    async def Upsert(self, request: Any) -> Any:  # noqa: N802
        points = [GrpcToRest.convert_point_struct(point) for point in request.points]
        await self.behind.upsert(
            request.collection_name, points, shard_key_selector=_selector(request)
        )
        return _done()

    @_failing_as_a_server
    async def Delete(self, request: Any) -> Any:  # noqa: N802
        selector = GrpcToRest.convert_points_selector(request.points)
        await self.behind.delete(
            request.collection_name, selector, shard_key_selector=_selector(request)
        )
        return _done()

    @_failing_as_a_server
    async def UpdateBatch(self, request: Any) -> Any:  # noqa: N802
        steps = [_operation(step) for step in request.operations]
        done = await self.behind.batch_update_points(request.collection_name, steps)
        return wire.UpdateBatchResponse(result=[RestToGrpc.convert_update_result(d) for d in done])

    @_failing_as_a_server
    async def Scroll(self, request: Any) -> Any:  # noqa: N802
        given = request.HasField("offset")
        records, offset = await self.behind.scroll(
            request.collection_name,
            scroll_filter=GrpcToRest.convert_filter(request.filter),
            limit=request.limit,
            offset=GrpcToRest.convert_point_id(request.offset) if given else None,
            with_payload=GrpcToRest.convert_with_payload_selector(request.with_payload),
            with_vectors=GrpcToRest.convert_with_vectors_selector(request.with_vectors),
            shard_key_selector=_selector(request),
        )
        for record in records:
            record.payload = record.payload or {}
        follows = None if offset is None else RestToGrpc.convert_extended_point_id(offset)
        return wire.ScrollResponse(
            next_page_offset=follows,
            result=[RestToGrpc.convert_record(record) for record in records],
        )

    @_failing_as_a_server
    async def Count(self, request: Any) -> Any:  # noqa: N802
        where = GrpcToRest.convert_filter(request.filter)
        counted = await self.behind.count(
            request.collection_name,
            where,
            exact=request.exact,
            shard_key_selector=_selector(request),
        )
        return wire.CountResponse(result=wire.CountResult(count=counted.count))

    @_failing_as_a_server
    async def Facet(self, request: Any) -> Any:  # noqa: N802
        where = GrpcToRest.convert_filter(request.filter)
        found = await self.behind.facet(
            request.collection_name,
            request.key,
            where,
            limit=request.limit,
            exact=request.exact,
            shard_key_selector=_selector(request),
        )
        return wire.FacetResponse(
            hits=[RestToGrpc.convert_facet_value_hit(hit) for hit in found.hits]
        )

    @_failing_as_a_server
    async def QueryBatch(self, request: Any) -> Any:  # noqa: N802
        requests = [GrpcToRest.convert_query_points(each) for each in request.query_points]
        ranked = await self.behind.query_batch_points(request.collection_name, requests)
        return wire.QueryBatchResponse(
            result=[
                wire.BatchResult(
                    result=[RestToGrpc.convert_scored_point(point) for point in response.points]
                )
                for response in ranked
            ]
        )


def _selector(request: Any) -> Any:
    given = request.HasField("shard_key_selector")
    return GrpcToRest.convert_shard_key_selector(request.shard_key_selector) if given else None


def _operation(step: Any) -> Any:
    """Converts an operation; the client's own conversion does not convert shard keys."""
    message = getattr(step, step.WhichOneof("operation"))
    selector = _selector(message)
    message.ClearField("shard_key_selector")
    operation = GrpcToRest.convert_points_update_operation(step)
    [(_, converted)] = operation
    converted.shard_key = selector
    return operation


def _done() -> Any:
    return wire.PointsOperationResponse(
        result=wire.UpdateResult(operation_id=0, status=wire.UpdateStatus.Completed)
    )
