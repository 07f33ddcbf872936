"""Clients besides the SDK's: fastmcp, and two from npm, one for each version of the protocol."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.oidc_provider import NODE
from tests.places import ROOT
from tests.servers import PATIENCE, RAG, Json, Server, environment, rag, serving, submit

if TYPE_CHECKING:  # not while tests are collected: it takes a second
    from fastmcp.client.transports import ClientTransport

PACKAGES = Path(sys.prefix) / "mcp-clients"
"""The folder into which `make mcp-clients` installs the clients from npm."""
needs_node = pytest.mark.skipif(
    NODE is None or not (PACKAGES / "node_modules").is_dir(),
    reason="there are no clients from npm: `make mcp-clients` installs them",
)
TEXT = "The depot opens at seven. On Fridays it closes at four."
QUESTION = "When does the depot close on Fridays?"
READING = ["search", "fetch", "answer", "list_collections"]


@dataclass(frozen=True, slots=True)
class Gated:
    server: Server
    key: str
    """It asks and reads."""

    def environment(self, folder: Path) -> dict[str, str]:
        own = {"RAG_URL": self.server.url, "RAG_API_KEY": self.key}
        return environment(folder / "data", own)


@pytest.fixture(scope="module")
def gated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gated]:
    data = tmp_path_factory.mktemp("mcp") / "data"

    def key(scopes: str) -> str:
        made = rag("keys", "create", "a", "--scopes", scopes, "--json", data=data)
        return str(json.loads(made.stdout)["key"])

    writes, reads = key("ask,read,write"), key("ask,read")
    on = {"RAG_GATEWAY__ENABLED": "true"}
    with serving(data, env=on, command=RAG) as server, server.client() as http:
        http.headers["Authorization"] = f"Bearer {writes}"
        submit(http, {"id": "depot", "title": "The depot", "text": TEXT})
        yield Gated(server, reads)


@pytest.fixture(params=["http", "streams"])
def transport(request: pytest.FixtureRequest, gated: Gated, tmp_path: Path) -> ClientTransport:
    from fastmcp.client.transports import StdioTransport, StreamableHttpTransport

    if request.param == "http":
        headers = {"Authorization": f"Bearer {gated.key}"}
        return StreamableHttpTransport(f"{gated.server.url}/mcp", headers=headers)
    command, *before = RAG
    env = gated.environment(tmp_path)
    return StdioTransport(command, [*before, "mcp"], env=env, cwd=str(tmp_path), keep_alive=False)


@pytest.mark.anyio
async def test_fastmcp_finds_fetches_and_cites(transport: ClientTransport) -> None:
    from fastmcp import Client
    from fastmcp.exceptions import ToolError

    async with Client(transport, timeout=PATIENCE) as client:
        assert set(READING) <= {tool.name for tool in await client.list_tools()}
        found = await client.call_tool("search", {"query": QUESTION})
        [best] = found.structured_content["results"]
        fetched = await client.call_tool("fetch", {"id": best["id"]})
        assert fetched.structured_content["text"] == TEXT
        answer = (await client.call_tool("answer", {"query": QUESTION})).structured_content
        [cited, *_] = answer["citations"]
        assert TEXT[cited["start"] : cited["end"]] == cited["quote"]
        assert [each.name for each in await client.list_resources()] == ["default"]
        with pytest.raises(ToolError, match="limit: Extra inputs are not permitted"):
            await client.call_tool("search", {"query": QUESTION, "limit": 3})


@needs_node
@pytest.mark.parametrize("package", ["client", "sdk"])
@pytest.mark.parametrize("by", ["http", "streams"])
def test_clients_from_npm_find_fetch_and_cite(
    gated: Gated, tmp_path: Path, package: str, by: str
) -> None:
    target = [f"{gated.server.url}/mcp", gated.key] if by == "http" else ["--", *RAG, "mcp"]
    ran = subprocess.run(
        [str(NODE), ROOT / "tests" / "mcp_client.mjs", PACKAGES, package, *target],
        env=gated.environment(tmp_path),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    seen: Json = json.loads(ran.stdout)
    assert seen["tools"][: len(READING)] == READING
    for result in (seen["found"], seen["fetched"], seen["answer"]):
        [content] = result["content"]
        assert json.loads(content["text"]) == result["structuredContent"]
    assert seen["found"]["structuredContent"]["results"][0]["id"] == "default/depot"
    assert seen["fetched"]["structuredContent"]["text"] == TEXT
    [cited, *_] = seen["answer"]["structuredContent"]["citations"]
    assert TEXT[cited["start"] : cited["end"]] == cited["quote"]
    assert seen["wrong"]["isError"]
    assert "limit: Extra inputs are not permitted." in seen["wrong"]["content"][0]["text"]
    assert [each["name"] for each in seen["resources"]] == ["default"]
    assert [each["text"] for each in seen["contents"]] == [TEXT]
