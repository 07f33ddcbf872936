"""A Qdrant server and how it is called: in time, and again, with errors that say what to do."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import re
from collections.abc import Awaitable, Callable, Sequence
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
from rag.privacy.redaction import scrubbed
from retrieval.indexes.qdrant_nodes import NO_QDRANT, Node, Nodes

ATTEMPTS = 3
FIRST_PAUSE = 0.25
"""Seconds before the second attempt; doubles with each, and varies by a quarter, so that workers do
not ask together. All pauses of a call are longer than gRPC's pause between tries to connect: a call
that begins as the server comes back is answered."""
EXISTS, MOVED, STRICT = "exists", "shard_moved", "strict_mode"
READS = frozenset({"query_batch_points", "scroll", "count", "facet"})
"""Methods of the client that any node answers alike. What tells of collections and aliases is not
among them: a node may learn of a change a moment later than the one that was asked for it."""
SILENCE_SECONDS = 1.0
"""A node that has not answered for so long is asked whether it is there."""
GREETING_SECONDS = 3.0
"""What a node says of itself takes no longer, where there is another to ask."""
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
    501: (ConfigError, None, NO_QDRANT),
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
_SAID = (
    (re.compile(r"no space left|out of disk", re.IGNORECASE), (), 507),
    (re.compile("already exists"), (), 409),
    (re.compile("Failed parsing HTTP/2"), (), 501),
    (re.compile(r"standalone mode", re.IGNORECASE), (), 405),
    (
        re.compile(r"shard key .*(not found|not specified|nor fallback .* exist)", re.IGNORECASE),
        (400, 404),
        421,
    ),
    (re.compile(r"\. Help: "), (400,), 422),  # how it ends what its strict mode refuses
)
"""Words of the server, with which statuses (any where none is named), and what they amount to."""
_UNKNOWN = re.compile(r"collection|no point with id", re.IGNORECASE)
"""What is not found may be a collection; otherwise it is the API."""
_AWAY = (501, 502, 503, 504)
"""Nothing that the node itself says: another one may answer."""
_SERVER_ERRORS = 500
_SHOWN, _ALL_SHOWN = 300, 1_000
"""Characters of a cause, and of the causes of all nodes."""


class Server:
    """One server or the nodes of a cluster, a time limit, and what becomes of failures."""

    def __init__(self, *nodes: Node, timeout: float, spread: bool = False) -> None:
        """Take nodes whose clients are this object's to close.

        Args:
            nodes: in the order in which they are asked, one at least.
            timeout: seconds for each try, of however many nodes.
            spread: whether reads begin with one node after another.
        """
        self.client = nodes[0].client
        """Names the methods that `call` takes; which node answers is decided there."""
        self._nodes = Nodes(nodes, check=self._check, spread=spread)
        self._timeout = timeout

    async def call(
        self, method: Callable[_P, Awaitable[_T]], *args: _P.args, **kwargs: _P.kwargs
    ) -> _T:
        """What a method of `client` returns, of the first node that answers.

        Only for calls that may be repeated: a node may fail after it did what was asked.

        Raises:
            NotFoundError: the server has no such collection or point.
            UpstreamError: it cannot be reached, is too slow or fails, also when asked again.
            ConfigError: it is not a Qdrant server that will do, or refuses the key.
            StorageError: its disk is full, or it refuses the request; code `EXISTS` where what is
                to be made is there already.
        """
        name = method.__name__

        async def asked(client: AsyncQdrantClient) -> _T:
            own = method if client is self.client else getattr(client, name)
            answer: _T = await own(*args, **kwargs)
            return answer

        return await self.ask(asked, read=name in READS)

    async def ask(
        self, question: Callable[[AsyncQdrantClient], Awaitable[_T]], *, read: bool
    ) -> _T:
        """As `call`, for what is no method of the client; `read`: any node answers it alike."""
        for attempt in range(1, ATTEMPTS):
            try:
                return await self._try(question, read=read)
            except UpstreamError:
                pause = FIRST_PAUSE * 2 ** (attempt - 1)
                await asyncio.sleep(pause * random.uniform(0.75, 1.25))  # noqa: S311
        return await self._try(question, read=read)

    async def close(self) -> None:
        """Lets go of the connections to all nodes."""
        await self._nodes.close()

    async def _try(
        self, question: Callable[[AsyncQdrantClient], Awaitable[_T]], *, read: bool
    ) -> _T:
        """Asks one node after another, until one answers, be it with an error."""
        until = asyncio.get_running_loop().time() + self._timeout
        failures: list[RagError] = []
        for node in self._nodes.in_turn(read=read):
            if failures and asyncio.get_running_loop().time() >= until:
                break  # no time is left to ask this one: it has not failed
            try:
                return await self._once(node, question, until=until)
            except _AwayError as away:
                failures.append(away.told)
        # What may pass comes before an address that has to be mended.
        told = next((f for f in failures if isinstance(f, UpstreamError)), failures[0])
        told.detail = " ".join(failure.detail for failure in failures)[:_ALL_SHOWN]
        raise told from told.__cause__

    async def _once(
        self,
        node: Node,
        question: Callable[[AsyncQdrantClient], Awaitable[_T]],
        *,
        until: float,
    ) -> _T:
        if not node.version:
            now = asyncio.get_running_loop().time()
            await self._greet(
                node, until=min(until, now + GREETING_SECONDS) if self._nodes.several else until
            )
        try:
            async with asyncio.timeout_at(until):
                answer = await self._answer(node, question)
        except _FAILURES as error:
            status, told = self._told(node, error)
            if status not in _AWAY:
                raise told from error
            self._nodes.failed(node, told)
            raise _AwayError(told) from error
        self._nodes.answered(node)
        return answer

    async def _answer(
        self, node: Node, question: Callable[[AsyncQdrantClient], Awaitable[_T]]
    ) -> _T:
        """What a node answers; one that has fallen silent is left where there is another."""
        if not self._nodes.others(node):
            return await question(node.client)
        asked = asyncio.ensure_future(question(node.client))
        try:
            while not (await asyncio.wait({asked}, timeout=SILENCE_SECONDS))[0]:
                async with asyncio.timeout(SILENCE_SECONDS):
                    await node.client.info()
            return await asked
        finally:
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)

    async def _greet(self, node: Node, *, until: float) -> None:
        try:
            async with asyncio.timeout_at(until):
                await self._nodes.greet(node)
        except RagError as error:
            self._nodes.failed(node, error)
            raise _AwayError(error) from error
        except _FAILURES as error:
            _, told = self._told(node, error)
            self._nodes.failed(node, told)
            raise _AwayError(told) from error

    async def _check(self, node: Node) -> bool:
        """Whether a node will do; otherwise it is passed over."""
        try:
            await self._greet(node, until=asyncio.get_running_loop().time() + self._timeout)
        except _AwayError:
            return False
        return True

    def _told(self, node: Node, error: Exception) -> tuple[int, RagError]:
        """A failure as the HTTP status that it amounts to, and as what is told of it."""
        status, cause = _failure(error)
        kind, code, text = _MEANING.get(status) or (
            _FAILED if status >= _SERVER_ERRORS else _REFUSED
        )
        detail = f"{node.place}: {scrubbed(cause.strip(), node.url)[:_SHOWN]}."
        return status, kind(text.format(timeout=self._timeout), code=code, detail=detail)


class _AwayError(Exception):
    """A node that does not answer, and what is told where no other one does either."""

    def __init__(self, told: RagError) -> None:
        super().__init__(told)
        self.told = told


def connect(
    *urls: str,
    api_key: str | None,
    grpc_port: int | Sequence[int],
    prefer_grpc: bool,
    timeout: float,
    spread: bool = False,
) -> Server:
    """A server by its address, or a cluster by those of its nodes; nothing is sent yet.

    Args:
        urls: of REST, in the order in which they are asked.
        api_key: the same for all.
        grpc_port: one for all, or one for each.
        prefer_grpc: whether gRPC is spoken, or REST.
        timeout: seconds for each try.
        spread: whether reads begin with one node after another.
    """
    ports = [grpc_port] * len(urls) if isinstance(grpc_port, int) else grpc_port
    nodes = [
        Node(
            AsyncQdrantClient(
                url=url,
                api_key=api_key,
                grpc_port=port,
                prefer_grpc=prefer_grpc,
                grpc_options=dict(GRPC_OPTIONS),  # the client adds to it
                timeout=math.ceil(timeout),
                check_compatibility=False,  # `Nodes` does, and says what to do
            ),
            url,
        )
        for url, port in zip(urls, ports, strict=True)
    ]
    return Server(*nodes, timeout=timeout, spread=spread)


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
    for said, among, meant in _SAID:
        if (not among or status in among) and said.search(cause):
            return meant
    return 501 if status == 404 and not _UNKNOWN.search(cause) else status  # noqa: PLR2004


def _said(error: UnexpectedResponse) -> str:
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return str(error.structured()["status"]["error"])
    return error.content.decode(errors="replace")[:200] or error.reason_phrase
