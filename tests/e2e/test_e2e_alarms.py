"""Alarms on drops in the quality of a real server: promtool runs them on its recorded `/metrics`.

A drop begins at the worst moment: just before an evaluation, and just after the last scrape that
the evaluation sees.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import httpx
import pytest

from tests.e2e.test_e2e_chat import CONFIG, DOCUMENTS, KEY, QUESTION
from tests.model_server import ModelServer, model_server, quotes, says
from tests.prometheus import (
    EVALUATION,
    SCRAPE,
    Recording,
    fires,
    gives,
    needs_promtool,
    promtool,
    silent,
)
from tests.servers import serving, submit, wait_for

RERANKER = '[reranker]\nkind = "http"\nurl = "{url}/rerank"\n'
NONSENSE = "Purple cheese sings of taxes on the moon."
QUESTIONS = 5
"""Questions between two scrapes: 40 in two minutes; an alarm needs 30."""
DROP = 4 * EVALUATION
"""The second of the drop. The evaluation in the same second does not see it yet."""
END = DROP + EVALUATION


def ranks(handler: BaseHTTPRequestHandler) -> None:
    """Answers as Cohere's `/rerank` does; ranks passages in the order of the request."""
    state: ModelServer = handler.server_state  # type: ignore[attr-defined]
    count = len(state.requests[-1]["documents"])
    results = [{"index": i, "relevance_score": 1 - i / count} for i in range(count)]
    body = json.dumps({"results": results}).encode()
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


@dataclass(frozen=True, slots=True)
class Service:
    """A server's client, and the servers of its models."""

    http: httpx.Client
    model: ModelServer
    reranker: ModelServer


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A new service for each drop: `/metrics` has no series of a failure before the first one."""
    with model_server(quotes()) as model, model_server(ranks) as reranker:
        config = CONFIG.format(url=model.url, key=KEY) + RERANKER.format(url=reranker.url)
        (tmp_path / "rag.toml").write_text(config)
        env = {"RAG_ONLINE__RATE": "1"}
        with serving(tmp_path / "data", env=env) as server, server.client() as http:
            submit(http, *DOCUMENTS)
            yield Service(http, model, reranker)


def reranker_off(service: Service) -> None:
    service.reranker.stop()


def index_emptied(service: Service) -> None:
    for document in DOCUMENTS:
        service.http.delete(f"/v1/documents/{document['id']}").raise_for_status()


def cites_nonsense(service: Service) -> None:
    service.model.script = says(f"{NONSENSE} [1]")


def cites_nothing(service: Service) -> None:
    service.model.script = says(NONSENSE)


@needs_promtool
@pytest.mark.parametrize(
    ("drop", "claims", "alarms"),
    [
        (reranker_off, "off", ["PlumblineDegraded"]),
        (index_emptied, "off", ["PlumblineNoDocuments", "PlumblineAbstentions"]),
        (
            cites_nonsense,
            "off",
            [
                "PlumblineCitationsUnsupported",
                "PlumblineAnswersUncited",
                "PlumblineGroundednessLow",
            ],
        ),
        (cites_nothing, "off", ["PlumblineAnswersUncited", "PlumblineGroundednessLow"]),
        (cites_nothing, "strict", ["PlumblineClaimsRefused"]),
    ],
)
def test_an_alarm_fires_within_two_evaluations_of_a_drop(
    service: Service,
    tmp_path: Path,
    drop: Callable[[Service], None],
    claims: str,
    alarms: list[str],
) -> None:
    recording = Recording()
    body = {"query": QUESTION, "claims": claims}
    for turn, second in enumerate(range(0, END + 1, SCRAPE)):
        recording.add(wait_for(partial(scored, service.http, turn * QUESTIONS)))
        if second == DROP:
            drop(service)
        for _ in range(QUESTIONS):
            service.http.post("/v1/query", json=body).raise_for_status()
    judge(recording, tmp_path, "plumbline:answers:enough", alarms)


def scored(http: httpx.Client, answers: int) -> str | None:
    """Returns `/metrics` once this many answers have scores, which follow later; else None."""
    text = http.get("/metrics").raise_for_status().text
    found = re.search(r'^plumbline_score_count\{score="abstained"\} (\S+)', text, re.MULTILINE)
    return text if float(found[1] if found else 0) >= answers else None


def judge(recording: Recording, folder: Path, traffic: str, alarms: list[str]) -> None:
    """Checks: no alarm up to the drop, enough traffic, and these alarms at the end."""
    before = [silent(second) for second in range(0, DROP + 1, EVALUATION)]
    enough = gives(f"count({traffic})", 1, DROP)
    after = [fires(alarm, END) for alarm in alarms]
    promtool("test", "rules", recording.rule_test(folder, *before, enough, *after))
