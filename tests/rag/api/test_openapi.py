"""The OpenAPI document, and schemathesis' checks that the service conforms to it."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from rag.api.app import app_without_lifespan
from rag.api.deps import MAX_WAIT_SECONDS, Running
from rag.build.storage import Storage
from rag.errors import BusyError, UpstreamError
from rag.settings.tree import Settings
from tests.e2e.test_e2e_stream import QUESTION, Failing
from tests.e2e.test_e2e_stream import serving as serving_pipeline
from tests.places import ROOT
from tests.postgres import PostgresServer
from tests.servers import Server, serving, submit

RULES = ROOT / "schemathesis.toml"
PROBLEM = "application/problem+json"
ASKED = {"role": "user", "content": "x"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("openapi") / "data") as running:
        with running.client() as http:
            submit(http, {"id": "handbook", "text": "A line has 79 characters.", "meta": {"a": 1}})
        yield running


def cases(server: Server, folder: Path, *options: str) -> int:
    """Runs schemathesis, checks that nothing failed, and returns the number of requests."""
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(RULES), "run"),
        *(f"{server.url}/openapi.json", *options),
        *("--suppress-health-check=all", "--generation-database=none", "--no-color"),
        "--request-timeout=90",
    ]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout[-20_000:] + ran.stderr
    found = re.search(r"(\d+) generated", ran.stdout)
    assert found, ran.stdout
    return int(found[1])


def test_the_service_keeps_what_its_document_says(server: Server, tmp_path: Path) -> None:
    assert cases(server, tmp_path, "--phases=examples,coverage", "--seed=17") > 500


@pytest.mark.attack
@pytest.mark.timeout(1800)
def test_the_service_keeps_what_its_document_says_ten_thousand_times(
    server: Server, tmp_path: Path
) -> None:
    made, seed = 0, 0
    while made < 10_000:
        seed += 1
        made += cases(server, tmp_path, "--max-examples=60", f"--seed={seed}")


def test_names_that_no_database_takes_name_nothing(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    env = {"RAG_CATALOG__KIND": "postgres", "RAG_CATALOG__URL": postgres.new_database()}
    asked = {"model": "a\0", "messages": [ASKED]}
    with serving(tmp_path / "data", env=env) as running, running.client() as http:
        submit(http, {"id": "handbook", "text": "A line has 79 characters."})
        for path in ("documents/%00", "documents/%00/chunks", "jobs/%00", "models/%00"):
            assert http.get(f"/v1/{path}").status_code == 404
        assert http.delete("/v1/documents/%00").status_code == 404
        assert http.post("/v1/chat/completions", json=asked).status_code == 404
        for query in ("uri_prefix=%00", "cursor=AAAA"):
            assert http.get(f"/v1/documents?{query}").status_code == 200


def document(**settings: Any) -> dict[str, Any]:
    return app_without_lifespan(Settings(**settings), Running()).openapi()


def test_problems_have_their_media_type_and_openai_s_routes_openai_s_shape() -> None:
    paths = document()["paths"]
    problem = paths["/v1/documents/{document_id}"]["get"]["responses"]["4XX"]["content"]
    assert problem == {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    openai = paths["/v1/chat/completions"]["post"]["responses"]["4XX"]["content"]
    assert openai["application/json"]["schema"]["$ref"].endswith("/OpenAIProblem")


def test_limits_in_force_are_told() -> None:
    schemas = document(limits={"top_k": 7})["components"]["schemas"]
    assert schemas["Retrieval"]["properties"]["top_k"]["maximum"] == 7
    assert schemas["ResponseFormat"]["properties"]["type"]["enum"] == ["text"]
    assert "x-" not in str(list(_names(schemas)))


def test_the_document_is_built_once_before_the_models_are_loaded_and_once_after() -> None:
    running = Running()
    app = app_without_lifespan(Settings(), running)
    before = app.openapi()
    assert app.openapi() is before
    running.opened = object.__new__(Storage)
    assert app.openapi() is not before
    assert app.openapi() is app.openapi()


def _names(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        yield from part
        for item in part.values():
            yield from _names(item)
    elif isinstance(part, list):
        for item in part:
            yield from _names(item)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/v1/documents", "GET, POST"),
        ("OPTIONS", "/v1/documents", "GET, POST"),
        ("POST", "/v1/documents/a/b", "DELETE, GET"),
        ("POST", "/v1/documents/a/chunks", "GET"),
        ("PATCH", "/v1/jobs/1", "DELETE, GET"),
        ("DELETE", "/v1/chat/completions", "POST"),
        ("TRACE", "/v1/query", "POST"),
    ],
)
@pytest.mark.anyio
async def test_allow_has_all_methods_of_a_path(method: str, path: str, allowed: str) -> None:
    transport = httpx.ASGITransport(app=app_without_lifespan(Settings(), Running()))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        response = await http.request(method, path)
    assert (response.status_code, response.headers["allow"]) == (405, allowed)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (BusyError("Full."), "1"),
        (UpstreamError("It is away."), "5"),
        (UpstreamError("Late.", code="deadline", retry_after=30.0), "30"),
        (UpstreamError("It is left alone.", retry_after=12.2), "13"),
        (UpstreamError("It is back any moment.", retry_after=0.0), "1"),
    ],
)
def test_retry_after_follows_the_cause(error: UpstreamError, told: str) -> None:
    with serving_pipeline(Failing(error)) as url:
        response = httpx.post(f"{url}/v1/search", json=QUESTION)
    assert (response.status_code, response.headers["retry-after"]) == (503, told)


@pytest.mark.parametrize(("lasted", "told"), [(0.0, 1), (9.5, 10), (1000.0, MAX_WAIT_SECONDS)])
@pytest.mark.anyio
async def test_what_is_loading_is_taken_to_load_as_long_again(lasted: float, told: float) -> None:
    running = Running(since=time.monotonic() - lasted)
    transport = httpx.ASGITransport(app=app_without_lifespan(Settings(), running))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        response = await http.get("/v1/models")
    assert told <= int(response.headers["retry-after"]) <= min(told + 5, MAX_WAIT_SECONDS)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/search", {"query": "x", "top_k": "3"}),
        ("/v1/search", {"query": "x", "top_k": True}),
        ("/v1/query", {"query": "x", "stream": 1}),
        ("/v1/query", {"query": "x", "seed": "0"}),
        ("/v1/query", {"query": "x", "temperature": "0"}),
        ("/v1/chat/completions", {"model": "m", "messages": [ASKED], "n": True}),
        ("/v1/rerank", {"model": "m", "query": "x", "documents": ["y"], "top_n": "1"}),
    ],
)
def test_a_text_or_a_truth_value_is_no_number(
    server: Server, path: str, body: dict[str, Any]
) -> None:
    with server.client() as http:
        response = http.post(path, json=body)
    assert response.status_code == (422 if path in ("/v1/search", "/v1/query") else 400)


def test_a_number_without_a_fraction_is_an_integer(server: Server) -> None:
    with server.client() as http:
        assert http.post("/v1/search", json={"query": "x", "top_k": 3.0}).status_code == 200


@pytest.mark.parametrize("bytes_", [b"\xff\xfe", b"a\x00b", b"handbook"])
def test_any_cursor_of_the_documented_form_is_a_place(server: Server, bytes_: bytes) -> None:
    cursor = urlsafe_b64encode(bytes_).decode()
    with server.client() as http:
        assert http.get("/v1/documents", params={"cursor": cursor}).status_code == 200


def test_a_page_after_an_id_of_many_bytes_is_found(server: Server) -> None:
    ids = ["\N{MUSICAL SYMBOL G CLEF}" * 511 + end for end in "ab"]
    with server.client() as http:
        submit(http, *({"id": id_, "text": f"Text {id_[-1]}."} for id_ in ids), collection="long")
        first = http.get("/v1/documents", params={"collection": "long", "limit": 1}).json()
        rest = {"collection": "long", "cursor": first["next_cursor"]}
        page = http.get("/v1/documents", params=rest).json()
    assert [d["id"] for d in (*first["documents"], *page["documents"])] == ids
