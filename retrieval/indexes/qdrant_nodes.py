"""The nodes of a Qdrant cluster: the order in which they are asked, and which are skipped."""

from __future__ import annotations

import asyncio
import itertools
import logging
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from json import JSONDecodeError

import httpx
from qdrant_client import AsyncQdrantClient
from qdrant_client.http.exceptions import (
    ApiException,
    ResponseHandlingException,
    UnexpectedResponse,
)

from rag.errors import ConfigError, RagError, UpstreamError
from rag.privacy.redaction import masked

OLDEST_SERVER = (1, 19)
"""The first version that counts IDF over a filter; an older one would mix the tenants' silently."""
NO_QDRANT = "What answers is no Qdrant server. Mend `index.url` or `index.grpc_port`."
CHECK_SECONDS = 1.0
"""Seconds between the first checks of a failed node; doubles each time, up to the next constant."""
LONGEST_CHECK_SECONDS = 30.0
REST_SECONDS = 1.0
"""Seconds that a node's REST interface may take for facts that gRPC does not have."""

_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Node:
    """One address of a cluster, and the known state of its node."""

    client: AsyncQdrantClient
    url: str
    version: str = ""
    """Empty until the node was greeted."""
    peers: frozenset[str] = frozenset()
    """Ids of the cluster's nodes, or its own address if it is alone; empty: it does not report
    them."""
    fault: RagError | None = None
    """The reason for which it is skipped."""
    failed: float = 0.0
    """Time of its last failure, by the monotonic clock."""

    @property
    def place(self) -> str:
        """The address without secrets."""
        return masked(self.url)


class Nodes:
    """All addresses of a cluster in their order. A failed one is checked in the background."""

    def __init__(
        self, nodes: Sequence[Node], *, check: Callable[[Node], Awaitable[bool]], spread: bool
    ) -> None:
        """Make the set of nodes.

        Args:
            nodes: at least one.
            check: greets a node; True if it can be used.
            spread: True: reads begin with a different node each time.
        """
        self._nodes = nodes
        self._check = check
        self._turns = itertools.cycle(range(len(nodes))) if spread else itertools.repeat(0)
        self._checks: dict[Node, asyncio.Task[None]] = {}

    @property
    def several(self) -> bool:
        """True if there is another node when one fails."""
        return len(self._nodes) > 1

    def in_turn(self, *, read: bool) -> list[Node]:
        """Returns all nodes in the order in which to ask them.

        Failed nodes come last, the one whose failure is longest ago first, because a silent node
        may take all the time of a call.
        """
        first = next(self._turns) if read else 0
        turned = [*self._nodes[first:], *self._nodes[:first]]
        return sorted(turned, key=lambda node: node.failed if node.fault else 0.0)

    def others(self, node: Node) -> list[Node]:
        """Returns the other nodes that answered when they were last asked."""
        return [n for n in self._nodes if n is not node and n.version and n.fault is None]

    async def greet(self, node: Node) -> None:
        """Reads a node's version and cluster, and checks that it can be used.

        Raises:
            ConfigError: It is no Qdrant server, too old, or of another cluster than the others.
            UpstreamError: Its shards are behind; it may be asked if there is no other.
        """
        info = await node.client.info()
        numbers = re.match(r"(\d+)\.(\d+)", info.version)
        if numbers is None or "qdrant" not in info.title.lower():
            raise ConfigError(NO_QDRANT, detail=f"{node.place}.")
        if (int(numbers[1]), int(numbers[2])) < OLDEST_SERVER:
            raise ConfigError(
                f"The Qdrant server is version {info.version}, which cannot keep"
                f" tenants' term statistics apart. Update it to {'.'.join(map(str, OLDEST_SERVER))}"
                " or later.",
                detail=f"{node.place}.",
            )
        is_ready = True
        if self.several:
            peers, is_ready = await asyncio.gather(_peers(node), _is_ready(node.client))
            self._compare(node, peers, info.version)
            node.peers = peers
        node.version = info.version
        if not is_ready:
            raise UpstreamError(
                "The Qdrant server is behind: it has begun, and does not have all of its data yet.",
                detail=f"{node.place}.",
            )

    def answered(self, node: Node) -> None:
        """Records that a node answers; the others that nobody asked yet are checked."""
        if node.fault is not None:
            node.fault = None
            _log.warning("A Qdrant server answers again: %s.", node.place)
        for other in self._nodes:
            if not other.version and other.fault is None and other not in self._checks:
                self._checks[other] = asyncio.create_task(self._watch(other, pause=0.0))

    def failed(self, node: Node, fault: RagError) -> None:
        """Skips a node until it answers a check."""
        if not self.several:
            return
        if node.fault is None:
            _log.warning("A Qdrant server is passed over: %s", fault.in_full())
        node.fault, node.failed = fault, time.monotonic()
        if isinstance(fault, ConfigError):
            node.version = ""  # it is not usable: it is greeted again before it is asked
        if node not in self._checks:
            self._checks[node] = asyncio.create_task(self._watch(node, pause=CHECK_SECONDS))

    async def close(self) -> None:
        """Stops the checks and closes the connections."""
        checks = list(self._checks.values())
        for check in checks:
            check.cancel()
        await asyncio.gather(*checks, return_exceptions=True)
        for node in self._nodes:
            await node.client.close()

    async def _watch(self, node: Node, *, pause: float) -> None:
        """Checks a node until it can be used."""
        try:
            await asyncio.sleep(pause)
            while not await self._check(node):
                pause = min(max(2 * pause, CHECK_SECONDS), LONGEST_CHECK_SECONDS)
                await asyncio.sleep(pause)
        finally:
            del self._checks[node]
        self.answered(node)

    def _compare(self, node: Node, peers: frozenset[str], version: str) -> None:
        """Refuses a node of another cluster, and warns if versions differ.

        It is compared with nodes that are away, too: otherwise another cluster's data would be read
        in the meantime.
        """
        others = [other for other in self._nodes if other is not node]
        known = [other for other in others if other.peers]
        if peers and known and not any(peers & other.peers for other in known):
            raise ConfigError(
                "The addresses in `index.url` are of different Qdrant clusters, and one of them is"
                " left out. Name nodes of one cluster alone; where it was made anew, start again.",
                detail=f"{node.place} shares no node with {known[0].place}.",
            )
        for other in others:
            if other.version not in ("", version):
                _log.warning(
                    "The Qdrant servers differ: %s is version %s, and %s is %s. Update the older.",
                    node.place,
                    version,
                    other.place,
                    other.version,
                )
                return


async def _peers(node: Node) -> frozenset[str]:
    """Returns the ids of a cluster's nodes; a lone server's address; empty if not reported."""
    try:
        async with asyncio.timeout(REST_SECONDS):
            answer = await node.client.http.distributed_api.cluster_status()
    except _NO_ANSWER:
        return frozenset()
    return frozenset(getattr(answer.result, "peers", (node.place,)))


async def _is_ready(client: AsyncQdrantClient) -> bool:
    """True if a node has caught up with its cluster; also if it does not report that."""
    try:
        async with asyncio.timeout(REST_SECONDS):
            await client.http.service_api.readyz()
    except UnexpectedResponse as error:
        return error.status_code != httpx.codes.SERVICE_UNAVAILABLE
    except _NO_ANSWER:  # a ready server answers in words, not JSON
        return True
    return True


_NO_ANSWER = (ApiException, ResponseHandlingException, JSONDecodeError, TimeoutError)
"""Errors of a REST interface that cannot be reached, or whose key lacks the right."""
