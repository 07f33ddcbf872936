"""Calls to a Qdrant server: time limits, retries, and errors that say what to do."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import ParamSpec, TypeVar

from qdrant_client import AsyncQdrantClient

from rag.errors import (
    RagError,
    UpstreamError,
)
from retrieval.indexes.qdrant_failures import FAILURES, UNAVAILABLE, failure_of
from retrieval.indexes.qdrant_nodes import Node, Nodes

ATTEMPTS = 3
FIRST_PAUSE = 0.25
"""Seconds before the second attempt; doubles with each, and varies by a quarter, so that workers do
not retry at the same time. The pauses of a call add up to more than gRPC's pause between tries to
connect: a call that begins when the server comes back is answered."""
READS = frozenset({"query_batch_points", "scroll", "count", "facet"})
"""Methods of the client that any node answers alike. Those about collections and aliases are not
among them: a node may learn of a change a moment later than the one that made it."""
SILENCE_SECONDS = 1.0
"""Seconds without an answer after which a node is asked whether it is alive."""
GREETING_SECONDS = 3.0
"""Seconds that greeting a node may take, if there is another one to ask."""
GRPC_OPTIONS = {
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 250,
    "grpc.min_reconnect_backoff_ms": 2_000,
}
"""A lost connection is tried again every quarter of a second, as long as it takes. By default gRPC
waits longer each time, up to two minutes, even after the server is back. The third option, in spite
of its name, is the time that one attempt may take (20 s by default): within 2 s the system sends
two packets, a second apart, so that a host that was silent is noticed as it returns."""

_MAX_DETAIL_CHARS = 1_000
"""Characters of the causes of all nodes in a message."""

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Server:
    """One server or the nodes of a cluster, with a time limit and the handling of failures."""

    def __init__(self, *nodes: Node, timeout: float, spread: bool = False) -> None:
        """Take nodes, whose clients this object closes.

        Args:
            nodes: at least one, in the order in which they are asked.
            timeout: seconds for each attempt, over all its nodes.
            spread: True: reads begin with a different node each time.
        """
        self.client = nodes[0].client
        """Names the methods that `call` takes; `call` decides which node answers."""
        self._nodes = Nodes(nodes, check=self._check, spread=spread)
        self._timeout = timeout

    async def call(
        self, method: Callable[_P, Awaitable[_T]], *args: _P.args, **kwargs: _P.kwargs
    ) -> _T:
        """Returns the result of a method of `client`, from the first node that answers.

        Only for calls that may be repeated: a node may fail after it executed the call.

        Raises:
            NotFoundError: The server has no such collection or point.
            UpstreamError: The server cannot be reached, is too slow or fails, also when asked
                again.
            ConfigError: It is no usable Qdrant server, or it refuses the key.
            StorageError: Its disk is full, or it refuses the request; code `EXISTS` if the object
                to create exists already.
        """
        name = method.__name__

        async def operation(client: AsyncQdrantClient) -> _T:
            own = method if client is self.client else getattr(client, name)
            answer: _T = await own(*args, **kwargs)
            return answer

        return await self.request(operation, read=name in READS)

    async def request(
        self, operation: Callable[[AsyncQdrantClient], Awaitable[_T]], *, read: bool
    ) -> _T:
        """Same as `call`, for other requests; `read`: any node answers them alike."""
        for attempt in range(1, ATTEMPTS):
            try:
                return await self._try(operation, read=read)
            except UpstreamError:
                pause = FIRST_PAUSE * 2 ** (attempt - 1)
                await asyncio.sleep(pause * random.uniform(0.75, 1.25))  # noqa: S311
        return await self._try(operation, read=read)

    async def close(self) -> None:
        """Closes the connections to all nodes."""
        await self._nodes.close()

    async def _try(
        self, operation: Callable[[AsyncQdrantClient], Awaitable[_T]], *, read: bool
    ) -> _T:
        """Asks one node after another until one answers, even with an error."""
        until = asyncio.get_running_loop().time() + self._timeout
        failures: list[RagError] = []
        for node in self._nodes.in_turn(read=read):
            if failures and asyncio.get_running_loop().time() >= until:
                break  # no time is left to ask this one: it has not failed
            try:
                return await self._once(node, operation, until=until)
            except _UnavailableError as unavailable:
                failures.append(unavailable.error)
        # A temporary failure is reported rather than an address that has to be corrected.
        reported = next((f for f in failures if isinstance(f, UpstreamError)), failures[0])
        reported.detail = " ".join(failure.detail for failure in failures)[:_MAX_DETAIL_CHARS]
        raise reported from reported.__cause__

    async def _once(
        self,
        node: Node,
        operation: Callable[[AsyncQdrantClient], Awaitable[_T]],
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
                answer = await self._answer(node, operation)
        except FAILURES as error:
            status, failure = failure_of(node, error, timeout=self._timeout)
            if status not in UNAVAILABLE:
                raise failure from error
            self._nodes.failed(node, failure)
            raise _UnavailableError(failure) from error
        self._nodes.answered(node)
        return answer

    async def _answer(
        self, node: Node, operation: Callable[[AsyncQdrantClient], Awaitable[_T]]
    ) -> _T:
        """Returns a node's answer; leaves a node that has fallen silent if there is another."""
        if not self._nodes.others(node):
            return await operation(node.client)
        answering = asyncio.ensure_future(operation(node.client))
        try:
            while not (await asyncio.wait({answering}, timeout=SILENCE_SECONDS))[0]:
                async with asyncio.timeout(SILENCE_SECONDS):
                    await node.client.info()
            return await answering
        finally:
            answering.cancel()
            await asyncio.gather(answering, return_exceptions=True)

    async def _greet(self, node: Node, *, until: float) -> None:
        try:
            async with asyncio.timeout_at(until):
                await self._nodes.greet(node)
        except RagError as error:
            self._nodes.failed(node, error)
            raise _UnavailableError(error) from error
        except FAILURES as error:
            _, failure = failure_of(node, error, timeout=self._timeout)
            self._nodes.failed(node, failure)
            raise _UnavailableError(failure) from error

    async def _check(self, node: Node) -> bool:
        """True if a node can be used; otherwise it is skipped."""
        try:
            await self._greet(node, until=asyncio.get_running_loop().time() + self._timeout)
        except _UnavailableError:
            return False
        return True


class _UnavailableError(Exception):
    """A node does not answer; holds the error to report if no other one does either."""

    def __init__(self, error: RagError) -> None:
        super().__init__(error)
        self.error = error


def connect(
    *urls: str,
    api_key: str | None,
    grpc_port: int | Sequence[int],
    prefer_grpc: bool,
    timeout: float,
    spread: bool = False,
) -> Server:
    """Connects to a server by its address, or a cluster by those of its nodes; sends nothing yet.

    Args:
        urls: addresses of REST, in the order in which they are asked.
        api_key: the same for all.
        grpc_port: one for all, or one for each.
        prefer_grpc: True: gRPC; False: REST.
        timeout: seconds for each attempt.
        spread: True: reads begin with a different node each time.
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
