"""Scores of live answers by real servers and workers, in catalog, Prometheus and Langfuse."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
import time
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import httpx
import pytest

from eval.online.judge import AnswerJudge
from eval.online.scorer import OnlineScorer
from generation.grounding.groundedness import Grounding, load_grounding
from generation.models.openai import OpenAIModel
from rag.catalog.answers import Answers
from rag.catalog.catalog import Catalog
from rag.catalog.sqlite_database import SqliteDatabase
from rag.errors import UpstreamError
from rag.feedback.observer import Traces
from rag.types import Scope
from retrieval.embedders.embedder import BertEmbedder
from tests.e2e.test_e2e_chat import CONFIG, DOCUMENTS, FACT, KEY, QUESTION
from tests.e2e.test_e2e_workers import SCOPE, Cluster, cluster  # noqa: F401 - a fixture
from tests.fakes import ScriptedModel, make_chunk
from tests.model_server import ModelServer, Script, model_server, refuses, says, silent
from tests.otlp_server import OtlpServer, otlp_server
from tests.rag.catalog.test_answers import given
from tests.servers import RAG, Json, Server, rag, serving, submit, wait_for
from workers.celery_queue import dispatch_to_workers
from workers.scoring_queue import ScoringQueue

MAIL = "jane.doe@corp.example"
BABBLE = "Cheese ferments slowly on the far side of the moon, as poets of Utrecht have sung."
JUDGE = """
[online.judge]
kind = "openai"
base_url = "{url}/v1"
model = "stern"
input_price = 1000000
"""
JUDGED = json.dumps({"reason": f"Ask {MAIL}.", "groundedness": 4, "relevance": 5})
NO_JUDGE = {"abstained", "context_relevance", "groundedness", "citation_coverage"}


@pytest.fixture(scope="module")
def receiver() -> Iterator[OtlpServer]:
    with otlp_server() as running:
        yield running


@pytest.fixture(scope="module")
def model() -> Iterator[ModelServer]:
    with model_server(says(f"{FACT} [1]")) as running:
        yield running


@pytest.fixture(scope="module")
def judge() -> Iterator[ModelServer]:
    with model_server(says(f"```json\n{JUDGED}\n```")) as running:
        yield running


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory,
    model: ModelServer,
    judge: ModelServer,
    receiver: OtlpServer,
) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("online")
    config = CONFIG.format(url=model.url, key=KEY) + "input_price = 2e6\noutput_price = 4e6\n"
    (folder / "rag.toml").write_text(config + JUDGE.format(url=judge.url))
    env = {
        "RAG_CITATIONS__CLAIMS": "off",  # bad answers are shown
        "RAG_TRACES__LANGFUSE_URL": receiver.url,
        "RAG_TRACES__PUBLIC_KEY": "pk-1",
        "RAG_TRACES__SECRET_KEY": "sk-hunter2",
        "RAG_TRACES__RATE": "0",
        "RAG_ONLINE__RATE": "1",
        "RAG_GENERATOR__THRESHOLD": "0",
    }
    with serving(folder / "data", env=env) as running, running.client() as http:
        submit(http, *DOCUMENTS)
        yield running


@pytest.fixture
def http(server: Server) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


def ask(http: httpx.Client) -> Json:
    response = http.post("/v1/query", json={"query": QUESTION, "user": MAIL, "tags": ["beta"]})
    answer: Json = response.json()
    assert response.status_code == 200, answer
    return answer


def test_a_bad_answer_s_trace_is_sent_whatever_the_rate_and_scores_name_its_spans(
    http: httpx.Client, server: Server, model: ModelServer, receiver: OtlpServer
) -> None:
    model.script = says(f"{FACT} [1]")
    good = ask(http)
    model.script = says(BABBLE)
    bad = ask(http)
    spans = receiver.trace(bad["trace_id"])
    scores = receiver.scores_of(
        bad["trace_id"], *NO_JUDGE, "judge_groundedness", "answer_relevance"
    )
    better = stored(server, good["trace_id"])
    assert scores["groundedness"]["value"] < 0.5 < better["groundedness"]
    assert scores["answer_relevance"]["value"] < better["answer_relevance"]
    assert (scores["citation_coverage"]["value"], better["citation_coverage"]) == (0, 1)
    assert better["citation_precision"] == 1
    assert "citation_precision" not in scores  # it has no marker
    of = {name: score.get("observationId") for name, score in scores.items()}
    assert of["groundedness"] == of["judge_relevance"] == spans["generate"].id
    assert of["citation_coverage"] == spans["cite"].id
    assert of["context_relevance"] == spans["retrieve"].id
    assert of["abstained"] == spans["query"].id
    assert good["trace_id"] not in {span.trace_id for span in receiver.spans}
    assert good["trace_id"] not in {score["traceId"] for score in receiver.scores}
    root = spans["query"].attributes
    assert (root["user.id"], root["langfuse.trace.tags"]) == ("[e-mail]", ["answered", "beta"])
    assert json.loads(spans["generate"].attributes["langfuse.observation.cost_details"]) == {
        "total": bad["usage"]["cost"]
    }


def test_the_judge_says_why_and_its_cost_is_its_own(
    http: httpx.Client, model: ModelServer, judge: ModelServer, receiver: OtlpServer
) -> None:
    model.script = says(BABBLE)
    before = metric(http, 'plumbline_cost_total{purpose="judge",tenant=""}')
    answer = ask(http)
    scores = receiver.scores_of(answer["trace_id"], "judge_relevance")
    assert (scores["judge_groundedness"]["value"], scores["judge_relevance"]["value"]) == (0.75, 1)
    assert scores["judge_relevance"]["comment"] == "judge.v1: Ask [e-mail]."
    asked = judge.requests[-1]["messages"][-1]["content"]
    assert f"<question>\n{QUESTION}\n</question>" in asked
    assert FACT in asked
    assert "</passage> Patent" not in asked  # a document cannot close its passage
    assert metric(http, 'plumbline_cost_total{purpose="judge",tenant=""}') > before
    spent = metric(http, 'plumbline_cost_total{purpose="answer",tenant=""}')
    assert spent >= answer["usage"]["cost"] > 0


def test_what_people_say_lands_on_the_trace(http: httpx.Client, receiver: OtlpServer) -> None:
    answer = ask(http)
    trace_id, answer_id = answer["trace_id"], answer["answer_id"]
    first = {"answer_id": answer_id, "rating": "up", "comment": f"Thank {MAIL}!"}
    assert http.post("/v1/feedback", json=first).status_code == 204
    second = {"answer_id": answer_id, "rating": "down", "correction": f"It was {MAIL}."}
    assert http.post("/v1/feedback", json=second).status_code == 204
    scores = receiver.scores_of(trace_id, "feedback", "correction")
    assert len(feedback_ids(receiver, trace_id)) == 1  # the second replaces the first
    assert (scores["feedback"]["value"], scores["feedback"]["comment"]) == (0, "Thank [e-mail]!")
    assert (scores["correction"]["dataType"], scores["correction"]["value"]) == (
        "CORRECTION",
        "It was [e-mail].",
    )
    assert metric(http, 'plumbline_feedback_total{rating="down"}') >= 1


def test_feedback_lands_on_one_answer_of_those_that_share_a_trace(
    http: httpx.Client, server: Server, receiver: OtlpServer
) -> None:
    trace_id = "7" * 32
    headers = {"traceparent": f"00-{trace_id}-00f067aa0ba902b7-01"}
    mine = http.post("/v1/query", json={"query": QUESTION}, headers=headers).json()
    theirs = http.post("/v1/query", json={"query": QUESTION}, headers=headers).json()
    assert mine["trace_id"] == theirs["trace_id"] == trace_id
    assert mine["answer_id"] != theirs["answer_id"]
    for answer, rating in ((mine, "up"), (theirs, "down")):
        feedback = {"answer_id": answer["answer_id"], "rating": rating}
        assert http.post("/v1/feedback", json=feedback).status_code == 204
    by_trace = http.post("/v1/feedback", json={"trace_id": trace_id, "rating": "up"})
    assert by_trace.status_code == 422
    with sqlite3.connect(server.log.with_suffix("") / "catalog.sqlite") as db:
        query = "SELECT id, rating FROM answers WHERE trace_id = ?"
        ratings = dict(db.execute(query, (trace_id,)))
    assert ratings == {mine["answer_id"]: "up", theirs["answer_id"]: "down"}
    wait_for(lambda: len(feedback_ids(receiver, trace_id)) == 2)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"answer_id": "0" * 31 + "1", "rating": "up"}, 404, "unknown_answer"),
        ({"answer_id": "nonsense", "rating": "up"}, 422, "invalid_input"),
        ({"answer_id": "0" * 32}, 422, "invalid_input"),
        ({"answer_id": "0" * 32, "rating": "meh"}, 422, "invalid_input"),
        ({"answer_id": "0" * 32, "comment": "x" * 4001}, 422, "invalid_input"),
    ],
)
def test_feedback_that_cannot_be_taken(
    http: httpx.Client, body: dict[str, str], status: int, code: str
) -> None:
    response = http.post("/v1/feedback", json=body)
    assert (response.status_code, response.json()["code"]) == (status, code)


def test_live_questions_become_a_set_beside_a_server_at_work(
    http: httpx.Client, server: Server, tmp_path: Path
) -> None:
    answer = ask(http)
    stored(server, answer["trace_id"])
    feedback = {"answer_id": answer["answer_id"], "correction": "A condenser."}
    assert http.post("/v1/feedback", json=feedback).status_code == 204
    data = server.log.with_suffix("")
    made = rag(
        "eval", "collect", "--out", tmp_path / "live.jsonl", "--json", data=data, command=RAG
    )
    assert made.returncode == 0, made.stderr
    cases = [json.loads(line) for line in (tmp_path / "live.jsonl").read_text().splitlines()]
    (case,) = (case for case in cases if case["question"] == QUESTION)
    assert case["answer"] == "A condenser."
    assert "corrected" in case["why"]
    assert json.loads(made.stdout)["cases"] == len(cases)
    printed = rag("eval", "drift", data=data, command=RAG)
    assert printed.returncode == 0, printed.stderr
    assert "Nothing could be compared" in printed.stdout


@pytest.mark.anyio
async def test_drift_is_told_with_the_questions_that_are_new(
    tmp_path: Path, embedder: BertEmbedder
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    database = SqliteDatabase(data / "catalog.sqlite")
    await database.open()
    await Catalog(database).collections.claim(SCOPE, "any")
    now, answers = time.time(), Answers(database)
    old = [f"How many days of leave does a team of {n} people have?" for n in range(120)]
    new = [f"Why does server {n} reboot in rack {n % 7}?" for n in range(60)]
    for asked, age in ((old, 2 * 86_400), (new, 3600)):
        vectors = await embedder.embed(asked, kind="query")
        for n, (question, vector) in enumerate(zip(asked, vectors, strict=True)):
            content = {"question": question, "answer": "", "citations": [], "passages": []}
            at = now - age + n
            id_ = f"{age} {n}"
            await answers.keep([given(id_, SCOPE, at=at, seconds=0.1, content=content)])
            await answers.scored(SCOPE.tenant, id_, {}, embedding=vector, content=content)
    await database.close()
    picture = tmp_path / "drift.png"
    printed = rag("eval", "drift", "--current", "12h", "--plot", picture, data=data)
    assert printed.returncode == 3, printed.stderr
    assert "Drifted: questions." in printed.stdout
    assert "  Why does server " in printed.stdout
    assert picture.read_bytes().startswith(b"\x89PNG")
    body = json.loads(rag("eval", "drift", "--current", "12h", "--json", data=data).stdout)
    assert body["unlike"][0].startswith("Why does server")
    unknown = rag("eval", "drift", "--collection", "elsewhere", data=data)
    assert (unknown.returncode, "no collection 'elsewhere'" in unknown.stderr) == (2, True)
    calm = rag("eval", "drift", "--reference", "1h", data=data)
    assert (calm.returncode, "Nothing could be compared" in calm.stdout) == (0, True)


def test_a_server_that_is_killed_leaves_answers_that_the_next_one_scores(
    tmp_path: Path, receiver: OtlpServer
) -> None:
    env = {"RAG_ONLINE__RATE": "1", "RAG_GENERATOR__THRESHOLD": "0"}
    with serving(tmp_path / "data", env=env) as first, first.client() as http:
        submit(http, *DOCUMENTS)
    catalog = tmp_path / "data" / "catalog.sqlite"
    config = tmp_path / "rag.toml"
    with model_server(silent) as judge:  # so that it is killed while it scores
        config.write_text(JUDGE.format(url=judge.url))
        with serving(tmp_path / "data", env=env) as second, second.client() as http:
            http.post("/v1/query", json={"query": QUESTION})
            wait_for(lambda: judge.requests or None)
            second.kill()
    config.unlink()
    with sqlite3.connect(catalog) as db:  # as if the time for a score had passed
        db.execute("UPDATE answers SET claimed_at = NULL WHERE to_score")
    with serving(tmp_path / "data", env=env):
        wait_for(lambda: rows(catalog, "NOT to_score") or None)
    (scores,) = rows(catalog, "1")
    assert json.loads(scores)["groundedness"] > 0


def stored(server: Server, trace_id: str) -> dict[str, float]:
    """Waits for the scores of an answer in the catalog and returns them."""
    catalog = server.log.with_suffix("") / "catalog.sqlite"
    (scores,) = wait_for(lambda: rows(catalog, f"NOT to_score AND trace_id = '{trace_id}'") or None)
    found: dict[str, float] = json.loads(scores)
    return found


def feedback_ids(receiver: OtlpServer, trace_id: str) -> set[str]:
    """Returns the ids of a trace's feedback scores; a repeated id replaces the score."""
    scores = list(receiver.scores)
    return {s["id"] for s in scores if (s["traceId"], s["name"]) == (trace_id, "feedback")}


def rows(catalog: Path, where: str) -> list[str]:
    with sqlite3.connect(catalog) as db:
        return [row[0] for row in db.execute(f"SELECT scores FROM answers WHERE {where}")]


def metric(http: httpx.Client, name: str) -> float:
    found = re.search(rf"^{re.escape(name)} (\S+)$", http.get("/metrics").text, re.MULTILINE)
    return float(found[1]) if found else 0.0


@pytest.mark.anyio
async def test_a_worker_scores_what_the_broker_hands_out(cluster: Cluster) -> None:  # noqa: F811
    answers = Answers(cluster.catalog._db)
    content = {
        "question": QUESTION,
        "answer": f"{FACT} [1]",
        "passages": [
            {
                "chunk_id": "c",
                "document_id": "watt",
                "title": "Watt",
                "headings": [],
                "start": 0,
                "end": len(FACT),
                "text": FACT,
            }
        ],
        "citations": [{"document_id": "watt", "start": 0, "end": 9, "quote": FACT[:9]}],
        "unsupported": 1,
        "uncited": [],
        "is_json": False,
    }
    await answers.keep([given(str(n), SCOPE, content=content) for n in range(20)])
    with cluster.worker():
        dispatch, due = dispatch_to_workers(cluster.queue._app), asyncio.Event()
        async with ScoringQueue(answers, dispatch, due=due).started():
            end = time.monotonic() + 60
            while await answers.unscored([str(n) for n in range(20)]):
                assert time.monotonic() < end, cluster.log.read_text()
                await asyncio.sleep(0.2)
    found = await answers.given(SCOPE, 0, time.time() + 1)
    assert len(found) == 20
    for answer in found:
        assert answer.scores["citation_precision"] == 0.5
        assert answer.scores["groundedness"] > 0.9
        assert answer.content is not None
        assert answer.content["passages"][0]["text"] == ""


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("said", "scores"),
    [
        (JUDGED, {"judge_groundedness": 0.75, "judge_relevance": 1.0}),
        ("I like it!", {}),
        ('{"groundedness": 9, "relevance": 1}', {}),
        ('{"groundedness": NaN, "relevance": 1}', {}),
        ("[" * 100_000, {}),
        (UpstreamError("away"), {}),
    ],
)
async def test_a_judge_that_answers_nonsense_gives_no_scores(
    said: str | UpstreamError, scores: dict[str, float], caplog: pytest.LogCaptureFixture
) -> None:
    verdict = await AnswerJudge(ScriptedModel(said)).judge(QUESTION, FACT, [make_chunk(FACT)])
    assert dict(verdict.scores) == scores
    assert ("gave no scores" in caplog.text) == (not scores)


@pytest.mark.anyio
async def test_a_judge_is_asked_for_json_by_a_schema_unless_its_server_refuses(
    caplog: pytest.LogCaptureFixture,
) -> None:
    refused: Script = refuses(400, "response_format is not supported")

    def takes_no_schema(handler: BaseHTTPRequestHandler) -> None:
        asked = server.requests[-1]
        (refused if "response_format" in asked else says(JUDGED))(handler)

    with model_server(says(JUDGED)) as server:
        chat = OpenAIModel(
            base_url=server.base_url, api_key=None, model="tiny", context_tokens=4096, seconds=60
        )
        judge = AnswerJudge(chat)
        assert (await judge.judge(QUESTION, FACT, [make_chunk(FACT)])).scores
        asked = server.requests[-1]["response_format"]["json_schema"]["schema"]
        assert asked["required"] == ["reason", "groundedness", "relevance"]
        server.script = takes_no_schema
        for _ in range(2):
            assert (await judge.judge(QUESTION, FACT, [make_chunk(FACT)])).scores
        with_schema = ["response_format" in each for each in server.requests]
        assert with_schema == [True, True, False, False]
        await chat.close()
    assert caplog.text.count("takes no JSON schema") == 1


@pytest.mark.anyio
async def test_scores_without_a_judge(embedder: BertEmbedder, folder: Path, scope: Scope) -> None:
    tokens = embedder.in_background()
    scorer = OnlineScorer(
        answers=Answers(SqliteDatabase(folder / "unused.sqlite")),
        embedder=embedder,
        tokens=tokens,
        grounding=Grounding(tokens, load_grounding()),
        judge=None,
        traces=Traces(),
        low=0.5,
    )
    passages = [make_chunk(FACT), make_chunk("Bread is made of flour, water and salt.")]
    measure = partial(scorer.measure, is_json=False, unsupported=0, uncited=0)
    whole = await measure(QUESTION, f"{FACT} [1] {FACT} [1]", passages, unsupported=1)
    assert whole["citation_precision"] == pytest.approx(2 / 3)
    assert (whole["citation_coverage"], whole["abstained"]) == (1, 0)
    turned = await measure(QUESTION, FACT, passages[::-1])
    assert whole["context_relevance"] > turned["context_relevance"]  # what is first counts more
    other = await measure(QUESTION, passages[1].text, passages)
    assert whole["answer_relevance"] > other["answer_relevance"] + 0.2
    assert other["groundedness"] > 0.9  # it is in the passages, whatever was asked
    silent = await measure(QUESTION, "", [])
    assert silent == {"abstained": 1.0}
    said = json.dumps({"answers": [FACT, 7]})
    written = await measure(QUESTION, said, passages, is_json=True, uncited=1)
    assert written["groundedness"] > 0.9
    assert "citation_coverage" not in written
