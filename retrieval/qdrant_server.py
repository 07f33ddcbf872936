"""A Qdrant server and how it is called: in time, and again, with errors that say what to do."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import re
from collections.abc import Awaitable, Callable
from json import JSONDecodeError
from typing import ParamSpec, TypeVar

import httpx
from grpc import StatusCode
from grpc.aio import AioRpcError
from qdrant_client import AsyncQdrantClient
from qdrant_client.common.client_exceptions import QdrantException, ResourceExhaustedResponse
from qdrant_client.http.exceptions import (
    ApiException,
    ResponseHandlingException,
    UnexpectedResponse,
)

from rag.errors import (
    BusyError,
    ConfigError,
    NotFoundError,
    RagError,
    StorageError,
    UpstreamError,
)
from rag.redaction import masked, scrubbed

OLDEST_SERVER = (1, 19)
"""The first that counts IDF over a filter; an older one would mix the tenants' and not say so."""
ATTEMPTS = 3
FIRST_PAUSE = 0.2
"""Seconds before the second attempt; doubles with each, and varies by half to part the workers."""
EXISTS, MOVED, STRICT = "exists", "shard_moved", "strict_mode"
GRPC_OPTIONS = {
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 250,
    "grpc.min_reconnect_backoff_ms": 2_000,
}
"""A lost connection is tried again every quarter of a second, as long as it takes. By default gRPC
waits longer each time, up to two minutes, also where the server is back. The third is, in spite of
its name, the time that one try may take (20 s by default): within 2 s the system sends two packets,
a second apart, so that a host whose address is silent is noticed as it returns."""

_P = ParamSpec("_P")
_T = TypeVar("_T")
_FAILURES = (ApiException, QdrantException, AioRpcError, TimeoutError, ValueError, KeyError)
"""What the client raises: over HTTP, either, over gRPC, waiting, and two kinds in local mode."""
_HTTP = {
    StatusCode.INVALID_ARGUMENT: 400,
    StatusCode.FAILED_PRECONDITION: 400,
    StatusCode.OUT_OF_RANGE: 400,
    StatusCode.UNAUTHENTICATED: 401,
    StatusCode.PERMISSION_DENIED: 403,
    StatusCode.NOT_FOUND: 404,
    StatusCode.ALREADY_EXISTS: 409,
    StatusCode.RESOURCE_EXHAUSTED: 429,
    StatusCode.UNIMPLEMENTED: 501,
    StatusCode.UNAVAILABLE: 503,
    StatusCode.DEADLINE_EXCEEDED: 504,
}
_KEY = "The Qdrant server refuses the API key. Mend `index.api_key`."
_NO_QDRANT = "What answers is no Qdrant server. Mend `index.url` or `index.grpc_port`."
_MEANING: dict[int, tuple[type[RagError], str | None, str]] = {
    401: (ConfigError, None, _KEY),
    403: (ConfigError, None, _KEY),
    404: (NotFoundError, None, "The Qdrant server does not hold it."),
    405: (
        ConfigError,
        "standalone_server",
        "The Qdrant server runs alone, and shards with keys need one in cluster mode: set"
        " `index.shards` to 1, or start it with `QDRANT__CLUSTER__ENABLED=true`.",
    ),
    409: (StorageError, EXISTS, "The Qdrant server has it already."),
    421: (StorageError, MOVED, "The shards of the collection are not those that were known."),
    422: (
        StorageError,
        STRICT,
        "The collection on the Qdrant server is in strict mode, which forbids the request."
        " Raise that limit or switch strict mode off.",
    ),
    429: (
        BusyError,
        None,
        "The Qdrant server is at its limit. Try again later.",
    ),
    501: (ConfigError, None, _NO_QDRANT),
    503: (
        UpstreamError,
        None,
        "The Qdrant server cannot be reached. Start it, or mend `index.url` and"
        " `index.grpc_port` (`index.prefer_grpc = false` does without gRPC).",
    ),
    504: (
        UpstreamError,
        None,
        "The Qdrant server did not answer within {timeout:g} s. Try again later,"
        " or raise `index.timeout`.",
    ),
    507: (
        StorageError,
        "disk_full",
        "The Qdrant server has no disk space left. Free some and run it again;"
        " what was stored before is kept.",
    ),
}
"""The error, its code where that is not the class's, and its message, by HTTP status."""
_FAILED = (
    UpstreamError,
    None,
    "The Qdrant server failed. Its log says more; try again later.",
)
_REFUSED = (StorageError, None, "The Qdrant server refuses the request.")
_FULL = re.compile(r"no space left|out of disk", re.IGNORECASE)
_STANDALONE = re.compile(r"standalone mode", re.IGNORECASE)
_STRICT = re.compile(r"\. Help: ")
"""How the server ends what its strict mode refuses."""
_SHARD_KEY = re.compile(
    r"shard key .*(not found|not specified|nor fallback .* exist)", re.IGNORECASE
)
_UNKNOWN = re.compile(r"collection|no point with id", re.IGNORECASE)
"""What is not found may be a collection; otherwise it is the API."""
_SERVER_ERRORS = 500
_SHOWN = 300
"""Characters of a cause."""


class Server:
    """A client, its time limit, and what becomes of its failures."""

    def __init__(self, client: AsyncQdrantClient, *, url: str, timeout: float) -> None:
        """Take a client that is this object's to close; `timeout` is in seconds, for each try."""
        self.client = client
        self._url = url
        self._timeout = timeout
        self._greeted = False

    async def call(
        self, method: Callable[_P, Awaitable[_T]], *args: _P.args, **kwargs: _P.kwargs
    ) -> _T:
        """What the method returns. Only for calls that may be repeated.

        Raises:
            NotFoundError: the server has no such collection or point.
            UpstreamError: it cannot be reached, is too slow or fails, also when asked again.
            ConfigError: it is not a Qdrant server that will do, or refuses the key.
            StorageError: its disk is full, or it refuses the request; code `EXISTS` where what is
                to be made is there already.
        """
        if not self._greeted:
            await self._greet()
        return await self._try(method, *args, **kwargs)

    async def _greet(self) -> None:
        version = (await self._try(self.client.info)).version
        if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_SERVER:
            raise ConfigError(
                f"The Qdrant server is version {version}, which cannot keep"
                f" tenants' term statistics apart. Update it to {'.'.join(map(str, OLDEST_SERVER))}"
                " or later.",
                detail=f"{masked(self._url)}.",
            )
        self._greeted = True

    async def _try(
        self, method: Callable[_P, Awaitable[_T]], *args: _P.args, **kwargs: _P.kwargs
    ) -> _T:
        for attempt in range(1, ATTEMPTS):
            try:
                return await self._once(method, *args, **kwargs)
            except UpstreamError:
                pause = FIRST_PAUSE * 2 ** (attempt - 1)
                await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311
        return await self._once(method, *args, **kwargs)

    async def _once(
        self, method: Callable[_P, Awaitable[_T]], *args: _P.args, **kwargs: _P.kwargs
    ) -> _T:
        try:
            async with asyncio.timeout(self._timeout):
                return await method(*args, **kwargs)
        except _FAILURES as error:
            status, cause = _failure(error)
            kind, code, text = _MEANING.get(status) or (
                _FAILED if status >= _SERVER_ERRORS else _REFUSED
            )
            detail = f"{masked(self._url)}: {scrubbed(cause.strip(), self._url)[:_SHOWN]}."
            raise kind(text.format(timeout=self._timeout), code=code, detail=detail) from error


def connect(
    url: str, *, api_key: str | None, grpc_port: int, prefer_grpc: bool, timeout: float
) -> Server:
    """A server by its address; nothing is sent yet. `timeout` is in seconds."""
    client = AsyncQdrantClient(
        url=url,
        api_key=api_key,
        grpc_port=grpc_port,
        prefer_grpc=prefer_grpc,
        grpc_options=dict(GRPC_OPTIONS),  # the client adds to it
        timeout=math.ceil(timeout),
        check_compatibility=False,  # `Server` does, and says what to do
    )
    return Server(client, url=url, timeout=timeout)


def _failure(error: Exception) -> tuple[int, str]:
    """A failure as the HTTP status that it amounts to, and its cause.

    Raises:
        ValueError, KeyError: it is none of the client's, but a mistake of this package.
    """
    match error:
        case TimeoutError():
            status, cause = 504, "no answer"
        case ResourceExhaustedResponse():
            status, cause = 429, str(error)
        case ResponseHandlingException(source=httpx.TimeoutException()):
            status, cause = 504, "no answer"
        case ResponseHandlingException(source=httpx.TransportError() as source):
            status, cause = 503, str(source) or type(source).__name__
        case ResponseHandlingException() | JSONDecodeError():
            status, cause = 501, "its answer cannot be read"
        case UnexpectedResponse():
            status, cause = error.status_code or _SERVER_ERRORS, _said(error)
        case AioRpcError():
            status = _HTTP.get(error.code(), _SERVER_ERRORS)
            cause = error.details() or error.code().name
        case KeyError():
            status, cause = 404, f"no point with id {error}"
        case _:
            status, cause = _local_failure(error)
    return _status(status, cause), cause


def _local_failure(error: Exception) -> tuple[int, str]:
    if not re.search("already exists|not found", str(error)):
        raise error
    return 404, str(error)


def _status(status: int, cause: str) -> int:
    """What a server may mean by several statuses, told by what it says."""
    if _FULL.search(cause):
        return 507
    if "already exists" in cause:
        return 409
    if _STANDALONE.search(cause):
        return 405
    if status in (400, 404) and _SHARD_KEY.search(cause):
        return 421
    if status == 400 and _STRICT.search(cause):  # noqa: PLR2004
        return 422
    return 501 if status == 404 and not _UNKNOWN.search(cause) else status  # noqa: PLR2004


def _said(error: UnexpectedResponse) -> str:
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return str(error.structured()["status"]["error"])
    return error.content.decode(errors="replace")[:200] or error.reason_phrase
