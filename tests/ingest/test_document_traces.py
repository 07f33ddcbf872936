"""Document traces at a receiver: from a server, from workers, from the command line."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from tests.otlp_server import OtlpServer, Received, otlp_server
from tests.ports import free_port
from tests.postgres import PostgresServer
from tests.qdrant_grpc import grpc_port
from tests.rag.telemetry.test_tracing import INPUT, KIND, META
from tests.redis_server import RedisServer, redis_server
from tests.servers import Server, ended, finished, rag, serving, submit, wait_for, working
from tests.web import Page, Web, web

CALLER = "00f067aa0ba902b7"
MAIL = "jane.doe@corp.example"
STAGES = ["read", "chunk", "compare", "embed", "upsert", "commit"]
TEXT = "\n\n".join(f"Watt says in paragraph {n} that {n * 7} lamps burn. " * 12 for n in range(6))


@pytest.fixture(scope="module")
def receiver() -> Iterator[OtlpServer]:
    with otlp_server() as running:
        yield running


@pytest.fixture(scope="module")
def site() -> Iterator[Web]:
    with web({}) as running:
        yield running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, receiver: OtlpServer) -> Iterator[Server]:
    """A server that sends successful traces only if the caller samples them."""
    folder = tmp_path_factory.mktemp("document-traces")
    env = to(receiver) | {"RAG_TRACES__RATE": "0", "RAG_FETCH__PRIVATE_ADDRESSES": "true"}
    with serving(folder / "data", env=env) as running:
        yield running


@pytest.fixture
def http(server: Server) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


def to(receiver: OtlpServer) -> dict[str, str]:
    return {"RAG_TRACES__OTLP_URL": f"{receiver.url}/v1/traces"}


def called(trace_id: str, *, flags: str = "01") -> dict[str, str]:
    return {"traceparent": f"00-{trace_id}-{CALLER}-{flags}"}


def send(http: httpx.Client, trace_id: str, *documents: Mapping[str, str]) -> str:
    """Ingests documents in the caller's trace; returns their job's id."""
    body = {"documents": documents}
    accepted = http.post("/v1/documents", json=body, headers=called(trace_id))
    finished(http, accepted)
    return str(accepted.json()["job_id"])


def values_of(span: Received, *names: str) -> list[Any]:
    """Returns a span's values of these metadata attributes, in this order."""
    return [span.attributes[META + name] for name in names]


def below(spans: Sequence[Received], parent: Received) -> list[str]:
    """Returns the names of a span's children, in the order in which they began."""
    of_parent = [span for span in spans if span.parent == parent.id]
    return [span.name for span in sorted(of_parent, key=lambda span: span.start)]


def attempts(receiver: OtlpServer, document_id: str, count: int = 1) -> list[Received]:
    """Waits for `count` `ingest` spans of a document; returns them in the order of their start."""

    def find() -> list[Received] | None:
        key = META + "document_id"
        found = [s for s in list(receiver.spans) if s.attributes.get(key) == document_id]
        return found if len(found) >= count else None

    return sorted(wait_for(find), key=lambda span: span.start)


def test_a_document_is_one_tree_below_its_caller(http: httpx.Client, receiver: OtlpServer) -> None:
    trace_id = "1" * 32
    document = {"id": "watt", "title": "Watt", "text": TEXT, "uri": "https://docs.example/watt"}
    job = send(http, trace_id, document)
    spans = receiver.spans_of(trace_id, "submit", "ingest")
    by_name = {span.name: span for span in spans}
    submitted, ingest, embed = by_name["submit"], by_name["ingest"], by_name["embed"]
    assert (submitted.parent, ingest.parent) == (CALLER, submitted.id)
    assert below(spans, ingest) == STAGES
    assert len(spans) == len(STAGES) + 2
    assert submitted.start <= submitted.end
    assert submitted.start <= ingest.start
    for span in spans:
        assert span.attributes["session.id"] == job
        assert span.attributes["langfuse.trace.name"] == "ingest"
        assert span.error == ""
        if span.parent == ingest.id:
            assert ingest.start <= span.start <= span.end <= ingest.end
    assert values_of(submitted, "collection", "job_id", "documents") == ["default", job, 1]
    assert "langfuse.trace.tags" not in submitted.attributes
    assert ingest.attributes["langfuse.trace.tags"] == ["stored"]
    chunks = http.get("/v1/documents/watt").json()["chunks"]
    assert chunks > 1
    assert values_of(ingest, "outcome", "attempt", "stage", "chunks") == [
        "stored",
        1,
        "parse",
        chunks,
    ]
    assert values_of(ingest, "media_type", "characters", "collection", "job_id") == [
        "text/plain", len(TEXT), "default", job,
    ]  # fmt: skip
    [waited] = values_of(ingest, "waited_seconds")
    assert 0 <= waited < 60
    assert json.loads(ingest.attributes[INPUT]) == {
        "uri": "https://docs.example/watt",
        "title": "Watt",
    }
    assert embed.attributes[KIND] == "embedding"
    assert values_of(embed, "texts") == values_of(by_name["upsert"], "points") == [chunks]
    assert values_of(embed, "embedder")[0].startswith("bert-mean:")
    assert values_of(by_name["compare"], "kept") == [0]


def test_what_is_kept_and_deleted_of_a_document_and_what_did_not_change(
    http: httpx.Client, receiver: OtlpServer
) -> None:
    paragraphs = TEXT.split("\n\n")
    texts = [TEXT, TEXT, "\n\n".join([*paragraphs[:-1], "No lamps at all."])]
    for text in texts:
        send(http, "2" * 32, {"id": "edited", "text": text})
    first, same, edited = attempts(receiver, "edited", 3)
    spans = receiver.spans_of("2" * 32, "submit", "submit", "submit")
    assert [values_of(span, "outcome")[0] for span in (first, same, edited)] == [
        "stored", "unchanged", "stored",
    ]  # fmt: skip
    assert below(spans, same) == ["read"]
    assert below(spans, edited) == [*STAGES[:-1], "delete", "commit"]
    of_edited = {span.name: span for span in spans if span.parent == edited.id}
    [kept], [gone] = (
        values_of(of_edited["compare"], "kept"),
        values_of(of_edited["delete"], "points"),
    )
    [written], [chunks] = values_of(of_edited["upsert"], "points"), values_of(edited, "chunks")
    assert kept + written == chunks
    assert kept + gone == values_of(first, "chunks")[0]


def test_of_several_each_has_its_trace_and_they_share_the_job(
    http: httpx.Client, receiver: OtlpServer, tmp_path: Path
) -> None:
    with serving(tmp_path / "data", env=to(receiver)) as all_sent, all_sent.client() as other:
        job = send(other, "3" * 32, {"id": "three", "text": "Three."}, {"id": "four", "text": "4."})
        ingests = [attempts(receiver, name)[0] for name in ("three", "four")]
        ids = {span.trace_id for span in ingests}
        assert len(ids | {"3" * 32}) == 3
        for ingest in ingests:
            submitted = receiver.trace(ingest.trace_id, "submit")["submit"]
            assert (submitted.parent, ingest.parent) == ("", submitted.id)
            assert values_of(submitted, "caller", "documents") == [f"{'3' * 32}-{CALLER}", 2]
            assert {s.attributes["session.id"] for s in (submitted, ingest)} == {job}
        many = [{"id": f"many-{n}", "text": f"Number {n}."} for n in range(20)]
        job = send(other, "4" * 32, *many)
        submitted = receiver.trace("4" * 32, "submit")["submit"]
        assert (submitted.parent, values_of(submitted, "documents", "job_id")) == (
            CALLER,
            [20, job],
        )
        ingests = [attempts(receiver, document["id"])[0] for document in many]
        assert len({span.trace_id for span in ingests}) == 20
        assert {span.parent for span in ingests} == {""}
        assert {span.attributes["session.id"] for span in ingests} == {job}


def test_what_fails_is_sent_and_says_how_and_what_ends_well_by_the_rate(
    http: httpx.Client, receiver: OtlpServer
) -> None:
    submit(http, {"id": "well", "text": "It ends well."})
    files = [("files", ("broken.pdf", b"%PDF-1.7 and nothing else"))]
    job = finished(http, http.post("/v1/documents", files=files))
    assert job["counts"]["failed"] == 1
    [failed] = attempts(receiver, job["failures"][0]["document_id"])
    assert values_of(failed, "outcome", "attempt") == ["failed", 1]
    assert failed.error == failed.attributes["langfuse.observation.status_message"] != ""
    assert failed.attributes["langfuse.observation.level"] == "ERROR"
    spans = receiver.spans_of(failed.trace_id, "ingest")
    assert below(spans, failed) == ["read"]
    assert next(span for span in spans if span.name == "read").error
    assert not any("well" in span.attributes.get(INPUT, "") for span in receiver.spans)


def test_each_attempt_is_told_in_one_trace_and_no_web_server_is_told_of_it(
    http: httpx.Client, receiver: OtlpServer, site: Web
) -> None:
    site.pages["/lamps.txt"] = Page(b"Not now.", 503)
    body = {"documents": [{"id": "page", "uri": f"{site.url}/lamps.txt"}]}
    accepted = http.post("/v1/documents", json=body)
    [postponed] = attempts(receiver, "page")
    site.pages["/lamps.txt"] = Page(b"Lamps burn.")
    assert ended(http, accepted.json()["job_id"])["counts"]["succeeded"] == 1
    *_, stored = attempts(receiver, "page", 2)
    assert (postponed.error, *values_of(postponed, "outcome", "attempt")) == (
        "fetch_failed",
        "postponed",
        1,
    )
    assert (stored.error, *values_of(stored, "outcome")) == ("", "stored")
    assert values_of(stored, "attempt")[0] > 1
    assert values_of(stored, "waited_seconds") > values_of(postponed, "waited_seconds")
    assert (stored.trace_id, stored.parent) == (postponed.trace_id, postponed.parent)
    assert stored.parent  # which was not sent: nobody knew that it would be of interest
    assert all("traceparent" not in headers for _, headers in site.requests)


def test_what_a_document_is_called_is_masked_and_what_it_says_stays_here(
    http: httpx.Client, receiver: OtlpServer
) -> None:
    document = {"id": "secret", "title": f"To {MAIL}", "text": f"xyzzy {MAIL}",
                "uri": f"https://docs.example/{MAIL}"}  # fmt: skip
    send(http, "6" * 32, document)
    spans = receiver.trace("6" * 32, "submit", "ingest")
    for name in ("submit", "ingest"):
        assert json.loads(spans[name].attributes[INPUT]) == {
            "uri": "https://docs.example/[e-mail]",
            "title": "To [e-mail]",
        }
    everything = b"".join(receiver.bodies)
    assert MAIL.encode() not in everything
    assert b"xyzzy" not in everything


def test_from_the_command_line_with_a_receiver_that_is_away(
    receiver: OtlpServer, tmp_path: Path
) -> None:
    for n in range(3):
        (tmp_path / f"lamp-{n}.txt").write_text(f"{n} lamps burn.")
    files = sorted(tmp_path.glob("lamp-*.txt"))
    away = {"RAG_TRACES__OTLP_URL": f"http://127.0.0.1:{free_port()}/v1/traces"}
    langfuse = {
        "RAG_TRACES__LANGFUSE_URL": receiver.url,
        "RAG_TRACES__PUBLIC_KEY": "pk-1",
        "RAG_TRACES__SECRET_KEY": "sk-1",
    }
    ran = rag("ingest", *files, data=tmp_path / "data", env=away | langfuse)
    assert ran.returncode == 0, ran.stderr

    def of_documents() -> list[Received] | None:
        found = [s for s in list(receiver.spans) if str(tmp_path) in s.attributes.get(INPUT, "")]
        return found if len(found) == 2 * 3 else None

    found = wait_for(of_documents)
    assert len({span.attributes["session.id"] for span in found}) == 1
    submitted = {span.trace_id: span.id for span in found if span.name == "submit"}
    ingested = {span.trace_id: span.parent for span in found if span.name == "ingest"}
    assert len(submitted) == 3
    assert ingested == submitted


def test_from_the_command_line_a_share_is_sent(receiver: OtlpServer, tmp_path: Path) -> None:
    file = tmp_path / "lamp.txt"
    file.write_text("A lamp burns.")
    env = to(receiver) | {"RAG_TRACES__RATE": "0"}
    ran = rag("ingest", file, data=tmp_path / "data", env=env)  # it ends once all is sent
    assert ran.returncode == 0, ran.stderr
    assert not [s for s in receiver.spans if str(file) in s.attributes.get(INPUT, "")]


@pytest.mark.anyio
async def test_through_a_worker_and_through_a_worker_for_each_stage(
    receiver: OtlpServer, tmp_path: Path, postgres: PostgresServer
) -> None:
    (tmp_path / "rag.toml").write_text(
        '[generator]\nkind = "openai"\nmodel = "x"\nbase_url = "http://127.0.0.1:1/v1"\n'
    )
    async with grpc_port() as port:
        with redis_server(tmp_path / "redis") as broker:
            settings = to(receiver) | {
                "RAG_INDEX__KIND": "qdrant",
                "RAG_INDEX__URL": f"http://127.0.0.1:{port}",
                "RAG_INDEX__GRPC_PORT": str(port),
                "RAG_CATALOG__KIND": "postgres",
                "RAG_CATALOG__URL": postgres.new_database(),
                "RAG_QUEUE__KIND": "celery",
                "RAG_QUEUE__BROKER_URL": broker.url,
            }
            # In a thread: the index answers on this event loop.
            await asyncio.to_thread(_through_workers, tmp_path, settings, receiver, broker)


def _through_workers(
    folder: Path, settings: Mapping[str, str], receiver: OtlpServer, broker: RedisServer
) -> None:
    data = folder / "data"
    # A worker answers nobody: what would is not opened, or it would not start.
    broken = {"RAG_GENERATOR__TEMPLATES": str(folder / "none")}
    with serving(data, env=settings) as api, api.client() as http:
        body = {"documents": [{"id": "watt-7", "text": TEXT}]}
        accepted = http.post("/v1/documents", json=body, headers=called("7" * 32))
        header = _traceparent_in(broker)
        with working(data, {**settings, **broken}):
            finished(http, accepted)
            spans = receiver.spans_of("7" * 32, "submit", "ingest")
            by_name = {span.name: span for span in spans}
            submitted, ingest = by_name["submit"], by_name["ingest"]
            assert header == f"00-{'7' * 32}-{submitted.id}-01"
            assert (submitted.parent, ingest.parent) == (CALLER, submitted.id)
            assert below(spans, ingest) == STAGES
            assert values_of(ingest, "outcome", "attempt", "stage") == ["stored", 1, "parse"]
            assert values_of(ingest, "waited_seconds")[0] > 0
        with (
            working(data, settings, "--stage", "parse"),
            working(data, settings, "--stage", "embed"),
        ):
            send(http, "8" * 32, {"id": "watt-8", "text": TEXT + "."})
        spans = receiver.spans_of("8" * 32, "submit", "ingest", "ingest")
        submitted = next(span for span in spans if span.name == "submit")
        parsed, stored = attempts(receiver, "watt-8", 2)
        assert {parsed.parent, stored.parent} == {submitted.id}
        assert below(spans, parsed) == ["read", "commit"]
        assert below(spans, stored) == STAGES[1:]
        assert values_of(parsed, "outcome", "stage") == ["parsed", "parse"]
        assert values_of(stored, "outcome", "stage") == ["stored", "embed"]
        assert stored.start > parsed.start


def _traceparent_in(broker: RedisServer) -> str:
    """Returns the header of the message in the queue."""
    with redis.Redis.from_url(broker.url) as queues:
        message = wait_for(lambda: queues.lindex("plumbline.parse.interactive", 0))
    return str(json.loads(message)["headers"]["traceparent"])
