"""A real server, and requests as browsers send them for pages of other origins."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest

from rag.errors import ConfigError
from rag.settings.tree import load_settings
from tests.pressure import connected, replied
from tests.servers import Json, Server, launched, serving, wait_for

FILES = {"files": ("planted.txt", b"The office closes at noon.", "text/plain")}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    env = {
        "RAG_SERVER__ALLOWED_HOSTS": '["rag.example", "*.internal.example"]',
        "RAG_SERVER__ALLOWED_ORIGINS": '["https://front.example"]',
    }
    with serving(tmp_path_factory.mktemp("browsers") / "data", env=env) as made:
        yield made


@pytest.fixture
def http(server: Server) -> Iterator[httpx.Client]:
    with server.client() as made:
        yield made


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:1",
        "127.0.0.1:65535",
        "[::1]:8000",
        "[0:0::1]",
        "rag.example:443",
        "a.b.internal.example",
    ],
)
def test_own_names_are_served(http: httpx.Client, host: str) -> None:
    assert http.get("/healthz", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "evil.example:8000",
        "internal.example",
        "evilinternal.example",
        "192.0.2.1",
        "[2001:db8::1]",
        "localhost:8000:1",
        "localhost@evil.example",
        "",
    ],
)
@pytest.mark.parametrize("path", ["/healthz", "/v1/documents", "/docs", "/nowhere"])
def test_a_foreign_host_reads_nothing(http: httpx.Client, host: str, path: str) -> None:
    refused = http.get(path, headers={"Host": host})
    assert refused.status_code == 421
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["code"] == "host_not_allowed"
    assert refused.json()["request_id"] == refused.headers["x-request-id"]


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n", b"421"),
        (b"GET /healthz HTTP/1.1\r\n", b"421"),
        (b"GET http://localhost/healthz HTTP/1.1\r\nHost: evil.example\r\n", b"421"),
        (b"GET /healthz HTTP/1.0\r\n", b"200"),  # a load balancer's check; browsers send 1.1
    ],
)
def test_there_is_one_host(server: Server, head: bytes, status: bytes) -> None:
    with connected(server) as client:
        client.sendall(head + b"Connection: close\r\n\r\n")
        assert replied(client).split()[1] == status


def test_openai_clients_read_their_own_errors(http: httpx.Client) -> None:
    error = http.get("/v1/models", headers={"Host": "x" * 5000}).json()["error"]
    assert error["code"] == "host_not_allowed"
    assert len(error["message"]) < 400


FOREIGN = [
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1.evil.example"},
    {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
    {"Origin": "http://127.0.0.1:1"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "cross-site"},
]


@pytest.mark.parametrize("headers", FOREIGN, ids=json.dumps)
def test_a_page_of_another_origin_changes_nothing(
    http: httpx.Client, headers: dict[str, str]
) -> None:
    collection = {"collection": "planted"}
    for refused in (
        http.post("/v1/documents", files=FILES, data=collection, headers=headers),
        http.post("/v1/jobs/0/retry", headers=headers),
        http.delete("/v1/documents/x", headers=headers),
        http.request("PATCH", "/v1/documents", headers=headers),
    ):
        assert refused.status_code == 403
        assert refused.json()["code"] == "origin_not_allowed"
    asked = http.post("/v1/chat/completions", json={}, headers=headers)
    assert asked.json()["error"]["code"] == "origin_not_allowed"
    assert "planted" not in http.get("/v1/collections").text


def test_pages_of_its_own_and_programs_may(server: Server, http: httpx.Client) -> None:
    for headers in (
        {},
        {"Origin": server.url},
        {"Origin": "https://127.0.0.1", "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "https://front.example", "Sec-Fetch-Site": "cross-site"},
    ):
        sent = http.post("/v1/documents", files=FILES, headers=headers)
        assert sent.status_code == 202, (headers, sent.text)
    assert http.get("/healthz", headers=FOREIGN[0]).status_code == 200


def test_the_browser_lets_an_allowed_page_read_and_no_other(http: httpx.Client) -> None:
    def preflight(origin: str) -> httpx.Response:
        asks = {
            "Origin": origin,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "content-type",
        }
        return http.options("/v1/query", headers=asks)

    allowed, refused = preflight("https://front.example"), preflight("https://evil.example")
    assert allowed.headers["access-control-allow-origin"] == "https://front.example"
    assert "access-control-allow-origin" not in refused.headers
    read = http.get("/v1/collections", headers={"Origin": "https://front.example"})
    assert read.headers["access-control-allow-origin"] == "https://front.example"
    assert "access-control-allow-credentials" not in read.headers


def test_a_service_beyond_loopback_says_so_and_knows_its_address(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    env = {
        "RAG_SERVER__HOST": "0.0.0.0",
        "RAG_SERVER__ALLOW_UNAUTHENTICATED": "true",
        "RAG_LOG__FORMAT": "json",
    }
    with launched(tmp_path_factory.mktemp("open") / "data", env=env) as server:
        port = server.url.rpartition(":")[2]
        # An address of this machine that is not an allowed host name.
        assert _status_at(f"http://127.0.0.2:{port}/healthz", host=f"127.0.0.2:{port}") == "200"
        assert _status_at(f"http://127.0.0.2:{port}/healthz", host="127.0.0.3") == "421"
        assert _status_at(f"http://127.0.0.1:{port}/healthz", host=f"0.0.0.0:{port}") == "200"

        def warning() -> Json | None:
            lines = [json.loads(x) for x in server.log.read_text().splitlines() if x[:1] == "{"]
            return next((x for x in lines if "beyond this machine" in x["message"]), None)

        assert wait_for(warning)["level"] == "WARNING"


def _status_at(url: str, *, host: str) -> str:
    """Returns the status, requested in another process: this one may only connect to 127.0.0.1."""
    ask = f"import httpx; print(httpx.get({url!r}, headers={{'Host': {host!r}}}).status_code)"
    asked = subprocess.run([sys.executable, "-c", ask], capture_output=True, check=True, text=True)
    return asked.stdout.strip()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ALLOWED_HOSTS", '["http://rag.example"]'),
        ("ALLOWED_HOSTS", '["rag.example:80"]'),
        ("ALLOWED_HOSTS", '["a*"]'),
        ("ALLOWED_ORIGINS", '["rag.example"]'),
        ("ALLOWED_ORIGINS", '["https://rag.example/"]'),
        ("ALLOWED_ORIGINS", '["*"]'),
    ],
)
def test_names_that_would_never_fit_are_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"RAG_SERVER__{name}", value)
    with pytest.raises(ConfigError, match=f"server.{name.lower()}"):
        load_settings()
