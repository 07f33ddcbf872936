"""The cost of MCP for a search: `search` of `/mcp` beside `POST /v1/search`, by turns.

One `rag serve` over the shipped examples, each question another one, without a reranker. Three ways
ask: `/v1/search`, `/mcp` by bare HTTP, which shows what the server adds, and `/mcp` by the SDK's
client, which also checks results against their schemas. The last two in both versions of the
protocol. The server's CPU time shows what it adds on a busy machine, too. Then 32 agents search at
once, each a client of the SDK.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from typing import Any

import httpx
import psutil
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client

from benchmarks._common import Report, Target, p50
from benchmarks._server import Server, examples, launched
from benchmarks._texts import sentences
from benchmarks.rest import PLAIN

ROUNDS, PER_ROUND, WARM = 20, 20, 50
AGENTS, AGENT_SECONDS = 32, 10.0
ADDED_MS = 5.0
MODES = {"2026-07-28": "2026-07-28", "2025-11-25": "legacy"}
Ask = Callable[[str], Awaitable[None]]


def run() -> Report:
    """One client by turns, then many agents."""
    report = Report()
    with examples() as env, launched({**env, **PLAIN}) as server:
        server.wait_until_ready()
        asyncio.run(_measure(report, server))
    return report


async def _measure(report: Report, server: Server) -> None:
    texts, number, url = sentences(), count(), server.url
    process = psutil.Process(server.pid)

    def question() -> str:
        place = next(number)
        return f"{texts[place % len(texts)]} {place}"

    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(httpx.AsyncClient(base_url=url))
        ways: dict[str, Ask] = {"/v1/search": _rest(http)}
        for version in MODES:
            ways[f"/mcp, {version}"] = _bare(http, version)
            client = await stack.enter_async_context(_client(url, version))
            ways[f"/mcp, {version}, SDK's client"] = _called(client)
        taken: dict[str, list[float]] = {way: [] for way in ways}
        computed = dict.fromkeys(ways, 0.0)
        for ask in ways.values():
            await _timed(ask, question, WARM)
        for _ in range(ROUNDS):
            for way, ask in ways.items():
                before = sum(process.cpu_times()[:2])
                taken[way] += await _timed(ask, question, PER_ROUND)
                computed[way] += sum(process.cpu_times()[:2]) - before
    floor, least = p50(taken.pop("/v1/search")), computed.pop("/v1/search")
    for way, times in taken.items():
        target = Target(bound=ADDED_MS, by="difference")
        report.add(f"search p50, {way}", p50(times), unit="ms", floor=floor, target=target)
    each = 1e3 / (ROUNDS * PER_ROUND)
    for way, seconds in computed.items():
        report.add(f"the server's CPU, {way}", seconds * each, unit="ms", floor=least * each)
    await _crowd(report, url, question)


async def _timed(ask: Ask, question: Callable[[], str], times: int) -> list[float]:
    """Milliseconds of questions, one after the other."""
    taken = []
    for _ in range(times):
        text = question()
        started = time.perf_counter()
        await ask(text)
        taken.append((time.perf_counter() - started) * 1e3)
    return taken


async def _crowd(report: Report, url: str, question: Callable[[], str]) -> None:
    errors, answered = 0, 0
    ending = time.monotonic() + AGENT_SECONDS

    async def agent(version: str) -> None:
        nonlocal errors, answered
        async with _client(url, version) as client:
            while time.monotonic() < ending:
                found = await client.call_tool("search", {"query": question()})
                errors += found.is_error
                answered += 1

    async with asyncio.TaskGroup() as agents:
        for number in range(AGENTS):
            agents.create_task(agent(list(MODES)[number % 2]))
    report.add(f"searches by {AGENTS} agents", answered / AGENT_SECONDS, unit="requests/s")
    report.add("errors", errors, target=Target(bound=0))


def _rest(http: httpx.AsyncClient) -> Ask:
    async def ask(text: str) -> None:
        (await http.post("/v1/search", json={"query": text})).raise_for_status()

    return ask


def _bare(http: httpx.AsyncClient, version: str) -> Ask:
    """Sends what the SDK's client sends."""
    prefix = "io.modelcontextprotocol/"
    meta = {
        f"{prefix}protocolVersion": version,
        f"{prefix}clientInfo": {"name": "benchmark", "version": "1"},
        f"{prefix}clientCapabilities": {},
    }
    headers = {
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": version,
        "Mcp-Method": "tools/call",
        "Mcp-Name": "search",
    }

    async def ask(text: str) -> None:
        params: dict[str, Any] = {"name": "search", "arguments": {"query": text}, "_meta": meta}
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        response = await http.post("/mcp", json=body, headers=headers)
        if '"isError":false' not in response.text.replace(" ", ""):
            raise RuntimeError(response.text)

    return ask


def _called(client: Client) -> Ask:
    async def ask(text: str) -> None:
        found = await client.call_tool("search", {"query": text})
        if found.is_error:
            raise RuntimeError(str(found.content))

    return ask


@asynccontextmanager
async def _client(url: str, version: str) -> AsyncIterator[Client]:
    async with Client(streamable_http_client(f"{url}/mcp"), mode=MODES[version]) as client:
        await client.list_tools()
        yield client
