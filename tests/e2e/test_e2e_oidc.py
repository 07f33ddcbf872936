"""Tokens of a real OpenID provider, at a real server."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from anyio import to_thread

from rag.settings.tree import load_settings
from tests.mcp_clients import by_http, called, refused
from tests.oidc_provider import Provider, free_url, needs_provider, oidc_provider
from tests.postgres import PostgresServer
from tests.qdrant_grpc import grpc_port
from tests.servers import RAG, Server, all_documents, rag, serving, submit, wait_for
from tests.tokens import KEYS, assembled, checking_tokens, new_key

pytestmark = needs_provider
SCOPES = {"reader": ["ask", "read"], "writer": ["read", "write"]}


def environment(url: str, **changes: Any) -> dict[str, str]:
    issuer = {
        "url": url,
        "audiences": ["plumbline", "browser"],
        "tenant_claim": "org.tenant",
        "scopes_claims": ["org.roles"],
        "scopes": SCOPES,
    }
    return {
        "RAG_GATEWAY__ENABLED": "true",
        "RAG_GATEWAY__ISSUERS": json.dumps([issuer | changes]),
        "RAG_GATEWAY__FAILED_PER_MINUTE": "1000",
        "RAG_GATEWAY__CLOCK_SKEW_SECONDS": "0",
    }


@dataclass(frozen=True, slots=True)
class Running:
    server: Server
    provider: Provider

    def client(self, token: str) -> httpx.Client:
        http = self.server.client()
        http.headers["Authorization"] = f"Bearer {token}"
        return http

    def get(self, token: str) -> httpx.Response:
        """Returns the answer to a request that needs the scope `read`."""
        with self.client(token) as http:
            return http.get("/v1/collections")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder, url = tmp_path_factory.mktemp("oidc"), free_url()
    with (
        oidc_provider(folder / "provider", KEYS["RS256"], "one", "RS256", url) as provider,
        serving(folder / "data", env=environment(url)) as server,
    ):
        yield Running(server, provider)


def test_a_program_writes_and_a_user_asks(running: Running) -> None:
    program = running.client(running.provider.of_program())
    user = running.client(running.provider.of_user("jo")["access_token"])
    with program, user:
        document = {"id": "a", "text": "The plumb line of the north wall is 4.2 metres long."}
        assert submit(program, document)["state"] == "succeeded"
        question = {"query": "How long is the plumb line of the north wall?"}
        assert "4.2 metres" in user.post("/v1/query", json=question).json()["answer"]

        assert program.post("/v1/query", json=question).status_code == 403
        assert user.post("/v1/documents", json={"documents": [document]}).status_code == 403
        assert program.get("/v1/keys").status_code == 403
        assert [each["id"] for each in all_documents(program)] == ["a"]

    data = running.server.log.with_suffix("")
    made = rag("keys", "create", "n", "--scopes=read", "--tenant=rival", "--json", data=data)
    assert made.returncode == 0, made.stderr
    with running.client(json.loads(made.stdout)["key"]) as rival:
        assert rival.get("/v1/collections").json()["collections"] == []


def test_an_id_token_is_its_users(running: Running) -> None:
    assert running.get(running.provider.of_user("jo")["id_token"]).status_code == 200


def test_every_refusal_is_the_same_but_expiry(running: Running) -> None:
    token = running.provider.of_program()
    parts = token.split(".")
    now = {"iss": running.provider.url, "aud": "plumbline", "sub": "eve", "exp": 4_000_000_000}
    header = {"alg": "RS256", "kid": "one"}
    forged = [
        "x",
        "pl_none",
        ".".join([*parts[:2], ""]),
        ".".join([*parts[:2], parts[2][::-1]]),
        assembled(header, now, new_key("RSA", 2048), "RS256"),
        assembled(header | {"kid": "two"}, now, KEYS["RS256"], "RS256"),
        assembled(header, now | {"aud": "other"}, KEYS["RS256"], "RS256"),
        assembled(header, now | {"org": {"tenant": "../x"}}, KEYS["RS256"], "RS256"),
    ]
    answers = [running.get(each) for each in forged]
    bodies = [each.json() for each in answers]
    for body in bodies:
        body.pop("request_id", None)
        body.pop("instance", None)
    assert bodies == [bodies[0]] * len(forged)
    assert {each.status_code for each in answers} == {401}
    assert {each.headers["www-authenticate"] for each in answers} == {"Bearer"}
    assert bodies[0]["code"] == "unauthenticated"

    expired = running.get(assembled(header, now | {"exp": 1}, KEYS["RS256"], "RS256"))
    assert (expired.status_code, expired.json()["code"]) == (401, "token_expired")
    with running.client("x.y.z") as http:
        openai = http.post("/v1/chat/completions", json={})
    assert (openai.status_code, openai.json()["error"]["code"]) == (401, "unauthenticated")


def test_tokens_are_refused_on_the_host_while_the_server_runs(running: Running) -> None:
    data = running.server.log.with_suffix("")

    def tokens(*task: str, command: Sequence[str] = ()) -> str:
        ran = rag("tokens", task[0], "--tenant", "acme", *task[1:], data=data, command=command)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    def statuses(*tokens: str) -> set[int]:
        return {running.get(token).status_code for token in tokens}

    ann, lost = running.provider.of_user("ann"), running.provider.of_user("bob")["access_token"]
    both = ann["access_token"], ann["id_token"]
    payload = lost.split(".")[1]
    id_ = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["jti"]
    assert statuses(*both, lost) == {200}
    said = tokens("refuse", "subject", "ann", command=RAG)
    said += tokens("refuse", "token", "--expires", "12h", "--", id_)
    wait_for(lambda: statuses(*both, lost) == {401}, pause=1)
    assert tokens("list") == said
    assert running.get(lost).json()["code"] == "unauthenticated"
    assert statuses(running.provider.of_user("bob")["access_token"]) == {200}
    wait_for(lambda: statuses(running.provider.of_user("ann")["access_token"]) == {200}, pause=1)

    assert "acme no longer refuses token" in tokens("allow", "token", "--", id_)
    tokens("allow", "subject", "ann")
    assert tokens("list") == "No token is refused.\n"
    wait_for(lambda: statuses(*both, lost) == {200}, pause=1)


@pytest.mark.anyio
async def test_a_refusal_at_one_server_holds_at_another(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    """Two API processes with one catalog on PostgreSQL and one index."""
    url = free_url()
    provided = oidc_provider(tmp_path / "provider", KEYS["RS256"], "one", "RS256", url)
    async with grpc_port() as port:
        with contextlib.ExitStack() as stack:
            provider = await to_thread.run_sync(stack.enter_context, provided)
            env = environment(url) | {
                "RAG_INDEX__KIND": "qdrant",
                "RAG_INDEX__URL": f"http://127.0.0.1:{port}",
                "RAG_INDEX__GRPC_PORT": str(port),
                "RAG_CATALOG__KIND": "postgres",
                "RAG_CATALOG__URL": postgres.new_database(),
            }
            await to_thread.run_sync(_refuse_and_allow, tmp_path, provider, env, stack)


def _refuse_and_allow(
    folder: Path, provider: Provider, env: dict[str, str], stack: contextlib.ExitStack
) -> None:
    one, other = (
        Running(stack.enter_context(serving(folder / name, env=env)), provider)
        for name in ("one", "other")
    )
    create = ("keys", "create", "host", "--scopes=admin", "--tenant=acme", "--json")
    made = rag(*create, data=folder / "one", env=env)
    assert made.returncode == 0, made.stderr
    key = json.loads(made.stdout)["key"]
    token, refusal = provider.of_user("ann")["access_token"], {"kind": "subject", "value": "ann"}
    assert (one.get(token).status_code, other.get(token).status_code) == (200, 200)
    with one.client(key) as admin:
        assert admin.post("/v1/tokens/refused", json=refusal).status_code == 201
    assert one.get(token).status_code == 401
    wait_for(lambda: other.get(token).status_code == 401, pause=1)
    with other.client(key) as admin:
        assert admin.delete("/v1/tokens/refused", params=refusal).is_success
    assert other.get(token).status_code == 200
    wait_for(lambda: one.get(token).status_code == 200, pause=1)


@pytest.mark.parametrize("algorithm", ["PS256", "ES256", "EdDSA"])
def test_the_provider_signs_with_other_algorithms(tmp_path: Path, algorithm: str) -> None:
    url = free_url()
    with oidc_provider(tmp_path, KEYS[algorithm], "one", algorithm, url) as provider:
        issuer = json.loads(environment(url)["RAG_GATEWAY__ISSUERS"])
        settings = load_settings(gateway={"issuers": issuer}).gateway
        tokens = [provider.of_program(), provider.of_user("jo")["id_token"]]

        async def subjects() -> list[str]:
            async with checking_tokens(settings) as check:
                return [(await check.authenticate(token)).subject for token in tokens]

        assert anyio.run(subjects) == ["crawler", "jo"]


def test_keys_are_rotated_and_the_provider_goes_away(tmp_path: Path) -> None:
    url = free_url()
    with serving(tmp_path / "data", env=environment(url)) as server:

        def status(token: str) -> int:
            response = Running(server, Provider(url)).get(token)
            if response.status_code == 503:
                assert response.json()["code"] == "issuer_unavailable"
                assert response.headers["retry-after"] == "10"
            return response.status_code

        with oidc_provider(tmp_path / "1", KEYS["RS256"], "one", "RS256", url) as provider:
            first = provider.of_program()
            assert status(first) == 200
        assert status(first) == 200  # the provider is away
        with oidc_provider(tmp_path / "2", KEYS["ES256"], "two", "ES256", url) as provider:
            second = provider.of_program()
            wait_for(lambda: status(second) == 200, pause=1)
            assert status(first) == 401  # its key is no longer published
        assert status(second) == 200


def test_a_server_starts_without_its_provider(tmp_path: Path) -> None:
    url = free_url()
    with serving(tmp_path / "data", env=environment(url)) as server:
        running = Running(server, Provider(url))
        token = assembled({"alg": "RS256", "kid": "one"}, {"iss": url}, KEYS["RS256"], "RS256")
        for _ in range(2):
            refused = running.get(token)
            assert (refused.status_code, refused.json()["code"]) == (503, "issuer_unavailable")
            assert url not in refused.text
        with server.client() as http:
            assert http.get("/healthz").is_success
        assert running.get("x.y.z").status_code == 401
    assert "cannot be fetched" in server.log.read_text()


@pytest.mark.anyio
async def test_an_agent_acts_for_the_user_whose_token_it_has(running: Running) -> None:
    with running.client(running.provider.of_program()) as program:
        submit(program, {"id": "mcp", "text": "The plumb line of the south wall is 3.1 metres."})
    token = running.provider.of_user("jo")["access_token"]
    async with by_http(running.server.url, token) as client:
        found = await called(client, "search", query="How long is the south wall's plumb line?")
        assert "default/mcp" in [each["id"] for each in found["results"]]
        assert "the scope 'write'" in await refused(client, "ingest", documents=[{"text": "x"}])


def test_clients_of_mcp_are_told_the_issuer(running: Running) -> None:
    metadata = httpx.get(f"{running.server.url}/.well-known/oauth-protected-resource/mcp").json()
    assert metadata["authorization_servers"] == [running.provider.url]
    assert "scopes_supported" not in metadata  # the roles of `org.roles` are no scopes of OAuth
