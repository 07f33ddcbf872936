"""The synthetic canary on a real server, whole and with faults between it and the server."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import httpx
import pytest

from rag.client import NEVER, AsyncClient
from rag.operations.synthetic.one_run import COLLECTION, run
from rag.operations.synthetic.phrase import PREFIX
from tests.e2e.test_e2e_gateway import client, created
from tests.servers import Json, Server, all_documents, rag, serving, submit, wait_for

TENANT = "synthetic"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("synthetic") / "data"


@pytest.fixture(scope="module")
def keys(data: Path) -> dict[str, str]:
    return {
        "own": created(data, "--scopes", "ask,read,write", "--tenant", TENANT)["key"],
        "acme": created(data, "--scopes", "ask,read,write,admin,metrics", "--tenant", "acme")[
            "key"
        ],
        "admin": created(data, "--scopes", "read,admin", "--tenant", TENANT)["key"],
    }


@pytest.fixture(scope="module")
def server(data: Path, keys: dict[str, str]) -> Iterator[Server]:
    env = {
        "RAG_GATEWAY__ENABLED": "true",
        "RAG_ANSWER_CACHE__KIND": "memory",
        "RAG_ONLINE__RATE": "1",
        "RAG_SYNTHETIC__KEY": keys["own"],
        "RAG_SYNTHETIC__EVERY_MINUTES": "60",
    }
    with serving(data, env=env) as running:
        yield running


def by_hand(server: Server, key: str, data: Path) -> tuple[int, Json]:
    ran = rag("synthetic", "--url", server.url, "--json", data=data, env={"RAG_API_KEY": key})
    assert ran.stdout, ran.stderr
    return ran.returncode, json.loads(ran.stdout)


def metric(server: Server, keys: dict[str, str], name: str) -> dict[str, float]:
    """Returns the series whose names begin so, and are not 0."""
    with client(server, keys["acme"]) as http:
        lines = http.get("/metrics").text.splitlines()
    found = (line.rsplit(" ", 1) for line in lines if line.startswith(name))
    return {series: float(value) for series, value in found if float(value)}


def test_a_server_runs_it_and_a_hand_as_well(
    server: Server, keys: dict[str, str], data: Path
) -> None:
    runs = 'plumbline_synthetic_runs_total{outcome="succeeded"}'
    wait_for(lambda: metric(server, keys, runs))
    assert metric(server, keys, "plumbline_synthetic_last_success")
    assert metric(server, keys, "plumbline_synthetic_interval_seconds").popitem()[1] == 3600
    code, report = by_hand(server, keys["own"], data)
    assert (code, report["failure"]) == (0, "")
    steps = [step["step"] for step in report["steps"]]
    assert steps == ["clean", "ingest", "search", "ask", "delete", "gone"]


def test_it_counts_in_no_figure_of_others_and_nobody_sees_it(
    server: Server, keys: dict[str, str], data: Path
) -> None:
    assert by_hand(server, keys["own"], data)[0] == 0
    for name in ("plumbline_questions_total", "plumbline_answers_kept", "plumbline_answer_cache"):
        counted = metric(server, keys, name)
        assert not {series for series in counted if "_created" not in series}, name
    with client(server, keys["acme"]) as http:
        assert http.get("/v1/collections").json()["collections"] == []
        assert http.get("/v1/usage").json()["groups"] == []
    with client(server, keys["admin"]) as http:
        assert http.get("/v1/answers").json()["answers"] == []


def test_a_key_of_another_tenant_is_refused_and_an_address_is_needed(
    server: Server, keys: dict[str, str], data: Path
) -> None:
    code, report = by_hand(server, keys["acme"], data)
    assert code == 1
    assert "of the tenant 'acme'" in report["failure"]
    with client(server, keys["acme"]) as http:
        assert http.get("/v1/collections").json()["collections"] == []
    assert rag("synthetic", data=data).returncode == 2


def test_it_removes_what_a_killed_run_left_and_nothing_younger(
    server: Server, keys: dict[str, str], data: Path
) -> None:
    old, other = f"{PREFIX}1700000000-0123abcd", "not-a-phrase"
    with client(server, keys["own"]) as http:
        for name in (old, other):
            submit(http, {"id": name, "text": f"It is {name}."}, collection=COLLECTION)
        assert by_hand(server, keys["own"], data)[0] == 0
        assert [each["id"] for each in all_documents(http, COLLECTION)] == [other]


class Faulty(httpx.AsyncHTTPTransport):
    """A connection with a fault: `answers` may give a response in the place of the server's."""

    def __init__(self, answers: Callable[[Faulty, httpx.Request], httpx.Response | None]) -> None:
        super().__init__()
        self._answers = answers
        self.seen: dict[str, Json] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if instead := self._answers(self, request):
            return instead
        response = await super().handle_async_request(request)
        body = await response.aread()
        if response.headers.get("content-type", "").startswith("application/json"):
            self.seen.setdefault(f"{request.method} {request.url.path}", json.loads(body))
        return httpx.Response(response.status_code, headers=response.headers, content=body)


def deletes_nothing(_: Faulty, request: httpx.Request) -> httpx.Response | None:
    return httpx.Response(204) if request.method == "DELETE" else None


def repeats_answers(between: Faulty, request: httpx.Request) -> httpx.Response | None:
    earlier = between.seen.get(f"{request.method} {request.url.path}")
    repeats = earlier is not None and request.url.path == "/v1/query"
    return httpx.Response(200, json=earlier) if repeats else None


def finds_nothing(_: Faulty, request: httpx.Request) -> httpx.Response | None:
    empty = {"hits": [], "timings": {}, "degraded": [], "trace_id": "t"}
    return httpx.Response(200, json=empty) if request.url.path == "/v1/search" else None


def fails(_: Faulty, request: httpx.Request) -> httpx.Response | None:
    return httpx.Response(500, text="no") if request.url.path == "/v1/query" else None


@contextlib.asynccontextmanager
async def faulty(
    server: Server, key: str, fault: Callable[..., object]
) -> AsyncIterator[AsyncClient]:
    transport = Faulty(fault)  # type: ignore[arg-type]
    async with AsyncClient(server.url, key=key, retries=NEVER, transport=transport) as made:
        yield made


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (deletes_nothing, "gone: the search finds the deleted document"),
        (repeats_answers, "gone: the service still answers from the deleted document"),
        (finds_nothing, "search: the document is not found"),
        (fails, "ask: "),
    ],
)
async def test_each_fault_is_found_at_its_step(
    server: Server, keys: dict[str, str], fault: Callable[..., object], says: str
) -> None:
    async with faulty(server, keys["own"], fault) as made:
        report = await run(made, tenant=TENANT)
    assert report.failure.startswith(says)
    assert not report.failure.endswith(".")


@pytest.mark.anyio
async def test_a_run_ends_in_its_time(server: Server, keys: dict[str, str]) -> None:
    async with AsyncClient(server.url, key=keys["own"], retries=NEVER) as made:
        report = await run(made, tenant=TENANT, seconds=0.001)
    assert "it took more than 0.001 s" in report.failure


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ({"RAG_SYNTHETIC__KEY": "none"}, "gateway.enabled = true, or synthetic.every_minutes = 0"),
        ({}, "synthetic.every_minutes needs synthetic.key"),
    ],
)
def test_without_a_gateway_or_a_key_no_server_starts_with_it(
    tmp_path: Path, key: dict[str, str], reason: str
) -> None:
    env = {"RAG_SYNTHETIC__EVERY_MINUTES": "5", **key}
    ran = rag("serve", "--port", "0", data=tmp_path / "data", env=env)
    assert ran.returncode == 2
    assert reason in ran.stderr
