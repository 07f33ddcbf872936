"""Clients of MCP: the SDK's, by HTTP or by standard streams, in both versions of the protocol."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx2
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult, TextContent

from tests.servers import PATIENCE, RAG, environment

Json = dict[str, Any]
MODES = {"2026-07-28": "auto", "2025-11-25": "legacy"}
"""By the version of the protocol, the mode in which the SDK's client speaks it."""


@contextlib.asynccontextmanager
async def by_http(
    url: str, key: str | None = None, *, version: str = "2026-07-28", path: str = "/mcp"
) -> AsyncIterator[Client]:
    """Yields a client of a server's `/mcp`."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=PATIENCE) as http,
        Client(
            streamable_http_client(f"{url}{path}", http_client=http), mode=MODES[version]
        ) as client,
    ):
        yield client


@contextlib.asynccontextmanager
async def by_streams(
    data: Path,
    *arguments: str,
    env: Mapping[str, str] | None = None,
    version: str = "2026-07-28",
) -> AsyncIterator[Client]:
    """Yields a client of a process of `rag mcp`; what it logs is kept beside the data folder."""
    command, *before = RAG
    started = StdioServerParameters(
        command=command,
        args=[*before, "mcp", *arguments],
        env=environment(data, env),
        cwd=data.parent,
    )
    data.parent.mkdir(parents=True, exist_ok=True)
    with (data.parent / "mcp.log").open("a") as log:
        async with Client(stdio_client(started, errlog=log), mode=MODES[version]) as client:
            yield client


async def called(client: Client, tool: str, **arguments: Any) -> Json:
    """Returns the result of a tool, which is whole in each of its two forms."""
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, text_of(result)
    found: Json = json.loads(text_of(result))
    assert result.structured_content == found
    return found


async def refused(client: Client, tool: str, **arguments: Any) -> str:
    """Returns the sentence with which a call is refused."""
    result = await client.call_tool(tool, arguments)
    assert result.is_error, text_of(result)
    return text_of(result)


def text_of(result: CallToolResult) -> str:
    """Returns the text of a result, which is its only content."""
    [content] = result.content
    assert isinstance(content, TextContent)
    return content.text
