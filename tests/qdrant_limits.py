"""The limits of a Qdrant server on requests over gRPC, for the tests' servers.

The generated messages of the client carry no limits. These are the ones that the server, 1.19,
publishes with its API definition, and the ones that its conversions of the messages enforce.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import grpc
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

MAX_NAME = 255
MAX_DIM = 65_536
MAX_TOKENS = 1 << 20
"""Numbers in one multivector, less one."""
_AT_LEAST_ONE = (1, None)
LIMITS: dict[str, tuple[float | None, float | None]] = {
    "AcornSearchParams.max_selectivity": (0, 1),
    "CollectionParamsDiff.replication_factor": _AT_LEAST_ONE,
    "CollectionParamsDiff.write_consistency_factor": _AT_LEAST_ONE,
    "CreateCollection.replication_factor": _AT_LEAST_ONE,
    "CreateCollection.shard_number": _AT_LEAST_ONE,
    "CreateCollection.write_consistency_factor": _AT_LEAST_ONE,
    "CreateFieldIndexCollection.field_name": _AT_LEAST_ONE,
    "DeleteFieldIndexCollection.field_name": _AT_LEAST_ONE,
    "DenseVectorCreationConfig.size": (1, MAX_DIM),
    "FacetCounts.key": _AT_LEAST_ONE,
    "HnswConfigDiff.ef_construct": (4, None),
    "MinShould.min_count": _AT_LEAST_ONE,
    "Mmr.candidates_limit": (None, 16_384),
    "Mmr.diversity": (0, 1),
    "OptimizersConfigDiff.deleted_threshold": (0, 1),
    "OptimizersConfigDiff.max_segment_size": _AT_LEAST_ONE,
    "OptimizersConfigDiff.vacuum_min_vector_number": (100, None),
    "PrefetchQuery.limit": _AT_LEAST_ONE,
    "QuantizationSearchParams.oversampling": _AT_LEAST_ONE,
    "QueryPointGroups.group_by": _AT_LEAST_ONE,
    "QueryPointGroups.group_size": _AT_LEAST_ONE,
    "QueryPointGroups.limit": _AT_LEAST_ONE,
    "QueryPoints.limit": _AT_LEAST_ONE,
    "Rrf.k": _AT_LEAST_ONE,
    "ScalarQuantization.quantile": (0.5, 1),
    "ScrollPoints.limit": _AT_LEAST_ONE,
    "SearchParams.hnsw_ef": _AT_LEAST_ONE,
    "SearchPoints.limit": _AT_LEAST_ONE,
    "UpdateBatchPoints.operations": _AT_LEAST_ONE,
    "VectorParams.size": (1, MAX_DIM),
    "WalConfigDiff.wal_capacity_mb": _AT_LEAST_ONE,
    "WalConfigDiff.wal_retain_closed": _AT_LEAST_ONE,
}
"""The bounds of a field: of a number its value, of a text its characters, of a list its items."""
REQUIRED = (
    "AliasOperations.action",
    "Condition.condition_one_of",
    "CreateVectorNameRequest.vector_config",
    "DeletePoints.points",
    "Match.match_value",
    "PointId.point_id_options",
    "PointStruct.id",
    "PointVectors.id",
    "PointsSelector.points_selector_one_of",
    "PointsUpdateOperation.operation",
    "Query.variant",
    "SetPayloadPoints.points_selector",
    "VectorInput.variant",
    "VectorsConfig.config",
)
"""Required fields, and groups of which one field is required."""
_NAMES = ("alias_name", "collection_name", "vector_name")
_IN_NO_NAME = re.compile(r'[<>:"/\\|?*\0\x1f]')


class Limited(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Refuses a request that breaks a limit, as a server does, before anything handles it."""

    async def intercept_service(
        self,
        continuation: Callable[[Any], Awaitable[Any]],
        handler_call_details: Any,
    ) -> Any:
        """Returns a handler that checks its request first."""
        handler = await continuation(handler_call_details)

        async def checked(request: Message, context: Any) -> Any:
            fault = next(faults(request), None)
            if fault is not None:
                text = f"Validation error in body: [{fault}]"
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, text)
            return await handler.unary_unary(request, context)

        return grpc.unary_unary_rpc_method_handler(
            checked,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )


def faults(message: Message) -> Iterator[str]:
    """Yields each breach of a limit in a message and in the messages nested in it."""
    kind = message.DESCRIPTOR.name
    given = {field.name for field, _ in message.ListFields()}
    yield from _missing(message)
    for field in message.DESCRIPTOR.fields:
        if field.has_presence and field.name not in given:
            continue
        value = getattr(message, field.name)
        yield from _out_of_bounds(f"{kind}.{field.name}", value)
        for inner in _within(field, value):
            yield from faults(inner)
    yield from RULES.get(kind, _nothing)(message)


def _missing(message: Message) -> Iterator[str]:
    given = {field.name for field, _ in message.ListFields()}
    for group in message.DESCRIPTOR.oneofs:
        given |= {group.name} if message.WhichOneof(group.name) else set()
    for name in REQUIRED:
        kind, _, field = name.partition(".")
        if kind == message.DESCRIPTOR.name and field not in given:
            yield f"{name}: is missing"


def _out_of_bounds(name: str, value: Any) -> Iterator[str]:
    least, greatest = LIMITS.get(name, (None, None))
    field = name.partition(".")[2]
    if field == "timeout":
        least = 1
    if field in _NAMES:
        least, greatest = 1, MAX_NAME
        if _IN_NO_NAME.search(value):
            yield f"{name}: cannot contain {_IN_NO_NAME.pattern}"
    sized = hasattr(value, "__len__")
    amount = len(value) if sized else value
    if least is not None and amount < least:
        unit = " characters" if sized else ""
        yield f"{field}: value {value!r} invalid, must be at least {least}{unit}"
    if greatest is not None and amount > greatest:
        yield f"{field}: must be at most {greatest}"


def _within(field: FieldDescriptor, value: Any) -> list[Message]:
    if field.message_type is None:
        return []
    if field.message_type.GetOptions().map_entry:
        inner = field.message_type.fields_by_name["value"].message_type
        return [] if inner is None else list(value.values())
    return list(value) if field.is_repeated else [value]


def _nothing(_message: Any) -> Iterator[str]:
    return iter(())


def _sparse(vector: Any) -> Iterator[str]:
    if len(vector.indices) != len(vector.values):
        yield "values: must be the same length as indices"
    if len(set(vector.indices)) != len(vector.indices):
        yield "indices: must be unique"


def _multi(vector: Any) -> Iterator[str]:
    lengths = [len(each.data) for each in vector.vectors]
    if not lengths or 0 in lengths:
        yield "data: multi vector must not be empty"
    if len(set(lengths)) > 1:
        yield "data: all vectors must have the same dimension"
    if sum(lengths) >= MAX_TOKENS:
        yield f"data: total size of all vectors must be less than {MAX_TOKENS}"


def _field_condition(condition: Any) -> Iterator[str]:
    if len(condition.ListFields()) <= bool(condition.key):
        yield "match: At least one field condition must be specified"


def _point_id(point_id: Any) -> Iterator[str]:
    if point_id.WhichOneof("point_id_options") == "uuid":
        try:
            uuid.UUID(point_id.uuid)
        except ValueError:
            yield f"Unable to parse UUID: {point_id.uuid}"


RULES: dict[str, Callable[[Any], Iterator[str]]] = {
    "FieldCondition": _field_condition,
    "MultiDenseVector": _multi,
    "PointId": _point_id,
    "SparseVector": _sparse,
}
"""Further rules by message type, beyond the bounds of a single field."""
