"""Two servers for the benchmark of Qdrant, each `python -m benchmarks._qdrant_servers NAME …`.

`local` is the tests' stand-in, the client's local mode behind gRPC. `replay PORT` passes on what it
is asked to the gRPC server on that port and keeps each answer; as soon as its standard input says
so, it answers from what it kept, byte for byte and at once. Each prints the port it listens on.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Hashable, Iterator, Mapping
from functools import partial
from typing import Any

import grpc
import uvloop
from qdrant_client import grpc as wire

from tests.qdrant_grpc import grpc_port

SEARCH = "/qdrant.Points/QueryBatch"
GO = "replay"
"""The line on standard input from which on what was kept is given again."""


class Replay(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Answers as the server behind did.

    A request that it has kept gets its answer, and another search the answers to those that differ
    in their texts alone, by turns. So a question's texts are those of the matches that it was
    given. The few other requests that come for the first time are passed on.
    """

    def __init__(self, behind: grpc.aio.Channel) -> None:
        """Take a channel that is the caller's to close."""
        self._behind = behind
        self._kept: dict[tuple[str, bytes], bytes] = {}
        self._searches: Mapping[Hashable, Iterator[bytes]] = {}
        """Answers by turns, by the kind of search."""

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        """The handler of whatever method, of bytes."""
        return grpc.unary_unary_rpc_method_handler(partial(self._answer, details.method))

    def replay(self) -> None:
        """From here on what was kept is given again."""
        kept: dict[Hashable, list[bytes]] = {}
        for (method, request), answer in self._kept.items():
            if method == SEARCH:
                kept.setdefault(_kind(request), []).append(answer)
        self._searches = {kind: itertools.cycle(answers) for kind, answers in kept.items()}

    async def _answer(self, method: str, request: bytes, context: Any) -> bytes:
        if self._searches and (method, request) in self._kept:
            return self._kept[method, request]
        if self._searches and method == SEARCH and (alike := self._searches.get(_kind(request))):
            return next(alike)
        try:
            answer: bytes = await self._behind.unary_unary(method)(request)
        except grpc.aio.AioRpcError as error:
            await context.abort(error.code(), error.details() or "")
        self._kept[method, request] = answer
        return answer


def _kind(search: bytes) -> Hashable:
    """The part of a search that does not depend on its texts."""
    queries = wire.QueryBatchPoints.FromString(search).query_points
    return tuple((each.using, each.limit, each.with_vectors.enable) for each in queries)


@contextlib.asynccontextmanager
async def replaying(behind: str) -> AsyncIterator[tuple[str, Replay]]:
    """The port of a server in front of the one on the port `behind`, and its answers."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{behind}") as channel:
        replay = Replay(channel)
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((replay,))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        yield str(port), replay
        await server.stop(grace=None)


async def _replay(behind: str) -> None:
    async with replaying(behind) as (port, replay):
        print(port, flush=True)
        while (line := await asyncio.to_thread(sys.stdin.readline)) and line.strip() != GO:
            pass
        replay.replay()
        print(GO, flush=True)
        await asyncio.Event().wait()


async def _local() -> None:
    async with grpc_port() as port:
        print(port, flush=True)
        await asyncio.Event().wait()


@contextlib.contextmanager
def stand_in(*arguments: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The port of one of these servers, and its process."""
    command = [sys.executable, "-m", "benchmarks._qdrant_servers", *arguments]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            assert process.stdout
            yield process.stdout.readline().strip(), process
        finally:
            process.terminate()


def replay_from_here(replay: subprocess.Popen[str]) -> None:
    """Lets a replaying server give again what it has kept."""
    assert replay.stdin
    assert replay.stdout
    print(GO, file=replay.stdin, flush=True)
    replay.stdout.readline()


SERVERS: dict[str, Callable[..., Any]] = {"local": _local, "replay": _replay}


def main() -> None:
    """Serves until it is terminated."""
    name, *rest = sys.argv[1:]
    uvloop.run(SERVERS[name](*rest))


if __name__ == "__main__":
    main()
