"""A server with the gateway: keys from the host, every kind of client, TLS, proxies."""

from __future__ import annotations

import contextlib
import json
import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest

from tests.certificates import certificate_for_loopback
from tests.servers import (
    NO_CERTIFICATES,
    PATIENCE,
    Json,
    Server,
    contents,
    launched,
    rag,
    serving,
    submit,
    wait_for,
)

ON = {"RAG_GATEWAY__ENABLED": "true", "RAG_LOG__FORMAT": "json"}
TEXT = "The depot opens at seven. On Fridays it closes at four."
QUESTION = "When does the depot close on Fridays?"


def created(data: Path, *arguments: str) -> Json:
    """Returns a key that was made on the host."""
    made = rag("keys", "create", "test", *arguments, "--json", data=data)
    assert made.returncode == 0, made.stderr
    key: Json = json.loads(made.stdout)
    return key


def client(server: Server, key: str) -> httpx.Client:
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.Client(
        base_url=server.url, headers=headers, timeout=PATIENCE, verify=NO_CERTIFICATES
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gateway") / "data"


@pytest.fixture(scope="module")
def keys(data: Path) -> dict[str, str]:
    """Keys by their names, the first of them made before there is a server."""
    every = ("--scopes", "ask,read,write,admin,metrics")
    return {
        "acme": created(data, *every, "--tenant", "acme")["key"],
        "rival": created(data, *every, "--tenant", "rival")["key"],
        "ask": created(data, "--scopes", "ask", "--tenant", "acme")["key"],
        "metrics": created(data, "--scopes", "metrics", "--tenant", "acme")["key"],
        "bound": created(
            data, "--scopes", "ask,read,write", "--tenant", "acme", "--collections", "own"
        )["key"],
    }


@pytest.fixture(scope="module")
def server(data: Path, keys: dict[str, str]) -> Iterator[Server]:
    with serving(data, env=ON) as running:
        with client(running, keys["acme"]) as http:
            submit(http, {"id": "depot", "text": TEXT}, collection="docs")
        with client(running, keys["rival"]) as http:
            submit(http, {"id": "depot", "text": "The depot is closed."}, collection="docs")
        yield running


def test_each_tenant_asks_its_own_documents(server: Server, keys: dict[str, str]) -> None:
    for tenant, quote in (("acme", "closes at four"), ("rival", "depot is closed")):
        with client(server, keys[tenant]) as http:
            found = http.post("/v1/search", json={"query": QUESTION, "collection": "docs"}).json()
            [hit] = found["hits"]
            assert quote in hit["text"]
            assert contents(http, "docs").keys() == {"depot"}


def test_a_key_with_one_scope_does_nothing_else(server: Server, keys: dict[str, str]) -> None:
    with client(server, keys["ask"]) as http:
        asked = http.post("/v1/query", json={"query": QUESTION, "collection": "docs"})
        assert asked.status_code == 200
        for method, path in (
            ("GET", "/v1/collections"),
            ("DELETE", "/v1/documents/depot?collection=docs"),
            ("POST", "/v1/documents"),
            ("GET", "/metrics"),
            ("GET", "/v1/keys"),
        ):
            assert http.request(method, path).status_code == 403, path
    with client(server, keys["metrics"]) as http:
        assert "plumbline_" in http.get("/metrics").text
        assert http.get("/v1/models").status_code == 403


def test_a_collection_beyond_the_key_cannot_be_reached_by_any_route(
    server: Server, keys: dict[str, str]
) -> None:
    asked: list[tuple[str, str, Json]] = [
        ("POST", "/v1/search", {"query": QUESTION, "collection": "{}"}),
        ("POST", "/v1/query", {"query": QUESTION, "collection": "{}"}),
        ("POST", "/v1/query", {"query": QUESTION, "collection": "{}", "stream": True}),
        ("POST", "/v1/documents", {"collection": "{}", "documents": [{"id": "x", "text": "y"}]}),
        ("POST", "/v1/chat/completions", {
            "model": "{}", "messages": [{"role": "user", "content": QUESTION}]}),
        ("POST", "/v1/embeddings", {"model": "{}", "input": "x"}),
        ("POST", "/v1/rerank", {"model": "{}", "query": "x", "documents": ["y"]}),
        ("POST", "/v2/rerank", {"model": "{}", "query": "x", "documents": ["y"]}),
        ("POST", "/rerank?collection={}", {"query": "x", "texts": ["y"]}),
        ("POST", "/embed?collection={}", {"inputs": "x"}),
        ("POST", "/retrieval", {"knowledge_id": "{}", "query": "x"}),
        ("POST", "/websearch?collection={}", {"query": "x"}),
        ("POST", "/api/chat", {
            "model": "{}", "messages": [{"role": "user", "content": QUESTION}]}),
        ("GET", "/v1/models/{}", {}),
        ("GET", "/v1/documents?collection={}", {}),
        ("GET", "/v1/documents/depot?collection={}", {}),
        ("GET", "/v1/documents/depot/content?collection={}", {}),
        ("GET", "/v1/documents/depot/chunks?collection={}", {}),
        ("DELETE", "/v1/documents/depot?collection={}", {}),
    ]  # fmt: skip
    with client(server, keys["bound"]) as http:
        http.headers["X-Request-ID"] = "1"
        for method, path, body in asked:
            seen = []
            for name in ("docs", "gone"):
                sent = json.dumps(body).replace("{}", name)
                found = http.request(
                    method,
                    path.replace("{}", name),
                    content=sent if body else None,
                    headers={"Content-Type": "application/json"},
                )
                headers = {k: v for k, v in found.headers.items() if k != "date"}
                seen.append((found.status_code, headers, found.text.replace(name, "gone")))
            assert seen[0] == seen[1], (method, path)
            assert seen[0][0] == 404, (method, path)
    with client(server, keys["acme"]) as http:
        assert contents(http, "docs").keys() == {"depot"}
        names = {each["name"] for each in http.get("/v1/collections").json()["collections"]}
        assert "gone" not in names


def test_documents_for_a_collection_beyond_the_key_leave_no_bytes(
    server: Server, keys: dict[str, str], data: Path
) -> None:
    spool = data / "spool"
    before = {file.name for file in spool.rglob("*") if file.is_file()}
    with client(server, keys["bound"]) as http:
        large = {"id": "x", "text": "word " * 600_000}
        sent = {"collection": "docs", "documents": [large]}
        assert http.post("/v1/documents", json=sent).status_code == 404
        form = {"files": ("x.txt", b"word")}
        assert (
            http.post("/v1/documents", data={"collection": "docs"}, files=form).status_code == 404
        )
    assert {file.name for file in spool.rglob("*") if file.is_file()} == before


def test_jobs_and_answers_of_a_collection_beyond_the_key_are_unknown(
    server: Server, keys: dict[str, str]
) -> None:
    with client(server, keys["acme"]) as http:
        job = submit(http, {"id": "depot", "text": TEXT}, collection="docs")["id"]
        asked = http.post("/v1/query", json={"query": QUESTION, "collection": "docs"}).json()
    with client(server, keys["bound"]) as http:
        for method, path in (
            ("GET", f"/v1/jobs/{job}"),
            ("DELETE", f"/v1/jobs/{job}"),
            ("POST", f"/v1/jobs/{job}/retry"),
        ):
            assert http.request(method, path).json()["code"] == "unknown_job", path
        feedback = {"answer_id": asked["answer_id"], "rating": "up"}
        assert http.post("/v1/feedback", json=feedback).json()["code"] == "unknown_answer"
    with client(server, keys["acme"]) as http:
        assert http.post("/v1/feedback", json=feedback).status_code == 204


def test_openais_client_sends_the_key(server: Server, keys: dict[str, str]) -> None:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=keys["ask"]) as good:
        completion = good.chat.completions.create(
            model="docs", messages=[{"role": "user", "content": QUESTION}]
        )
        assert "four" in (completion.choices[0].message.content or "")
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="sk-wrong") as wrong:
        with pytest.raises(openai.AuthenticationError, match="No valid API key") as caught:
            wrong.models.list()
        assert caught.value.code == "unauthenticated"
    with (
        openai.OpenAI(base_url=f"{server.url}/v1", api_key=keys["metrics"]) as other,
        pytest.raises(openai.PermissionDeniedError, match="'ask'"),
    ):
        other.models.list()


def test_the_command_line_sends_the_key_of_the_environment(
    server: Server, keys: dict[str, str], data: Path, tmp_path: Path
) -> None:
    (tmp_path / "note.txt").write_text("The archive is in the cellar.")
    at = {"RAG_URL": server.url}
    without = rag("status", data=data, env=at)
    assert (without.returncode, "No valid API key" in without.stderr) == (2, True)
    at |= {"RAG_API_KEY": keys["acme"]}
    done = rag("ingest", tmp_path / "note.txt", "--collection", "cli", data=data, env=at)
    assert done.returncode == 0, done.stderr
    asked = rag("query", "Where is the archive?", "--collection", "cli", data=data, env=at)
    assert "cellar" in asked.stdout, asked.stderr
    listed = rag("keys", "list", "--json", data=data, env=at)
    assert {key["tenant"] for key in json.loads(listed.stdout)["keys"]} == {"acme"}
    both = rag("status", "--tenant", "rival", data=data, env=at)
    assert (both.returncode, "the key has its tenant" in both.stderr) == (2, True)
    blank = rag("status", data=data, env=at | {"RAG_API_KEY": "a b"})
    assert (blank.returncode, "RAG_API_KEY" in blank.stderr, "a b" in blank.stderr) == (
        2,
        True,
        False,
    )


def test_a_key_is_made_and_revoked_on_the_host_while_the_server_runs(
    server: Server, data: Path
) -> None:
    made = created(data, "--scopes", "ask")
    with client(server, made["key"]) as http:
        assert http.get("/v1/models").status_code == 200
        assert rag("keys", "revoke", made["id"], data=data).returncode == 0
        wait_for(lambda: http.get("/v1/models").status_code == 401)
    assert rag("keys", "rotate", made["id"], data=data).returncode == 2


def test_a_key_is_revoked_at_once_by_the_server(server: Server, keys: dict[str, str]) -> None:
    with client(server, keys["acme"]) as http:
        made = http.post("/v1/keys", json={"name": "x", "scopes": ["ask"]}).json()
        with client(server, made["key"]) as other:
            assert other.get("/v1/models").status_code == 200
            assert http.delete(f"/v1/keys/{made['id']}").status_code == 200
            assert other.get("/v1/models").status_code == 401


def test_no_key_is_in_the_log_or_in_the_data_folder(
    server: Server, keys: dict[str, str], data: Path
) -> None:
    with client(server, keys["acme"] + "0") as http:
        assert http.get("/v1/models").status_code == 401
    held = b"".join(file.read_bytes() for file in data.rglob("*") if file.is_file())
    log = server.log.read_bytes()
    assert b'"tenant": "acme"' in log
    for key in keys.values():
        secret = key.rpartition("_")[2].encode()
        assert secret not in held
        assert secret not in log


def test_the_host_works_on_the_data_of_any_tenant(tmp_path: Path) -> None:
    data, note = tmp_path / "data", tmp_path / "note.txt"
    note.write_text("The archive is in the cellar.")
    done = rag("ingest", note, "--tenant", "acme", data=data, env=ON)
    assert done.returncode == 0, done.stderr
    for tenant, found in (("acme", True), ("rival", False), (None, False)):
        options = ["--tenant", tenant] if tenant else []
        asked = rag("search", "archive", *options, data=data)
        assert ("cellar" in asked.stdout) is found, (tenant, asked.stderr)
    wrong = rag("status", "--tenant", "../acme", data=data)
    assert (wrong.returncode, "--tenant" in wrong.stderr) == (2, True)


# Before it serves


def test_a_service_beyond_loopback_needs_the_gateway_or_a_setting_that_insists(
    tmp_path: Path,
) -> None:
    refused = rag("serve", "--host", "0.0.0.0", "--port", "0", data=tmp_path / "data")
    assert refused.returncode == 2
    for name in ("gateway.enabled", "rag keys create", "server.allow_unauthenticated"):
        assert name in refused.stderr
    for env in (ON, {"RAG_SERVER__ALLOW_UNAUTHENTICATED": "true"}):
        with launched(tmp_path / "data", env=env | {"RAG_SERVER__HOST": "0.0.0.0"}) as server:
            warns = "asks nobody who they are" in server.log.read_text()
            says = "callers need no key" in server.log.read_text()
        assert warns is says is (env is not ON)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return certificate_for_loopback(tmp_path_factory.mktemp("tls"))


def test_tls(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    cert, key = certificate
    env = {"RAG_SERVER__TLS_CERT": str(cert), "RAG_SERVER__TLS_KEY": str(key)}
    trusting = ssl.create_default_context(cafile=str(cert))
    with launched(tmp_path / "data", env=env) as server:
        assert server.url.startswith("https://127.0.0.1:")
        with httpx.Client(base_url=server.url, verify=trusting, timeout=PATIENCE) as http:

            def ready() -> bool:
                with contextlib.suppress(httpx.ConnectError):
                    return http.get("/readyz").status_code == 200
                return False

            wait_for(ready)
            submit(http, {"id": "depot", "text": TEXT})
            large = http.post("/v1/documents", content=b"x" * 3_000_000)
            assert large.status_code == 422
            with http.stream("POST", "/v1/query", json={"query": QUESTION, "stream": True}) as sent:
                assert "event: answer" in sent.read().decode()
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.get(server.url.replace("https", "http") + "/healthz")
        with pytest.raises(httpx.ConnectError, match="self-signed"):
            httpx.get(f"{server.url}/healthz")

        certificate_for_loopback(cert.parent)  # renewed: its files are others now
        renewed = ssl.create_default_context(cafile=str(cert))

        def is_renewed() -> bool:
            with contextlib.suppress(httpx.ConnectError):
                return httpx.get(f"{server.url}/healthz", verify=renewed).is_success
            return False

        wait_for(is_renewed, pause=1)


def test_a_certificate_that_cannot_be_used_stops_the_start(
    tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    cert, key = certificate
    locked = key.with_name("locked.pem")
    for pair in ((cert, cert), (cert, locked), (cert, tmp_path / "none"), (key, key)):
        env = {"RAG_SERVER__TLS_CERT": str(pair[0]), "RAG_SERVER__TLS_KEY": str(pair[1])}
        refused = rag("serve", "--port", "0", data=tmp_path / "data", env=env)
        assert (refused.returncode, "server.tls_key" in refused.stderr) == (2, True), pair
        assert "PRIVATE KEY" not in refused.stderr
    alone = rag("serve", data=tmp_path / "data", env={"RAG_SERVER__TLS_CERT": str(cert)})
    assert (alone.returncode, "set both, or neither" in alone.stderr) == (2, True)


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded"])
@pytest.mark.parametrize("trusted", [[], ["127.0.0.1"], ["127.0.0.0/8"]])
def test_the_address_of_a_caller_is_taken_from_trusted_proxies_alone(
    tmp_path: Path, trusted: list[str], header: str
) -> None:
    """Each caller behind a trusted proxy has failures of its own; a header alone gives none."""
    env = ON | {
        "RAG_SERVER__TRUSTED_PROXIES": json.dumps(trusted),
        "RAG_SERVER__PROXY_HEADER": header.lower(),
        "RAG_GATEWAY__FAILED_PER_MINUTE": "2",
    }
    with serving(tmp_path / "data", env=env) as server, server.client() as http:

        def status(*callers: str) -> int:
            before = "for=" if header == "Forwarded" else ""
            value = ", ".join(f"{before}{caller}" for caller in callers)
            headers = {header: value, "Authorization": "Bearer wrong"}
            return http.get("/v1/models", headers=headers).status_code

        assert [status("203.0.113.1") for _ in range(2)] == [401, 401]
        assert status("203.0.113.1") == 429
        # The rightmost address that is no proxy counts: a caller may have sent the others.
        assert status("203.0.113.9", "203.0.113.1") == 429
        assert status("203.0.113.2") == (401 if trusted else 429)
