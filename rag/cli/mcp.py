"""`rag mcp`: the MCP server on standard input and output."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import AsyncIterator

from rag.cli.connection import connect
from rag.cli.scope import caller
from rag.client import AsyncClient
from rag.mcp.rest import Rest
from rag.process.extras import needing
from rag.process.imports import importing
from rag.settings.tree import Settings
from rag.telemetry import logs


async def mcp(args: argparse.Namespace, settings: Settings) -> int:
    """Serves the client that started this process, until it closes standard input."""
    logs.configure(settings.log.format)
    with needing("mcp", for_="`rag mcp`"), importing():
        from rag.mcp.server import make_server
        from rag.mcp.transports import serve_standard_streams
    async with _client(args, settings) as client:
        rest = Rest(
            http=client.http,
            collection=args.collection,
            public_url=settings.server.public_url,
        )
        await serve_standard_streams(make_server(lambda _context: rest))
    return 0


@contextlib.asynccontextmanager
async def _client(args: argparse.Namespace, settings: Settings) -> AsyncIterator[AsyncClient]:
    """Yields a client of the server at `--url`, or of a service opened in this process."""
    if args.url:
        async with connect(args.url) as client:
            yield client
        return
    with importing():
        from rag.build.running import start
        from rag.cli.in_process import client_of
    async with (
        start(settings) as (service, queue),
        queue.started(),
        client_of(service, queue, caller=caller(args)) as client,
    ):
        yield client
