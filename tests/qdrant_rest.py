"""The client's local mode behind REST: all requests of the index use a real connection."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import uvicorn
from grpc import StatusCode
from pydantic import BaseModel, TypeAdapter
from qdrant_client import models
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from retrieval.indexes.qdrant_server import Server, connect
from tests.qdrant_shards import RefusedError, ShardedClient

DONE = models.UpdateResult(operation_id=0, status=models.UpdateStatus.COMPLETED)


@contextlib.asynccontextmanager
async def rest_qdrant() -> AsyncIterator[Server]:
    """Yields a connection to a new server."""
    stored = ShardedClient()
    async with rest_port(stored) as port:
        url = f"http://127.0.0.1:{port}"
        server = connect(url, api_key=None, grpc_port=1, prefer_grpc=False, timeout=60)
        yield server
        await server.close()
    await stored.close()


@contextlib.asynccontextmanager
async def rest_port(
    stored: ShardedClient,
    *,
    version: str = "1.20.0",
    peers: Sequence[int] = (),
    is_ready: Callable[[], bool] = lambda: True,
) -> AsyncIterator[int]:
    """Runs a server and yields its port.

    Args:
        stored: its storage.
        version: the version that it reports.
        peers: the nodes of its cluster; none: it is alone.
        is_ready: returns True if it has caught up with the others.
    """
    app = Starlette(routes=_routes(stored, version=version, peers=peers, is_ready=is_ready))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        config = uvicorn.Config(app, log_level="error", lifespan="off")
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            yield int(listening.getsockname()[1])  # it takes connections already
        finally:
            server.should_exit = server.force_exit = True
            await serving


def _routes(
    held: ShardedClient,
    *,
    version: str,
    peers: Sequence[int],
    is_ready: Callable[[], bool],
) -> list[Route]:
    return [
        *_node_routes(version, peers, is_ready),
        *_collection_routes(_Collections(held)),
        *_point_routes(_Points(held)),
    ]


def _node_routes(version: str, peers: Sequence[int], is_ready: Callable[[], bool]) -> list[Route]:
    async def root(_: Request) -> Response:
        return JSONResponse({"title": "qdrant - vector search engine", "version": version})

    async def readyz(_: Request) -> Response:
        if is_ready():
            return PlainTextResponse("all shards are ready")
        return PlainTextResponse("some shards are not ready", 503)

    async def cluster(_: Request) -> Response:
        return _result(_cluster_of(peers))

    return [Route("/", root), Route("/readyz", readyz), Route("/cluster", cluster)]


def _cluster_of(peers: Sequence[int]) -> dict[str, Any]:
    if not peers:
        return {"status": "disabled"}
    return {
        "status": "enabled",
        "peer_id": peers[0],
        "peers": {str(peer): {"uri": f"http://node-{peer}:6335/"} for peer in peers},
        "raft_info": {"term": 1, "commit": 1, "pending_operations": 0, "is_voter": True},
        "consensus_thread_status": {
            "consensus_thread_status": "working",
            "last_update": "2026-01-01T00:00:00Z",
        },
        "message_send_failures": {},
    }


EACH = "/collections/{name}"


def _collection_routes(to: _Collections) -> list[Route]:
    return [
        _route("GET", "/collections", to.all),
        _route("GET", "/aliases", to.aliases),
        _route("POST", "/collections/aliases", to.change_aliases),
        _route("GET", EACH, to.get),
        _route("PUT", EACH, to.create),
        _route("PATCH", EACH, to.update),
        _route("DELETE", EACH, to.delete),
        _route("GET", f"{EACH}/shards", to.shard_keys),
        _route("PUT", f"{EACH}/shards", to.create_shard_key),
        _route("PUT", f"{EACH}/index", to.index_field),
        _route("PUT", f"{EACH}/vectors/{{vector:str}}", to.create_vector),
    ]


def _point_routes(to: _Points) -> list[Route]:
    return [
        _route("PUT", f"{EACH}/points", to.upsert),
        _route("POST", f"{EACH}/points/delete", to.delete),
        _route("POST", f"{EACH}/points/batch", to.update),
        _route("POST", f"{EACH}/points/count", to.count),
        _route("POST", f"{EACH}/points/scroll", to.scroll),
        _route("POST", f"{EACH}/points/query/batch", to.query),
        _route("POST", f"{EACH}/facet", to.facet),
    ]


class _Collections:
    """The requests about collections; each returns its result."""

    def __init__(self, held: ShardedClient) -> None:
        self._held = held

    async def all(self, _: Request) -> Any:
        return await self._held.get_collections()

    async def aliases(self, _: Request) -> Any:
        return await self._held.get_aliases()

    async def change_aliases(self, request: Request) -> Any:
        asked = models.ChangeAliasesOperation.model_validate_json(await request.body())
        return await self._held.update_collection_aliases(asked.actions)

    async def get(self, request: Request) -> Any:
        return await self._held.get_collection(_name(request))

    async def create(self, request: Request) -> Any:
        made = models.CreateCollection.model_validate_json(await request.body())
        return await self._held.create_collection(
            _name(request),
            vectors_config=made.vectors,
            sparse_vectors_config=made.sparse_vectors,
            shard_number=made.shard_number,
            sharding_method=made.sharding_method,
        )

    async def update(self, request: Request) -> Any:
        changes = models.UpdateCollection.model_validate_json(await request.body())
        return await self._held.update_collection(
            _name(request),
            optimizers_config=changes.optimizers_config,
            vectors_config=changes.vectors,
        )

    async def delete(self, request: Request) -> Any:
        return await self._held.delete_collection(_name(request))

    async def shard_keys(self, request: Request) -> Any:
        return await self._held.list_shard_keys(_name(request))

    async def create_shard_key(self, request: Request) -> Any:
        made = models.CreateShardingKey.model_validate_json(await request.body())
        return await self._held.create_shard_key(_name(request), made.shard_key)

    async def index_field(self, request: Request) -> Any:
        await self._held.get_collection(_name(request))
        return DONE

    async def create_vector(self, request: Request) -> Any:
        config: Any = TypeAdapter(models.VectorNameConfig).validate_json(await request.body())
        await self._held.create_vector_name(_name(request), request.path_params["vector"], config)
        return DONE


class _Points:
    """The requests about points; each returns its result."""

    def __init__(self, held: ShardedClient) -> None:
        self._held = held

    async def upsert(self, request: Request) -> Any:
        given = models.PointsList.model_validate_json(await request.body())
        await self._held.upsert(_name(request), given.points, shard_key_selector=given.shard_key)
        return DONE

    async def delete(self, request: Request) -> Any:
        selector: Any = TypeAdapter(models.PointsSelector).validate_json(await request.body())
        await self._held.delete(_name(request), selector, shard_key_selector=selector.shard_key)
        return DONE

    async def update(self, request: Request) -> Any:
        steps = models.UpdateOperations.model_validate_json(await request.body()).operations
        return await self._held.batch_update_points(_name(request), steps)

    async def count(self, request: Request) -> Any:
        asked = models.CountRequest.model_validate_json(await request.body())
        return await self._held.count(
            _name(request),
            asked.filter,
            exact=asked.exact is not False,
            shard_key_selector=asked.shard_key,
        )

    async def scroll(self, request: Request) -> Any:
        page = models.ScrollRequest.model_validate_json(await request.body())
        records, offset = await self._held.scroll(
            _name(request),
            scroll_filter=page.filter,
            limit=page.limit or 10,
            offset=page.offset,
            with_payload=True if page.with_payload is None else page.with_payload,
            with_vectors=page.with_vector or False,
            shard_key_selector=page.shard_key,
        )
        return models.ScrollResult(points=records, next_page_offset=offset)

    async def facet(self, request: Request) -> Any:
        facet = models.FacetRequest.model_validate_json(await request.body())
        return await self._held.facet(
            _name(request),
            facet.key,
            facet.filter,
            limit=facet.limit or 10,
            exact=True,
            shard_key_selector=facet.shard_key,
        )

    async def query(self, request: Request) -> Any:
        searches = models.QueryRequestBatch.model_validate_json(await request.body()).searches
        return await self._held.query_batch_points(_name(request), searches)


def _name(request: Request) -> str:
    name: str = request.path_params["name"]
    return name


def _route(method: str, path: str, answer: Callable[[Request], Awaitable[Any]]) -> Route:
    """Returns a route that translates local mode's errors to a server's status and message."""

    async def handled(request: Request) -> Response:
        try:
            return _result(await answer(request))
        except RefusedError as error:
            status = 404 if error.status is StatusCode.NOT_FOUND else 400
            return JSONResponse({"status": {"error": error.text}, "time": 0.0}, status)
        except ValueError as error:
            status = 404 if "not found" in str(error) else 400
            return JSONResponse({"status": {"error": f"Wrong input: {error}"}, "time": 0.0}, status)

    return Route(path, handled, methods=[method])


def _result(result: Any) -> Response:
    content = TypeAdapter(Any).dump_python(result, mode="json")
    if isinstance(result, BaseModel):
        content = result.model_dump(mode="json", exclude_none=True)
    return JSONResponse({"result": content, "status": "ok", "time": 0.0})
