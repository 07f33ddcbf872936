"""The client's local mode behind REST: what the index sends goes over a real wire and back."""

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
Handler = Callable[[Request], Awaitable[Response]]


@contextlib.asynccontextmanager
async def rest_qdrant() -> AsyncIterator[Server]:
    """A server of its own, as the index sees it."""
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
    """A server; where it listens.

    Args:
        stored: what it stores in.
        version: as it says.
        peers: the nodes of its cluster; none: it is alone.
        is_ready: whether it has caught up with the others.
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


def _routes(  # noqa: PLR0915 - a line for each thing that is asked
    held: ShardedClient,
    *,
    version: str,
    peers: Sequence[int],
    is_ready: Callable[[], bool],
) -> list[Route]:
    async def root(_: Request) -> Response:
        return JSONResponse({"title": "qdrant - vector search engine", "version": version})

    async def readyz(_: Request) -> Response:
        if is_ready():
            return PlainTextResponse("all shards are ready")
        return PlainTextResponse("some shards are not ready", 503)

    async def cluster(_: Request) -> Response:
        if not peers:
            return _told({"status": "disabled"})
        raft = {"term": 1, "commit": 1, "pending_operations": 0, "is_voter": True}
        thread = {"consensus_thread_status": "working", "last_update": "2026-01-01T00:00:00Z"}
        return _told(
            {
                "status": "enabled",
                "peer_id": peers[0],
                "peers": {str(peer): {"uri": f"http://node-{peer}:6335/"} for peer in peers},
                "raft_info": raft,
                "consensus_thread_status": thread,
                "message_send_failures": {},
            }
        )

    async def collections(_: Request) -> Response:
        return _told(await held.get_collections())

    async def aliases(_: Request) -> Response:
        return _told(await held.get_aliases())

    async def collection(request: Request) -> Response:
        name = request.path_params["name"]
        match request.method:
            case "GET":
                return _told(await held.get_collection(name))
            case "DELETE":
                return _told(await held.delete_collection(name))
            case "PATCH":
                changes = models.UpdateCollection.model_validate_json(await request.body())
                return _told(
                    await held.update_collection(
                        name,
                        optimizers_config=changes.optimizers_config,
                        vectors_config=changes.vectors,
                    )
                )
        made = models.CreateCollection.model_validate_json(await request.body())
        return _told(
            await held.create_collection(
                name,
                vectors_config=made.vectors,
                sparse_vectors_config=made.sparse_vectors,
                shard_number=made.shard_number,
                sharding_method=made.sharding_method,
            )
        )

    async def shards(request: Request) -> Response:
        name = request.path_params["name"]
        if request.method == "GET":
            return _told(await held.list_shard_keys(name))
        made = models.CreateShardingKey.model_validate_json(await request.body())
        return _told(await held.create_shard_key(name, made.shard_key))

    async def change_aliases(request: Request) -> Response:
        asked = models.ChangeAliasesOperation.model_validate_json(await request.body())
        return _told(await held.update_collection_aliases(asked.actions))

    async def field_index(request: Request) -> Response:
        await held.get_collection(request.path_params["name"])
        return _told(DONE)

    async def vector(request: Request) -> Response:
        name, vector = request.path_params["name"], request.path_params["vector"]
        config: Any = TypeAdapter(models.VectorNameConfig).validate_json(await request.body())
        await held.create_vector_name(name, vector, config)
        return _told(DONE)

    async def points(request: Request) -> Response:  # noqa: PLR0911 - one for each kind
        name, body = request.path_params["name"], await request.body()
        match request.path_params.get("what", "upsert"):
            case "upsert":
                given = models.PointsList.model_validate_json(body)
                await held.upsert(name, given.points, shard_key_selector=given.shard_key)
                return _told(DONE)
            case "delete":
                selector: Any = TypeAdapter(models.PointsSelector).validate_json(body)
                await held.delete(name, selector, shard_key_selector=selector.shard_key)
                return _told(DONE)
            case "batch":
                steps = models.UpdateOperations.model_validate_json(body).operations
                return _told(await held.batch_update_points(name, steps))
            case "count":
                asked = models.CountRequest.model_validate_json(body)
                exact = asked.exact is not False
                counted = await held.count(
                    name, asked.filter, exact=exact, shard_key_selector=asked.shard_key
                )
                return _told(counted)
            case "scroll":
                page = models.ScrollRequest.model_validate_json(body)
                records, offset = await held.scroll(
                    name,
                    scroll_filter=page.filter,
                    limit=page.limit or 10,
                    offset=page.offset,
                    with_payload=True if page.with_payload is None else page.with_payload,
                    with_vectors=page.with_vector or False,
                    shard_key_selector=page.shard_key,
                )
                result = models.ScrollResult(points=records, next_page_offset=offset)
                return _told(result)
            case "facet":
                facet = models.FacetRequest.model_validate_json(body)
                found = await held.facet(
                    name,
                    facet.key,
                    facet.filter,
                    limit=facet.limit or 10,
                    exact=True,
                    shard_key_selector=facet.shard_key,
                )
                return _told(found)
        searches = models.QueryRequestBatch.model_validate_json(body).searches
        return _told(await held.query_batch_points(name, searches))

    each = "/collections/{name}"
    return [
        Route("/", root),
        Route("/readyz", readyz),
        Route("/cluster", cluster),
        Route("/collections", collections),
        Route("/aliases", aliases),
        Route("/collections/aliases", _as_a_server(change_aliases), methods=["POST"]),
        Route(each, _as_a_server(collection), methods=["GET", "PUT", "PATCH", "DELETE"]),
        Route(f"{each}/shards", _as_a_server(shards), methods=["GET", "PUT"]),
        Route(f"{each}/index", _as_a_server(field_index), methods=["PUT"]),
        Route(f"{each}/vectors/{{vector:str}}", _as_a_server(vector), methods=["PUT"]),
        Route(f"{each}/points", _as_a_server(points), methods=["PUT"]),
        Route(f"{each}/{{what:str}}", _as_a_server(points), methods=["POST"]),
        Route(
            f"{each}/points/query/{{what:str}}", _as_a_server(_queried(points)), methods=["POST"]
        ),
        Route(f"{each}/points/{{what:str}}", _as_a_server(points), methods=["POST"]),
    ]


def _queried(handler: Handler) -> Handler:
    """`points/query/batch` is no batch of updates."""

    async def handled(request: Request) -> Response:
        request.path_params["what"] = "query"
        return await handler(request)

    return handled


def _as_a_server(handler: Handler) -> Handler:
    """Local mode's errors with the status and the words of a server."""

    async def handled(request: Request) -> Response:
        try:
            return await handler(request)
        except RefusedError as error:
            status = 404 if error.status is StatusCode.NOT_FOUND else 400
            return JSONResponse({"status": {"error": error.text}, "time": 0.0}, status)
        except ValueError as error:
            status = 404 if "not found" in str(error) else 400
            return JSONResponse({"status": {"error": f"Wrong input: {error}"}, "time": 0.0}, status)

    return handled


def _told(result: Any) -> Response:
    told = TypeAdapter(Any).dump_python(result, mode="json")
    if isinstance(result, BaseModel):
        told = result.model_dump(mode="json", exclude_none=True)
    return JSONResponse({"result": told, "status": "ok", "time": 0.0})
