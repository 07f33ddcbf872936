"""The keys, permissions, limits and the audit log of the REST API hold for `/mcp`, too."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import anyio
import httpx
import pytest
from mcp.client import Client
from mcp.shared.auth import ProtectedResourceMetadata
from mcp.shared.exceptions import MCPError

from rag.api.app import app_without_lifespan
from rag.api.deps import Running
from rag.settings.tree import load_settings
from tests.mcp_clients import MODES, Json, by_http, called, refused
from tests.servers import NO_CERTIFICATES, PATIENCE, Server, rag, serving, submit

pytestmark = pytest.mark.anyio
AGENTS = 32
TEXT = "The depot opens at seven. On Fridays it closes at four."
QUESTION = "When does the depot close on Fridays?"
LIMITS = {"requests": 6, "requests_burst": 6, "at_once": 100}
ENVIRONMENT = {
    "RAG_GATEWAY__ENABLED": "true",
    "RAG_GATEWAY__LIMITS__TIERS": json.dumps({"few": LIMITS}),
}


def created(data: Path, *arguments: str) -> Json:
    made = rag("keys", "create", "test", *arguments, "--json", data=data)
    assert made.returncode == 0, made.stderr
    key: Json = json.loads(made.stdout)
    return key


@dataclass(frozen=True, slots=True)
class Gated:
    """A server that asks for keys, and keys by what they may do."""

    server: Server
    data: Path
    keys: dict[str, str]
    ids: dict[str, str]

    def client(self, key: str) -> httpx.Client:
        headers = {"Authorization": f"Bearer {self.keys[key]}"}
        return httpx.Client(
            base_url=self.server.url, headers=headers, timeout=PATIENCE, verify=NO_CERTIFICATES
        )


@pytest.fixture(scope="module")
def gated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gated]:
    data = tmp_path_factory.mktemp("mcp") / "data"
    made = {
        "admin": created(data, "--scopes", "admin,ask,read,write"),
        "rival": created(data, "--scopes", "ask,read", "--tenant", "rival"),
        "few": created(data, "--scopes", "ask,read"),
    }
    reading = ["ask", "read"]
    further: dict[str, Json] = {
        "asks": {"scopes": ["ask"]},
        "reads": {"scopes": reading, "subject": "anna"},
        "bound": {"scopes": reading, "collections": ["own"]},
    }
    limited = {"RAG_GATEWAY__LIMITS__KEYS": json.dumps({made["few"]["id"]: "few"})}
    admin = {"Authorization": f"Bearer {made['admin']['key']}"}
    with (
        serving(data, env=ENVIRONMENT | limited) as running,
        httpx.Client(base_url=running.url, headers=admin, timeout=PATIENCE) as http,
    ):
        for name, grant in further.items():
            made[name] = http.post("/v1/keys", json=grant | {"name": name}).json()
        secret = {"id": "secret", "text": "The safe opens at nine.", "acl": {"users": ["bert"]}}
        submit(http, {"id": "depot", "text": TEXT}, secret)
        keys = {name: key["key"] for name, key in made.items()}
        yield Gated(running, data, keys, {name: key["id"] for name, key in made.items()})


async def names(client: Client) -> list[str]:
    return [tool.name for tool in (await client.list_tools()).tools]


@pytest.mark.parametrize("version", MODES)
async def test_a_key_has_the_tools_that_it_may_use(gated: Gated, version: str) -> None:
    url = gated.server.url
    async with by_http(url, gated.keys["asks"], version=version) as client:
        assert await names(client) == ["search", "answer"]
        said = await refused(client, "fetch", id="default/depot")
        assert said.startswith("This needs the scope 'read', which the key does not have.")
    async with by_http(url, gated.keys["reads"], version=version) as client:
        assert await names(client) == ["search", "fetch", "answer", "list_collections"]
        said = await refused(client, "ingest", documents=[{"text": "more"}])
        assert "the scope 'write'" in said


@pytest.mark.parametrize("version", MODES)
async def test_nobody_reads_what_belongs_to_others(gated: Gated, version: str) -> None:
    url = gated.server.url
    async with by_http(url, gated.keys["rival"], version=version) as client:
        assert (await called(client, "list_collections"))["collections"] == []
        assert "There is no" in await refused(client, "fetch", id="default/depot")
        with pytest.raises(MCPError, match="There is no"):
            await client.read_resource("plumbline://documents/default/depot")
    async with by_http(url, gated.keys["bound"], version=version) as client:
        assert "'default'" in await refused(client, "search", query=QUESTION)
    async with by_http(url, gated.keys["reads"], version=version) as client:
        found = await called(client, "search", query="When does the safe open?")
        assert "default/secret" not in [each["id"] for each in found["results"]]
        assert "'secret'" in await refused(client, "fetch", id="default/secret")


@pytest.mark.parametrize("version", MODES)
async def test_without_a_valid_key_a_sentence_says_so(gated: Gated, version: str) -> None:
    with gated.client("admin") as http:
        body = {"name": "brief", "scopes": ["ask"], "expires_in": 1}
        expired = http.post("/v1/keys", json=body).json()["key"]
    await anyio.sleep(1.1)
    told = pytest.RaisesExc(MCPError, match="No valid API key or token came with this request")
    for key in (None, "pl_wrong", expired):
        with pytest.RaisesGroup(told, flatten_subgroups=True):
            async with by_http(gated.server.url, key, version=version):
                pass


async def test_a_key_that_ends_amid_a_connection_is_told(gated: Gated) -> None:
    with gated.client("admin") as http:
        made = http.post("/v1/keys", json={"name": "brief", "scopes": ["ask"]}).json()
        async with by_http(gated.server.url, made["key"]) as client:
            await called(client, "search", query=QUESTION)
            http.delete(f"/v1/keys/{made['id']}")
            with pytest.raises(MCPError, match="No valid API key or token"):
                await client.call_tool("search", {"query": QUESTION})


async def test_calls_are_charged_once_and_messages_are_not(gated: Gated) -> None:
    async with by_http(gated.server.url, gated.keys["few"]) as client:
        for _ in range(2 * LIMITS["requests"]):
            await client.session.list_tools()
        for _ in range(LIMITS["requests"]):
            await called(client, "search", query=QUESTION)
        said = await refused(client, "search", query=QUESTION)
    assert "(rate_limited; try again in " in said


async def test_what_agents_do_is_in_the_audit_log(gated: Gated) -> None:
    async with by_http(gated.server.url, gated.keys["reads"]) as client:
        await called(client, "fetch", id="default/depot")
        await refused(client, "ingest", documents=[{"text": "more"}])
    exported = rag("audit", "export", "--json", data=gated.data)
    lines = [line for line in exported.stdout.splitlines() if gated.ids["reads"] in line]
    denied = [line for line in lines if "document.ingest" in line]
    read = [line for line in lines if "document.read" in line]
    assert denied
    assert read
    for line in denied + read:
        assert "127.0.0.1" in line
        assert '"anna"' in line


@pytest.mark.parametrize("version", MODES)
async def test_many_agents_at_once_are_served(gated: Gated, version: str) -> None:
    answered = 0

    async def agent(number: int) -> None:
        nonlocal answered
        async with by_http(gated.server.url, gated.keys["reads"], version=version) as client:
            for turn in range(4):
                found = await called(client, "search", query=f"{QUESTION} {number} {turn}")
                assert found["results"][0]["id"] == "default/depot"
                answered += 1

    async with anyio.create_task_group() as agents:
        for number in range(AGENTS):
            agents.start_soon(agent, number)
    assert answered == 4 * AGENTS


async def test_with_issuers_clients_learn_where_tokens_come_from() -> None:
    issuer = {
        "url": "https://id.example",
        "audiences": ["https://rag.example/mcp"],
        "scopes": {"docs.read": ["ask", "read"]},
    }
    settings = load_settings(
        gateway={"enabled": True, "issuers": [issuer]},
        server={"public_url": "https://rag.example/"},
    )
    app = app_without_lifespan(settings, Running())
    metadata = "https://rag.example/.well-known/oauth-protected-resource/mcp"
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="https://rag.example") as http:
        found = ProtectedResourceMetadata.model_validate((await http.get(metadata)).json())
        assert str(found.resource) == "https://rag.example/mcp"
        assert [str(each).rstrip("/") for each in found.authorization_servers] == [issuer["url"]]
        assert found.scopes_supported == ["docs.read"]


def test_a_refusal_leads_to_the_metadata(tmp_path: Path) -> None:
    issuer = json.dumps([{"url": "https://id.example", "audiences": ["plumbline"]}])
    env = {"RAG_GATEWAY__ENABLED": "true", "RAG_GATEWAY__ISSUERS": issuer}
    with serving(tmp_path / "data", env=env) as server:
        refusal = httpx.post(f"{server.url}/mcp", json={})
        assert refusal.status_code == 401
        where = f"{server.url}/.well-known/oauth-protected-resource/mcp"
        assert refusal.headers["WWW-Authenticate"] == f'Bearer resource_metadata="{where}"'
        assert httpx.get(where).json()["resource"] == f"{server.url}/mcp"
        elsewhere = httpx.get(f"{server.url}/v1/collections")
        assert elsewhere.headers["WWW-Authenticate"] == "Bearer"
