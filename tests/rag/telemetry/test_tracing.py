"""Traces that a receiver gets from a real server."""

from __future__ import annotations

import base64
import json
import pickle
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from google.protobuf.json_format import MessageToJson
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)
from prometheus_client import REGISTRY

from rag.errors import ConfigError, UpstreamError
from rag.privacy.masking import Masker
from rag.privacy.policy import Capture, Privacy
from rag.telemetry.background_sender import AT_ONCE, Backlog, Parcel, TraceSender
from rag.telemetry.exporters import Exporter, ExportOptions, langfuse
from rag.telemetry.trace import Score, Trace, is_sampled, of_template, trace_headers, trace_of
from rag.types import Query, Scope
from retrieval.rerankers.http import HttpReranker
from tests.e2e.test_e2e_chat import CONFIG, DOCUMENTS, FACT, FALLBACK, KEY, QUESTION
from tests.model_server import ModelServer, model_server, refuses, says
from tests.otlp_server import OtlpServer, Response, otlp_server
from tests.planted import planted
from tests.ports import free_port
from tests.servers import Server, serving, submit, wait_for

MAIL = "jane.doe@corp.example"
ASKED = f"{QUESTION} Write to {MAIL}."
KIND = "langfuse.observation.type"
META = "langfuse.observation.metadata."
INPUT, OUTPUT = "langfuse.observation.input", "langfuse.observation.output"


@pytest.fixture(scope="module")
def receiver() -> Iterator[OtlpServer]:
    with otlp_server() as running:
        yield running


@pytest.fixture(scope="module")
def model() -> Iterator[ModelServer]:
    with model_server(says(f"{FACT} [1]")) as running:
        yield running


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, model: ModelServer, receiver: OtlpServer
) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("traces")
    (folder / "rag.toml").write_text(CONFIG.format(url=model.url, key=KEY) + FALLBACK)
    env = {
        "RAG_TRACES__LANGFUSE_URL": receiver.url,
        "RAG_TRACES__PUBLIC_KEY": "pk-1",
        "RAG_TRACES__SECRET_KEY": "sk-hunter2",
        "RAG_TRACES__ENVIRONMENT": "staging",
        "RAG_TRACES__RELEASE": "r7",
        "RAG_GENERATOR__THRESHOLD": "0",
    }
    with serving(folder / "data", env=env) as running, running.client() as http:
        submit(http, *DOCUMENTS)
        yield running


@pytest.fixture
def http(server: Server) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


@pytest.mark.parametrize("stream", [False, True])
def test_a_question_is_one_tree(
    http: httpx.Client, model: ModelServer, receiver: OtlpServer, stream: bool
) -> None:
    model.script = says(f"{FACT} [1][2] Cheese [3].")
    body = {"query": ASKED, "stream": stream, "claims": "off"}
    response = http.post("/v1/query", json=body)
    answer = json.loads(response.text.strip().split("data: ")[-1])
    spans = receiver.trace(answer["trace_id"])
    parents = {name: span.parent for name, span in spans.items()}
    root, retrieve = spans["query"], spans["retrieve"]
    assert parents.pop("query") == ""
    below = {name for name, parent in parents.items() if parent == retrieve.id}
    assert {"embed", "search", "fuse", "fetch", "rerank"} <= below
    top = {name for name, parent in parents.items() if parent == root.id}
    assert {"retrieve", "generate", "cite", "abstain"} <= top
    assert below | top == set(parents)
    kinds = {name: span.attributes[KIND] for name, span in spans.items()}
    of = ("retrieve", "embed", "generate", "cite", "abstain")
    expected = ["retriever", "embedding", "generation", "evaluator", "guardrail"]
    assert [kinds[name] for name in of] == expected
    assert all(root.start <= span.start <= span.end <= root.end for span in spans.values())
    for span in spans.values():
        assert span.attributes["langfuse.environment"] == "staging"
        assert span.attributes["langfuse.release"] == "r7"
        assert span.attributes["langfuse.trace.tags"] == ["answered"]
        assert span.attributes["langfuse.trace.metadata.tenant"] == "default"
    assert root.attributes[OUTPUT] == answer["answer"]
    found = json.loads(retrieve.attributes[OUTPUT])
    assert {hit["document_id"] for hit in found} == {"watt", "evil"}
    assert found[0]["ranks"].keys() == {"dense", "sparse", "rerank"}
    legs = spans["search"].attributes[META + "legs"]
    assert legs == retrieve.attributes[META + "legs"] == ["dense", "sparse"]
    assert (
        spans["cite"].attributes[META + "citations"],
        spans["cite"].attributes[META + "unsupported"],
    ) == (1, 2)


def test_the_sentences_that_were_refused_are_told(
    http: httpx.Client, model: ModelServer, receiver: OtlpServer
) -> None:
    model.script = says("It was patented in 1796.")
    answer = http.post("/v1/query", json={"query": ASKED}).json()
    cite = receiver.trace(answer["trace_id"])["cite"]
    assert (
        cite.attributes[META + "claims_rewritten"],
        cite.attributes[META + "claims_replaced"],
    ) == (1, 1)
    assert [each["missing"] for each in json.loads(cite.attributes[OUTPUT])] == [["1796"]] * 2


def test_a_retriever_says_what_it_looked_for_and_in_which_version_of_the_index(
    http: httpx.Client, receiver: OtlpServer, server: Server
) -> None:
    where = [{"field": "title", "op": "in", "value": ["Watt", MAIL]}]
    body = {"query": QUESTION, "filters": where, "top_k": 3}
    current = server.log.with_name("data") / "index" / "default" / "default" / "current"
    before = current.read_text()
    found = http.post("/v1/search", json=body).json()
    after = current.read_text()  # another one where the graph was built anew meanwhile
    attributes = receiver.trace(found["trace_id"])["retrieve"].attributes
    assert attributes[META + "filters"] == ["title in"]  # the value of a filter is content
    masked = [{**where[0], "value": ["Watt", "[e-mail]"]}]
    assert json.loads(attributes[INPUT]) == {"query": QUESTION, "filters": masked}
    assert attributes[META + "top_k"] == 3
    assert attributes[META + "index_version"] in (before, after)


def test_a_generation_says_what_was_asked_of_the_model(
    http: httpx.Client, model: ModelServer, receiver: OtlpServer
) -> None:
    model.script = says(f"{FACT} [1]")
    answer = http.post("/v1/query", json={"query": QUESTION, "max_tokens": 9}).json()
    span = receiver.trace(answer["trace_id"])["generate"]
    attributes = span.attributes
    assert (
        attributes["langfuse.observation.model.name"]
        == attributes["gen_ai.request.model"]
        == "tiny"
    )
    assert json.loads(attributes["langfuse.observation.usage_details"]) == {
        "input": 70,
        "output": 7,
    }
    assert (attributes["gen_ai.usage.input_tokens"], attributes["gen_ai.usage.output_tokens"]) == (
        70,
        7,
    )
    assert attributes["gen_ai.operation.name"] == "chat"
    assert attributes["gen_ai.request.max_tokens"] == 9
    prompt = "langfuse.observation.prompt."
    assert (attributes[prompt + "name"], attributes[prompt + "version"]) == ("answer", 1)
    assert attributes[META + "template_version"] == 1
    assert json.loads(attributes[INPUT])[-1]["content"].endswith(QUESTION)
    assert attributes[OUTPUT] == f"{FACT} [1]"
    began = json.loads(attributes["langfuse.observation.completion_start_time"])
    assert began.startswith("20")
    assert span.start < attributes[META + "first_token_ns"] <= span.end


def test_it_is_part_of_the_caller_s_trace(http: httpx.Client, receiver: OtlpServer) -> None:
    trace_id, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    headers = {"traceparent": f"00-{trace_id}-{parent}-01"}
    http.post("/v1/search", json={"query": QUESTION}, headers=headers).raise_for_status()
    assert receiver.trace(trace_id)["query"].parent == parent


def test_failures_and_what_was_left_out(
    http: httpx.Client, model: ModelServer, receiver: OtlpServer
) -> None:
    model.script = refuses(500)
    answer = http.post("/v1/query", json={"query": QUESTION}).json()
    root = receiver.trace(answer["trace_id"])["query"]
    assert root.attributes["langfuse.trace.tags"] == ["answered", "degraded: generate"]
    trace_id = "5" * 32
    headers = {"traceparent": f"00-{trace_id}-00f067aa0ba902b7-01"}
    http.post("/v1/search", json={"query": "x", "collection": "nope"}, headers=headers)
    root = receiver.trace(trace_id)["query"]
    assert (root.error, root.attributes["langfuse.observation.level"]) == (
        "unknown_collection",
        "ERROR",
    )


def test_keys_go_with_it_and_what_is_masked_does_not(receiver: OtlpServer, server: Server) -> None:
    secret = base64.b64encode(b"pk-1:sk-hunter2").decode()
    assert receiver.authorization == {f"Basic {secret}"}
    assert receiver.paths <= {"/api/public/otel/v1/traces", "/api/public/scores"}
    everything = b"".join(receiver.bodies)
    assert b"[e-mail]" in everything
    assert MAIL.encode() not in everything
    assert "hunter2" not in server.log.read_text()


def mask(content: Any) -> Any:
    return Masker().content(content)


def own_mask(content: Any) -> Any:
    return Masker(["Ask"]).content(content)


def never_masks(_: Any) -> Any:
    time.sleep(60)


def test_of_two_hundred_planted_values_not_one_leaves(
    http: httpx.Client, model: ModelServer, receiver: OtlpServer
) -> None:
    secrets = planted(200)
    for i in range(0, 200, 20):
        some = "; ".join(secrets[i : i + 20])
        model.script = says(f"{FACT} [1] Write to {some}.")
        asked = {"query": f"{QUESTION} {some}.", "user": secrets[i], "tags": [secrets[i + 1]]}
        answer = http.post("/v1/query", json=asked).json()
        feedback = {"answer_id": answer["answer_id"], "comment": some, "correction": some}
        assert http.post("/v1/feedback", json=feedback).status_code == 204
        document = {"text": FACT, "title": f"Of {secrets[i]}", "uri": f"mailto:{secrets[i]} {i}"}
        submit(http, {**document, "id": f"planted-{i}"}, collection="planted")
        receiver.trace(answer["trace_id"])
        receiver.scores_of(answer["trace_id"], "comment", "correction")
    everything = b"".join(receiver.bodies).decode(errors="replace")
    all_text = everything + json.dumps(receiver.scores, ensure_ascii=False)
    left = [
        s for s in secrets if s in all_text or json.dumps(s, ensure_ascii=False)[1:-1] in all_text
    ]
    assert left == []


def exporter(url: str, capture: Capture, mask: Callable[[Any], Any]) -> Exporter:
    privacy = Privacy(mask, capture=capture, tenants={"secret": "off"})
    options = ExportOptions(privacy=privacy, environment="default", release="1")
    return Exporter(f"{url}/v1/traces", headers={}, options=options)


def sender_to(
    url: str, *, capture: Capture = "full", mask: Callable[[Any], Any] = mask
) -> TraceSender:
    load = partial(exporter, url, capture, mask)
    return TraceSender(load, host="the receiver", takes_scores=False)


def ended(**fields: Any) -> Trace:
    trace = Trace(**fields)
    trace.root.name, trace.root.input = "query", f"Ask {MAIL}"
    with trace.span("embed", "embedding"):
        pass
    trace.root.close()
    return trace


def broken(_: Any) -> Any:
    raise RuntimeError("no mask")


@pytest.mark.parametrize(
    ("capture", "mask", "tenant", "expected"),
    [
        ("full", mask, "", f"Ask {MAIL}"),
        ("masked", mask, "", "Ask [e-mail]"),
        ("masked", own_mask, "", "[masked] [e-mail]"),
        ("masked", broken, "", None),
        ("off", mask, "", None),
        ("full", mask, "secret", None),
    ],
)
def test_what_is_captured(
    receiver: OtlpServer,
    capture: Capture,
    mask: Callable[[Any], Any],
    tenant: str,
    expected: str | None,
) -> None:
    sender = sender_to(receiver.url, capture=capture, mask=mask)
    trace = ended(tenant=tenant, user=MAIL)
    sender.send(trace)
    sender.close()
    attributes = receiver.trace(trace.id)["query"].attributes
    assert attributes.get(INPUT) == expected
    # The user's identity is content too, like the question.
    assert (attributes.get("user.id") == MAIL) == (capture == "full" and not tenant)


def test_of_what_ended_well_a_share_is_sent_and_all_of_the_rest(receiver: OtlpServer) -> None:
    sender = sender_to(receiver.url)
    well, failed = ended(sampled=False), ended(sampled=False)
    degraded = ended(sampled=False, degraded=["rerank: late"])
    failed.root.error = "deadline"
    for trace in (well, failed, degraded):
        sender.send(trace)
    sender.close()
    seen = {span.trace_id for span in receiver.spans}
    assert {failed.id, degraded.id} <= seen
    assert well.id not in seen


def test_a_share_is_chosen_by_the_id_so_that_all_processes_choose_alike() -> None:
    ids = [Trace().id for _ in range(2000)]
    few = {id_ for id_ in ids if is_sampled(id_, 0.3)}
    assert 500 < len(few) < 700
    assert few <= {id_ for id_ in ids if is_sampled(id_, 0.5)}
    assert not any(is_sampled(id_, 0.0) for id_ in ids)
    assert all(is_sampled(id_, 1.0) for id_ in (*ids, "f" * 32))


@pytest.mark.parametrize(
    ("flags", "rate", "sampled"),
    [("01", 0.0, True), ("03", 0.0, True), ("00", 0.0, False), ("00", 1.0, True), ("01", 1, True)],
)
def test_what_the_caller_samples_is_sampled(flags: str, rate: float, sampled: bool) -> None:
    trace = trace_of(f"00-{'a' * 32}-{'b' * 16}-{flags}", rate=rate)
    assert trace.sampled is sampled
    assert trace.traceparent(trace.root) == f"00-{'a' * 32}-{trace.root.id}-0{sampled:d}"


def test_a_caller_cannot_choose_an_id_that_is_always_or_never_sampled() -> None:
    lowest, highest = "a" * 16 + "0" * 16, "a" * 16 + "f" * 16
    for id_ in (lowest, highest):
        header = f"00-{id_}-{'b' * 16}-00"
        sampled = sum(trace_of(header, rate=0.5).sampled for _ in range(200))
        assert 50 < sampled < 150


def test_a_prompt_s_version_is_langfuse_s_where_it_is_a_number(receiver: OtlpServer) -> None:
    trace = ended()
    for stage, template in (("rewrite", "rewrite.v12"), ("generate", "answer.1f00ba5eba11")):
        with trace.span(stage, "generation") as span:
            span.attributes |= of_template(template)
    sender = sender_to(receiver.url)
    sender.send(trace)
    sender.close()
    spans = receiver.trace(trace.id)
    counted, own = spans["rewrite"].attributes, spans["generate"].attributes
    prompt = "langfuse.observation.prompt."
    assert (counted[prompt + "name"], counted[prompt + "version"]) == ("rewrite", 12)
    assert (own[prompt + "name"], own[META + "template_version"]) == ("answer", "1f00ba5eba11")
    assert prompt + "version" not in own


def test_stages_of_two_traces_are_kept_apart_and_headers_name_the_innermost() -> None:
    assert trace_headers() == {}
    outer, other = Trace(), Trace(sampled=False)
    with outer.span("retrieve") as retrieve:
        with other.span("embed") as embed:
            assert trace_headers() == {"traceparent": f"00-{other.id}-{embed.id}-00"}
        assert trace_headers() == {"traceparent": f"00-{outer.id}-{retrieve.id}-01"}
    assert (retrieve.parent, embed.parent) == (outer.root, other.root)


def test_the_model_s_server_is_told_whose_trace_it_is_part_of(
    http: httpx.Client, model: ModelServer, receiver: OtlpServer
) -> None:
    model.script = says(f"{FACT} [1]")
    answer = http.post("/v1/query", json={"query": QUESTION}).json()
    generate = receiver.trace(answer["trace_id"])["generate"]
    assert model.headers[-1]["traceparent"] == f"00-{answer['trace_id']}-{generate.id}-01"


@pytest.mark.anyio
async def test_a_reranker_s_server_is_told_too(model: ModelServer, scope: Scope) -> None:
    model.script = refuses(503)
    reranker = HttpReranker(
        f"{model.url}/v1/rerank", dialect="cohere", model="tiny", api_key=None, seconds=5
    )
    trace = Trace()
    with trace.span("rerank") as span, pytest.raises(UpstreamError):
        await reranker.score(Query(text=QUESTION, scope=scope), [])
    await reranker.close()
    assert model.headers[-1]["traceparent"] == trace.traceparent(span)


def test_where_nobody_listens_nothing_waits_and_it_is_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sender = sender_to(f"http://127.0.0.1:{free_port()}")
    before = lost_spans()
    for _ in range(4 * AT_ONCE):
        sender.send(ended())
    wait_for(lambda: lost_spans() - before == 2 * 4 * AT_ONCE)
    assert caplog.text.count("WARNING") + caplog.text.count("ERROR") == 1
    assert "lost until they can be" in caplog.text
    sender.close()


def rejecting(count: int) -> ExportTraceServiceResponse:
    """Returns a receiver's answer that it rejected `count` spans."""
    partial = ExportTracePartialSuccess(rejected_spans=count, error_message=f"of {MAIL}")
    return ExportTraceServiceResponse(partial_success=partial)


def partly(**counts: int) -> bytes:
    """Returns Langfuse's answer about partly accepted scores."""
    return json.dumps({**counts, "errors": []}).encode()


def counted(outcome: str) -> tuple[float, float]:
    """Returns the numbers of traces and of spans with this outcome."""
    traces, spans = (
        REGISTRY.get_sample_value(f"plumbline_{what}_total", {"outcome": outcome}) or 0.0
        for what in ("traces", "spans")
    )
    return traces, spans


AWAY = {"Location": "/v1/traces"}
LOST: dict[str, tuple[Response, int]] = {  # and how many of six spans are lost
    "301": (Response(301, headers=AWAY), 6),
    "302": (Response(302, headers=AWAY), 6),
    "303": (Response(303, headers=AWAY), 6),
    "307": (Response(307, headers=AWAY), 6),
    "308": (Response(308, headers=AWAY), 6),
    "300, to nowhere": (Response(300), 6),
    "400": (Response(400), 6),
    "a log-in page": (Response(200, "text/html; charset=utf-8", b"<html>Log in</html>"), 6),
    "one": (Response(body=rejecting(1).SerializeToString()), 1),
    "five": (Response(body=rejecting(5).SerializeToString()), 5),
    "more than all": (Response(body=rejecting(99).SerializeToString()), 6),
    "two in JSON": (
        Response(202, "application/json", MessageToJson(rejecting(2)).encode()),
        2,
    ),
    "a warning alone": (Response(body=rejecting(0).SerializeToString()), 0),
    "fewer than none": (Response(body=rejecting(-1).SerializeToString()), 0),
    "as Langfuse": (Response(200, "application/json", b'{"message": "OK"}'), 0),
    "no content": (Response(204), 0),
    "other words": (Response(200, "text/plain", b"OK"), 0),
    "another list": (Response(200, "application/json", b"[]"), 0),
}


def of_six_spans() -> Trace:
    trace = ended()
    for _ in range(4):
        with trace.span("search"):
            pass
    return trace


@pytest.mark.parametrize("name", LOST)
def test_only_spans_that_a_receiver_says_it_took_have_arrived(name: str) -> None:
    answer, lost = LOST[name]
    with otlp_server() as receiver:
        receiver.answer = answer
        arrived = exporter(receiver.url, "full", mask)([pickle.dumps(of_six_spans())])
    assert arrived.spans == 6 - lost
    assert bool(arrived.fault) == (lost > 0)
    assert MAIL not in arrived.fault


@pytest.mark.parametrize(("name", "lost"), [("308", (1, 6)), ("five", (1, 5)), ("202", (0, 0))])
def test_what_did_not_arrive_is_counted_and_said(
    name: str, lost: tuple[int, int], caplog: pytest.LogCaptureFixture
) -> None:
    before = {kind: counted(kind) for kind in ("lost", "sent")}
    with otlp_server() as receiver:
        receiver.answer = LOST[name][0] if name in LOST else Response(202)
        sender = sender_to(receiver.url)
        sender.send(of_six_spans())
        sender.close()
    traces, spans = (now - then for now, then in zip(counted("lost"), before["lost"], strict=True))
    assert (traces, spans) == lost
    traces, spans = (now - then for now, then in zip(counted("sent"), before["sent"], strict=True))
    assert (traces, spans) == (1 - lost[0], 6 - lost[1])
    why = {"308": "it answers 308", "five": "it rejects spans, 5 of one request"}
    assert why.get(name, "") in caplog.text
    assert ("lost until they can be" in caplog.text) == (lost[1] > 0)


SCORES: dict[str, tuple[Response, int]] = {  # and how many of three arrive
    "301": (Response(301, headers={"Location": "/api/public/scores"}), 0),
    "308": (Response(308, headers={"Location": "/elsewhere"}), 0),
    "a log-in page": (Response(200, "text/html", b"<html>Log in</html>"), 0),
    "207": (Response(207, "application/json", partly(accepted=2, rejected=1)), 2),
    "207 beyond reason": (Response(207, "application/json", partly(accepted=9, rejected=-6)), 3),
    "202": (Response(202, "application/json", b'{"message": "Accepted"}'), 3),
}


@pytest.mark.parametrize("name", SCORES)
def test_only_scores_that_langfuse_says_it_took_have_arrived(name: str) -> None:
    answer, arrived = SCORES[name]
    scores = tuple(Score(name=n, value=1.0, trace_id="a" * 32, tenant="") for n in "abc")
    privacy = Privacy(mask, capture="full", tenants={})
    options = ExportOptions(privacy=privacy, environment="default", release="1")
    with otlp_server() as receiver:
        receiver.scores_answer = answer
        export = langfuse(receiver.url, public_key="pk", secret_key="sk", options=options)
        assert export([pickle.dumps(scores)]).scores == arrived


def test_what_waits_is_bounded() -> None:
    backlog = Backlog(100)
    parcels = [Parcel(bytes([i]) * 40) for i in range(3)]
    assert [backlog.put(parcel) for parcel in parcels] == [True, True, False]
    assert backlog.take(1) == parcels[:1]
    assert backlog.put(parcels[2])
    assert not backlog.put(parcels[0])
    assert backlog.take(9) == parcels[1:]
    assert backlog.take(9) == []


@pytest.mark.usefixtures("new_interpreters")
def test_a_killed_process_is_started_again_and_nothing_is_lost(receiver: OtlpServer) -> None:
    sender = sender_to(receiver.url)
    first, second = ended(), ended()
    sender.send(first)
    receiver.trace(first.id)
    (child,) = [c for c in psutil.Process().children() if "traces" in c.cmdline()]
    child.kill()
    sender.send(second)
    receiver.trace(second.id)
    sender.close()


def test_a_mask_that_never_ends_holds_up_its_process_alone(
    receiver: OtlpServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("rag.telemetry.background_sender._CALL_SECONDS", 1.0)
    sender = sender_to(receiver.url, capture="masked", mask=never_masks)
    hung, well = ended(), ended(tenant="secret")
    sender.send(hung)
    wait_for(lambda: "TimeoutError" in caplog.text)
    sender.send(well)
    receiver.trace(well.id)
    sender.close()
    assert hung.id not in {span.trace_id for span in receiver.spans}


def test_what_cannot_start_is_told_with_its_cause(caplog: pytest.LogCaptureFixture) -> None:
    sender = TraceSender(refuse, host="nowhere", takes_scores=True)
    sender.send(ended())
    sender.score([Score(name="feedback", value=1.0, trace_id="a" * 32, tenant="")])
    sender.close()
    assert caplog.text.count("no analyzer there") == 2
    assert "Scores cannot be sent to nowhere" in caplog.text


def refuse() -> Exporter:
    raise ConfigError("There is no analyzer there.")


def lost_spans() -> float:
    return counted("lost")[1]


def test_a_key_alone_is_told(tmp_path: Path) -> None:
    (tmp_path / "rag.toml").write_text(
        '[traces]\nlangfuse_url = "http://127.0.0.1:1"\npublic_key = "pk-1"\n'
    )
    with pytest.raises(AssertionError, match="both of its keys"), serving(tmp_path / "data"):
        pass
