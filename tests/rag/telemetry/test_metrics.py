"""`/metrics` of a real server, as Prometheus reads it."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from rag.records import Backlog, OpenTasks
from rag.telemetry import metrics
from rag.types import Usage
from tests.e2e.test_e2e_chat import CONFIG, DOCUMENTS, FACT, FALLBACK, KEY, QUESTION
from tests.model_server import (
    ModelServer,
    chunk,
    cut,
    model_server,
    pieces_of,
    refuses,
    says,
    sends,
    slowly,
)
from tests.postgres import PostgresServer
from tests.servers import Json, Server, serving, submit, wait_for

BACKLOG = Backlog(
    groups=tuple(
        OpenTasks(stage=stage, bulk=bulk, state="pending", tasks=3, oldest_seconds=1.5)
        for stage in ("parse", "embed")
        for bulk in (False, True)
    ),
    dead_letters=2,
    to_score=1,
    oldest_to_score_seconds=1.5,
    batch_lines=4,
    batch_seconds_left=3600.0,
)
Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture(scope="module")
def model() -> Iterator[ModelServer]:
    with model_server(says(f"{FACT} [1]")) as running:
        yield running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, model: ModelServer) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("metrics")
    (folder / "rag.toml").write_text(CONFIG.format(url=model.url, key=KEY) + FALLBACK)
    with serving(folder / "data") as running, running.client() as http:
        submit(http, *DOCUMENTS)
        yield running


@pytest.fixture
def http(server: Server) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


def series(http: httpx.Client) -> Series:
    response = http.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain; version=")
    return {
        # To Prometheus an empty label is none.
        (sample.name, frozenset((k, v) for k, v in sample.labels.items() if v)): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


class Watch:
    """The growth of counters since this object was made."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http
        self._before = series(http)

    def __call__(self, name: str, **labels: str) -> float:
        key = (name, frozenset(labels.items()))
        return series(self._http).get(key, 0) - self._before.get(key, 0)


@pytest.fixture
def grown(http: httpx.Client) -> Watch:
    return Watch(http)


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_is_counted_with_its_stages_and_tokens(
    http: httpx.Client, model: ModelServer, grown: Watch, stream: bool
) -> None:
    model.script = slowly(says(*pieces_of(f"{FACT} [1] Cheese [2].")), seconds=0.2)
    body = {"query": QUESTION, "stream": stream, "claims": "off"}
    http.post("/v1/query", json=body).raise_for_status()
    assert grown("plumbline_questions_total", operation="answer", outcome="answered") == 1
    for stage in ("embed", "search", "rerank", "generate", "cite", "total"):
        assert grown("plumbline_stage_duration_seconds_count", stage=stage) == 1
    spent = grown("plumbline_stage_duration_seconds_sum", stage="total")
    assert spent >= grown("plumbline_stage_duration_seconds_sum", stage="generate") >= 0.2
    labels = {"gen_ai_request_model": "tiny"}
    assert grown("gen_ai_server_time_to_first_token_seconds_count", **labels) == 1
    assert grown("gen_ai_server_time_to_first_token_seconds_sum", **labels) >= 0.2
    assert grown("gen_ai_server_time_per_output_token_seconds_count", **labels) == 1
    assert grown("gen_ai_client_token_usage_total", gen_ai_token_type="input") == 70
    assert grown("gen_ai_client_token_usage_total", gen_ai_token_type="output") == 7
    assert grown("plumbline_citations_total", outcome="supported") == 1
    assert grown("plumbline_citations_total", outcome="unsupported") == 1
    assert grown("plumbline_degraded_total", stage="generate") == 0
    request = {
        "http_request_method": "POST",
        "http_route": "/v1/query",
        "http_response_status_code": "200",
    }
    assert grown("http_server_request_duration_seconds_count", **request) == 1
    assert series(http)["plumbline_questions_under_way", frozenset()] == 0


def test_what_was_left_out_and_what_was_not_answered(
    http: httpx.Client, model: ModelServer, grown: Watch
) -> None:
    model.script = refuses(500)
    http.post("/v1/query", json={"query": QUESTION}).raise_for_status()
    assert grown("plumbline_degraded_total", stage="generate") == 1
    http.post("/v1/query", json={"query": "How do I bake sourdough?"}).raise_for_status()
    assert grown("plumbline_questions_total", operation="answer", outcome="no_match") == 1
    http.post("/v1/search", json={"query": QUESTION}).raise_for_status()
    assert grown("plumbline_questions_total", operation="search", outcome="found") == 1
    http.post("/v1/search", json={"query": QUESTION, "collection": "nope"})
    code = "unknown_collection"
    assert grown("plumbline_questions_total", operation="search", outcome=code) == 1


def test_routes_and_errors_have_few_values(http: httpx.Client, grown: Watch) -> None:
    for path in ("/v1/documents/a%2Fb", "/v1/jobs/x", "/nowhere/at/all", "/v1/jobs/y"):
        http.get(path)
    http.request("BREW", "/v1/search")
    http.post("/v1/query", content=b"{", headers={"Content-Type": "application/json"})
    seen = {
        (labels["http_request_method"], labels["http_route"], labels.get("error_type", ""))
        for name, key in series(http)
        if name == "http_server_request_duration_seconds_count"
        for labels in [dict(key)]
    }
    assert {
        ("GET", "/v1/documents/{document_id:path}", "unknown_document"),
        ("GET", "/v1/jobs/{job_id}", "unknown_job"),
        ("GET", "none", "no_such_route"),
        ("POST", "/v1/query", "malformed_json"),
    } <= seen
    assert not any("nowhere" in route or "BREW" in method for method, route, _ in seen)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/query", {"query": QUESTION, "stream": True}),
        (
            "/v1/chat/completions",
            {
                "model": "default",
                "messages": [{"role": "user", "content": QUESTION}],
                "stream": True,
            },
        ),
    ],
)
def test_a_stream_that_breaks_is_an_error_though_it_began_with_200(
    http: httpx.Client, model: ModelServer, grown: Watch, path: str, body: Json
) -> None:
    model.script = sends(chunk("In 1769 "), then=cut)
    response = http.post(path, json=body)
    assert response.status_code == 200
    code = "model_unreachable"
    assert code in response.text
    request = {
        "http_request_method": "POST",
        "http_route": path,
        "http_response_status_code": "200",
        "error_type": code,
    }
    assert grown("http_server_request_duration_seconds_count", **request) == 1
    assert grown("plumbline_questions_total", operation="answer", outcome=code) == 1


def test_documents_and_models(http: httpx.Client, grown: Watch) -> None:
    job = submit(
        http, {"id": "new", "text": "A new text."}, {"id": "bad", "uri": "http://10.0.0.1/"}
    )
    assert job["counts"]["failed"] == 1, json.dumps(job)
    assert grown("plumbline_documents_total", outcome="stored") == 1
    assert grown("plumbline_documents_total", outcome="failed") == 1
    assert series(http)["plumbline_dead_letters", frozenset()] == 1
    assert grown("plumbline_batch_items_count", model="embedder") >= 1
    http.post("/v1/search", json={"query": QUESTION}).raise_for_status()
    assert grown("plumbline_cache_lookups_total", cache="token vectors", result="hit") >= 1


@pytest.fixture
def told_apart() -> Iterator[None]:
    metrics.label_tenants(["acme"])
    yield
    metrics.label_tenants(())


@pytest.mark.usefixtures("told_apart")
def test_tenants_that_are_told_apart_are_few() -> None:
    def counted(name: str, tenant: str, **labels: str) -> float:
        return REGISTRY.get_sample_value(name, {**labels, "tenant": tenant}) or 0.0

    for tenant in ("acme", "globex", "initech"):
        with metrics.Question("search", tenant) as question:
            question.found([])
        metrics.stages((), (), Usage(input_tokens=3, output_tokens=2, cost=0.5), tenant)
    of = {"operation": "search", "outcome": "no_documents"}
    for tenant, questions in (("acme", 1), ("other", 2)):
        assert counted("plumbline_questions_total", tenant, **of) == questions
        tokens = counted("gen_ai_client_token_usage_total", tenant, gen_ai_token_type="input")
        assert tokens == 3 * questions
        assert counted("plumbline_cost_total", tenant, purpose="answer") == 0.5 * questions
        assert counted("plumbline_cost_total", tenant, purpose="judge") == 0
    assert b"globex" not in metrics.exposition(None)


def test_a_tenant_is_told_apart_where_the_settings_name_it(tmp_path: Path) -> None:
    (tmp_path / "rag.toml").write_text('[metrics]\ntenants = ["acme"]\n')
    with serving(tmp_path / "data") as running, running.client() as http:
        grown = Watch(http)
        http.post("/v1/search", json={"query": QUESTION})
        of = {"operation": "search", "outcome": "unknown_collection"}
        assert grown("plumbline_questions_total", **of, tenant="other") == 1
        assert grown("plumbline_questions_total", **of) == 0
        acme = {("operation", "search"), ("outcome", "found"), ("tenant", "acme")}
        assert series(http)["plumbline_questions_total", frozenset(acme)] == 0


def test_who_reads_at_the_same_time_reads_the_same() -> None:
    with ThreadPoolExecutor(8) as threads:
        texts = list(threads.map(lambda _: metrics.exposition(BACKLOG), range(64)))
    assert {text.count(b"\nplumbline_tasks{") for text in texts} == {4}
    assert b"\nplumbline_tasks{" not in metrics.exposition(None)


@pytest.mark.parametrize("fault", ["stopped", "hung"])
def test_without_the_catalog_the_rest_is_told(tmp_path: Path, fault: str) -> None:
    with PostgresServer.started() as postgres:
        url = postgres.new_database()
        (tmp_path / "rag.toml").write_text(f'[catalog]\nkind = "postgres"\nurl = "{url}"\n')
        with serving(tmp_path / "data") as running, running.client() as http:
            up = ("plumbline_catalog_up", frozenset[tuple[str, str]]())
            assert series(http)[up] == 1
            if fault == "stopped":
                postgres.stop()
            else:
                postgres.signal(signal.SIGSTOP)
            try:
                with ThreadPoolExecutor(24) as threads:  # more than there are connections
                    for values in threads.map(lambda _: series(http), range(24)):
                        assert values[up] == 0
                        assert ("plumbline_questions_under_way", frozenset()) in values
            finally:
                if fault == "stopped":
                    postgres.start()
                else:
                    postgres.signal(signal.SIGCONT)
            wait_for(lambda: series(http)[up] == 1)
