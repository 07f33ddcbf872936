"""Logs of a real server and a real worker on standard error."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.test_e2e_chat import CONFIG, DOCUMENTS, FACT, FALLBACK, KEY
from tests.model_server import ModelServer, model_server, refuses, says
from tests.servers import Json, Server, serving, submit, wait_for
from workers.worker import _mask_logs

SECRET = "What did James Watt patent in 1769, asks the hunter?"


@pytest.fixture(scope="module")
def model() -> Iterator[ModelServer]:
    with model_server(says(f"{FACT} [1]")) as running:
        yield running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, model: ModelServer) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("logs")
    config = CONFIG.format(url=model.url, key=KEY) + FALLBACK + '[log]\nformat = "json"\n'
    (folder / "rag.toml").write_text(config)
    with serving(folder / "data") as running, running.client() as http:
        submit(http, *DOCUMENTS)
        yield running


@pytest.fixture
def http(server: Server) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


def line_of(server: Server, response: httpx.Response) -> Json:
    """Waits for the log line of a request and returns it."""

    def find() -> Json | None:
        log = server.log.read_text().splitlines()[1:]  # the first is for people
        lines: list[Json] = [json.loads(line) for line in log]
        own = [x for x in lines if x.get("request_id") == response.headers["X-Request-ID"]]
        return own[0] if own else None

    return wait_for(find)


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_is_one_line_without_what_was_asked(
    server: Server, http: httpx.Client, model: ModelServer, stream: bool
) -> None:
    model.script = says(f"{FACT} [1]")
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {"traceparent": f"00-{trace_id}-00f067aa0ba902b7-01", "X-Request-ID": f"r{stream}"}
    response = http.post("/v1/query", json={"query": SECRET, "stream": stream}, headers=headers)
    assert response.status_code == 200
    line = line_of(server, response)
    stages = line.pop("stages")
    assert stages["total"] >= stages["generate"] > 0
    assert line.pop("ms") >= stages["total"] * 0.9
    assert line.pop("time").startswith("20")
    assert line == {
        "level": "INFO", "logger": "rag.requests", "message": "request", "request_id": f"r{stream}",
        "tenant": "default", "method": "POST", "route": "/v1/query", "status": 200, "error": "",
        "trace_id": trace_id, "outcome": "answered", "degraded": [],
        "input_tokens": 70, "output_tokens": 7,
    }  # fmt: skip


def test_what_went_wrong_is_a_code(server: Server, http: httpx.Client, model: ModelServer) -> None:
    model.script = refuses(500, message=f"I cannot say: {SECRET}")
    line = line_of(server, http.post("/v1/query", json={"query": SECRET}))
    assert (line["status"], line["outcome"], line["degraded"]) == (200, "answered", ["generate"])
    line = line_of(server, http.post("/v1/search", json={"query": SECRET, "collection": "nope"}))
    code = "unknown_collection"
    assert (line["status"], line["error"], line["outcome"]) == (404, code, code)
    line = line_of(server, http.get("/v1/jobs/x"))
    assert (line["route"], line["status"], line["error"]) == (
        "/v1/jobs/{job_id}",
        404,
        "unknown_job",
    )
    assert "trace_id" not in line


def test_nothing_that_was_asked_or_found_is_in_the_log(server: Server) -> None:
    log = server.log.read_text()
    assert "hunter" not in log
    assert "condenser" not in log


@pytest.mark.parametrize(
    ("capture", "logged"),
    [
        ("off", None),
        ("masked", "Who is [e-mail]?"),
        ("full", "Who is jane@corp.example?"),
    ],
)
def test_what_was_asked_is_logged_where_settings_say_so_as_it_may_be_kept(
    tmp_path: Path, capture: str, logged: str | None
) -> None:
    env = {
        "RAG_LOG__FORMAT": "json",
        "RAG_LOG__QUESTIONS": "true",
        "RAG_PRIVACY__CAPTURE": capture,
    }
    with serving(tmp_path / "data", env=env) as running, running.client() as http:
        submit(http, *DOCUMENTS)
        for path, stream in (("search", {}), ("query", {}), ("query", {"stream": True})):
            body = {"query": "Who is jane@corp.example?", **stream}
            line = line_of(running, http.post(f"/v1/{path}", json=body))
            assert line.get("question") == logged
        assert "question" not in line_of(running, http.get("/v1/collections"))
        document = {"id": "a", "text": "B.", "title": "jane@corp.example"}
        reply = http.post("/v1/documents", json={"documents": [document]})
        assert "question" not in line_of(running, reply)
        assert ("jane" in running.log.read_text()) == (capture == "full")


def test_text_is_for_people_and_says_no_more_than_they_need(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as running, running.client() as http:
        http.post("/v1/search", json={"query": SECRET})
        assert running.log.read_text().count("\n") == 1


def test_what_a_workers_handlers_write_has_no_secret_of_a_url() -> None:
    """Celery creates the handlers if lines are text; it may set them up more than once."""
    written, logger = io.StringIO(), logging.Logger("worker")
    handler = logging.StreamHandler(written)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logger.addHandler(handler)
    for _ in range(2):
        _mask_logs(logger)
    logger.error("%s is gone", "redis://:s3cret@queue:6379/0")
    assert written.getvalue() == "ERROR redis://***@queue:6379/0 is gone\n"
