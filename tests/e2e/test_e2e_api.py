"""The REST API, through a real server."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from rag.api import responses, schemas
from rag.text.uris import document_id
from tests.servers import (
    Json,
    Server,
    all_chunks,
    all_documents,
    encoded,
    ended,
    finished,
    launched,
    serving,
    submit,
    wait_for,
)

MIB = 1 << 20
HANDBOOK = """The office opens at nine in the morning. The canteen serves lunch from noon.

Travel is booked through the travel desk. A train ticket needs no approval. A flight needs the
approval of a manager, and of the board where it costs more than a thousand euros.

Passwords have at least sixteen characters. They are changed when they have leaked, not before.
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    limits = {"RAG_LIMITS__FILE_MB": "1", "RAG_LIMITS__UPLOAD_MB": "4"}
    with serving(tmp_path_factory.mktemp("api") / "data", env=limits) as running:
        yield running
        assert "Traceback" not in running.log.read_text()


@pytest.fixture(scope="module")
def http(server: Server) -> Iterator[httpx.Client]:
    with server.client() as client:
        job = submit(
            client,
            {"id": "handbook", "title": "Handbook", "text": HANDBOOK, "uri": "https://a.example/h",
             "meta": {"year": 2024, "since": "2024-05-31", "draft": False, "tags": ["a", "b"]}},
            {"id": "garden", "text": "Tomatoes are sown in March and planted out in May.",
             "meta": {"year": 1999, "since": "1999-01-01T12:00:00Z", "draft": True}},
        )  # fmt: skip
        assert job["state"] == "succeeded"
        yield client


def problem(response: httpx.Response, status: int, code: str) -> str:
    """Checks the form of a problem and returns its detail."""
    assert response.headers["content-type"] == "application/problem+json", response.text
    body = response.json()
    assert (response.status_code, body["code"]) == (status, code), body
    assert body == responses.Problem.model_validate(body).model_dump()
    assert body["status"] == status
    assert body["type"] == f"urn:plumbline:problem:{code}"
    assert body["request_id"] == response.headers["x-request-id"]
    assert len(body["detail"]) > 5
    detail: str = body["detail"]
    return detail


def exactly(model: type[BaseModel], response: httpx.Response, status: int = 200) -> Json:
    """Checks that the body has exactly the model's fields, and returns it."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    body: Json = response.json()
    assert model.model_validate(body).model_dump(mode="json") == body
    return body


def ask(http: httpx.Client, path: str = "/v1/search", **body: Any) -> httpx.Response:
    return http.post(path, json={"query": "When does the office open?"} | body)


def ask_raw(http: httpx.Client, body: str | bytes, path: str = "/v1/search") -> httpx.Response:
    return http.post(path, content=body, headers={"Content-Type": "application/json"})


def upload(
    http: httpx.Client, *files: tuple[str, bytes], collection: str = "files", **form: Any
) -> httpx.Response:
    return http.post(
        "/v1/documents",
        files=[("files", file) for file in files],
        data={"collection": collection} | form,
    )


def events(response: httpx.Response) -> list[tuple[str, Json]]:
    """Returns the names and data of server-sent events."""
    found = []
    for block in response.text.split("\n\n"):
        if block.startswith("event: "):
            name, data = block.split("\n")
            found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


class TestHealth:
    def test_ready_only_when_warm(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        with (
            launched(tmp_path_factory.mktemp("cold") / "data") as cold,
            cold.client() as http,
        ):
            seen: list[int] = []

            def ready() -> bool:
                try:
                    healthy, answer = http.get("/healthz"), http.get("/readyz")
                except httpx.TransportError:
                    return False
                assert healthy.json() == {"status": "ok"}
                if answer.status_code != 200:
                    problem(answer, 503, "loading")
                    assert answer.headers["retry-after"]
                seen.append(answer.status_code)
                return answer.status_code == 200

            wait_for(ready)
            assert set(seen[:-1]) == {503}
            assert http.get("/readyz").json() == {"status": "ready"}
            assert ask(http).status_code == 404  # an empty folder has no collection yet

    def test_openapi(self, http: httpx.Client) -> None:
        document = http.get("/openapi.json").json()
        assert document["openapi"].startswith("3.1")
        served = {
            f"{method.upper()} {path}"
            for path, operations in document["paths"].items()
            for method in operations
        }
        assert {
            "POST /v1/query",
            "POST /v1/search",
            "POST /v1/documents",
            "GET /v1/documents",
            "GET /v1/documents/{document_id}",
            "DELETE /v1/documents/{document_id}",
            "GET /v1/documents/{document_id}/chunks",
            "GET /v1/jobs/{job_id}",
            "DELETE /v1/jobs/{job_id}",
            "GET /v1/collections",
            "GET /v1/models",
            "GET /v1/models/{model}",
            "POST /v1/chat/completions",
            "POST /v1/embeddings",
            "POST /v1/rerank",
            "GET /healthz",
            "GET /readyz",
        } <= served
        text = json.dumps(document)
        for reference in set(re.findall(r'"\$ref": "([^"]+)"', text)):
            place: Any = document
            assert reference.startswith("#/")
            for step in reference[2:].split("/"):
                place = place[step]
        operations = [o for path in document["paths"].values() for o in path.values()]
        ids = [operation["operationId"] for operation in operations]
        assert len(ids) == len(set(ids))
        assert all(operation["responses"] for operation in operations)
        body = document["paths"]["/v1/documents"]["post"]["requestBody"]["content"]
        schemas.DocumentsRequest.model_validate(body["application/json"]["example"])
        assert "multipart/form-data" in body
        schema = document["components"]["schemas"]["SearchRequest"]
        assert schema["properties"]["query"]["examples"]
        assert http.get("/docs").status_code == 200


class TestHeaders:
    def test_request_id_is_kept(self, http: httpx.Client) -> None:
        response = http.get("/healthz", headers={"X-Request-ID": "order-66/a:b"})
        assert response.headers["x-request-id"] == "order-66/a:b"
        refused = ask(http, top_k=0)
        assert re.fullmatch(r"[0-9a-f]{32}", refused.json()["request_id"])

    @pytest.mark.parametrize("hostile", ["", "x" * 129, "a b", "a\tb", b"\xc3\xa9", '"><script> x'])
    def test_hostile_request_id_is_replaced(self, http: httpx.Client, hostile: str | bytes) -> None:
        headers = {b"X-Request-ID": hostile if isinstance(hostile, bytes) else hostile.encode()}
        response = http.get("/healthz", headers=headers)
        assert re.fullmatch(r"[0-9a-f]{32}", response.headers["x-request-id"])

    def test_traceparent(self, http: httpx.Client) -> None:
        trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
        headers = {"traceparent": f"00-{trace_id}-00f067aa0ba902b7-01"}
        body = {"query": "office"}
        for path in ("/v1/search", "/v1/query"):
            assert http.post(path, json=body, headers=headers).json()["trace_id"] == trace_id
        headers = {"traceparent": "00-junk"}
        assert http.post("/v1/search", json=body, headers=headers).json()["trace_id"] != trace_id

    def test_unknown_routes(self, http: httpx.Client) -> None:
        problem(http.get("/nowhere"), 404, "no_such_route")
        problem(http.post("/v1/documents/", json={}), 405, "method_not_allowed")
        refused = http.put("/v1/search")
        problem(refused, 405, "method_not_allowed")
        assert refused.headers["allow"] == "POST"


class TestSearch:
    def test_shape(self, http: httpx.Client) -> None:
        body = exactly(responses.SearchResponse, ask(http, top_k=5))
        assert body["hits"][0]["document_id"] == "handbook"
        first = body["hits"][0]
        assert first["ranks"] == {"dense": 1, "sparse": 1, "rerank": 1}
        assert first["title"] == "Handbook"
        assert first["uri"] == "https://a.example/h"
        assert first["meta"]["tags"] == ["a", "b"]
        assert first["meta"]["draft"] is False
        assert HANDBOOK[first["start"] : first["end"]] == first["text"]
        assert {"embed", "search", "total"} <= set(body["timings"])
        scores = [hit["score"] for hit in body["hits"]]
        assert scores == sorted(scores, reverse=True)
        assert body["degraded"] == []

    def test_top_k(self, http: httpx.Client) -> None:
        assert len(ask(http, top_k=1).json()["hits"]) == 1
        assert ask(http, top_k=100).status_code == 200
        assert "limits.top_k" in problem(ask(http, top_k=101), 422, "invalid_input")
        wrongs: list[Any] = [0, -1, 10**30, 1.5, None, [], "many"]
        for wrong in wrongs:
            assert "top_k" in problem(ask(http, top_k=wrong), 422, "invalid_input")

    @pytest.mark.parametrize(
        ("condition", "found"),
        [
            (("year", "eq", 2024), {"handbook"}),
            (("meta.year", "eq", 2024.0), {"handbook"}),
            (("year", "in", [1999, 2024]), {"handbook", "garden"}),
            (("year", "lt", 2000), {"garden"}),
            (("year", "gte", 2025), set()),
            (("since", "gte", "2024-05-31"), {"handbook"}),
            (("since", "lt", "2024-05-31T00:00:00Z"), {"garden"}),
            (("draft", "eq", True), {"garden"}),
            (("tags", "eq", "b"), {"handbook"}),
            (("title", "eq", "Handbook"), {"handbook"}),
            (("document_id", "in", ["garden", "nobody"]), {"garden"}),
            (("uri", "eq", "https://a.example/h"), {"handbook"}),
            (("year", "eq", "2024"), set()),
            (("year", "eq", 10**25), set()),
        ],
    )
    def test_filters(
        self, http: httpx.Client, condition: tuple[str, str, Any], found: set[str]
    ) -> None:
        condition_ = dict(zip(("field", "op", "value"), condition, strict=True))
        body = ask(http, filters=[condition_]).json()
        assert {hit["document_id"] for hit in body["hits"]} == found

    def test_filters_are_joined_by_and(self, http: httpx.Client) -> None:
        year = {"field": "year", "op": "gt", "value": 1000}
        draft = {"field": "draft", "op": "eq", "value": True}
        hits = ask(http, filters=[year, draft]).json()["hits"]
        assert {hit["document_id"] for hit in hits} == {"garden"}

    def test_unknown_field(self, http: httpx.Client) -> None:
        wrong = {"field": "yaer", "op": "eq", "value": 2024}
        assert "'year'" in problem(ask(http, filters=[wrong]), 404, "unknown_field")

    @pytest.mark.parametrize(
        "value",
        ["NaN", "1e999", "1" + "0" * 400, "null", "{}", "[]", "[[1]]", '"\\ud800"', '["a\\u0000"]'],
    )
    @pytest.mark.parametrize("op", ["eq", "in", "gte"])
    def test_filter_values_that_cannot_be(self, http: httpx.Client, op: str, value: str) -> None:
        condition = f'{{"field": "year", "op": "{op}", "value": {value}}}'
        response = ask_raw(http, f'{{"query": "x", "filters": [{condition}]}}')
        assert "filters.0.value" in problem(response, 422, "invalid_input")

    def test_filters_that_make_no_sense(self, http: httpx.Client) -> None:
        for condition, code in [
            ({"field": "year", "op": "eq", "value": [1]}, "invalid_filter"),
            ({"field": "year", "op": "gte", "value": "soon"}, "invalid_filter"),
            ({"field": "draft", "op": "lt", "value": True}, "invalid_filter"),
            ({"field": "year", "op": "like", "value": 1}, "invalid_input"),
            ({"field": "a b", "op": "eq", "value": 1}, "invalid_input"),
            ({"field": "year", "op": "eq", "value": 1, "extra": 1}, "invalid_input"),
        ]:
            problem(ask(http, filters=[condition]), 422, code)
        many = [{"field": "year", "op": "eq", "value": 1}] * 21
        problem(ask(http, filters=many), 422, "invalid_input")

    def test_values_are_checked_in_an_empty_collection_too(self, http: httpx.Client) -> None:
        assert submit(http, {"id": "e", "text": " \n"}, collection="empty")["state"] == "failed"
        wrong = {"field": "year", "op": "gte", "value": ""}
        for path in ("/v1/search", "/v1/query"):
            response = ask(http, path, filters=[wrong], collection="empty")
            problem(response, 422, "invalid_filter")

    @pytest.mark.parametrize("date", ["2024-13-45", "0000-00-00", "2024-05-31T25:61"])
    def test_dates_that_are_none(self, http: httpx.Client, date: str) -> None:
        wrong = {"field": "since", "op": "gte", "value": date}
        problem(ask(http, filters=[wrong]), 422, "invalid_filter")

    def test_conversations(self, http: httpx.Client) -> None:
        messages = [
            {"role": "user", "content": "Who composed the opera Tosca?"},
            {"role": "assistant", "content": "Puccini did."},
            {"role": "user", "content": "When does the office open?"},
        ]
        body = {"messages": messages}
        answer = exactly(responses.QueryResponse, http.post("/v1/query", json=body))
        alone = ask(http, "/v1/query").json()
        assert answer["question"] == alone["question"] == "When does the office open?"
        assert (answer["answer"], answer["hits"]) == (alone["answer"], alone["hits"])
        sent = events(http.post("/v1/query", json=body | {"stream": True}))
        assert sent[-1][1]["question"] == answer["question"]
        and_on = http.post("/v1/query", json={"messages": [*messages, messages[1]]}).json()
        assert and_on["question"] == answer["question"]  # what follows it is not read
        for wrong, where in [
            ({}, "query"),
            (body | {"query": "Both?"}, "query"),
            ({"messages": []}, "messages"),
            ({"messages": messages[1:2]}, "messages"),
            ({"messages": [*messages, messages[2] | {"content": " "}]}, "messages"),
            ({"messages": [{"role": "user", "content": " "}]}, "messages"),
            ({"messages": [{"role": "system", "content": "x"}]}, "messages.0.role"),
            ({"messages": [{"role": "user", "content": ["x"]}]}, "messages.0.content"),
        ]:
            refused = http.post("/v1/query", json=wrong)
            assert where in problem(refused, 422, "invalid_input")
        long = http.post("/v1/query", json={"messages": messages[2:] * 1001})
        assert "limits.messages" in problem(long, 413, "conversation_too_long")
        problem(http.post("/v1/search", json=body), 422, "invalid_input")

    def test_unknown_collection(self, http: httpx.Client) -> None:
        for path in ("/v1/search", "/v1/query"):
            for stream in ({}, {"stream": True}) if path == "/v1/query" else ({},):
                detail = problem(
                    ask(http, path, collection="nope", **stream), 404, "unknown_collection"
                )
                assert "GET /v1/collections" in detail

    @pytest.mark.parametrize("name", ["", "A", "a b", "../x", "a\n", "x" * 65, 5, None])
    def test_collection_names(self, http: httpx.Client, name: Any) -> None:
        assert "collection" in problem(ask(http, collection=name), 422, "invalid_input")

    @pytest.mark.parametrize("path", ["/v1/search", "/v1/query"])
    def test_questions_that_cannot_be_served(self, http: httpx.Client, path: str) -> None:
        for blank in ("", " \n\t"):
            problem(ask(http, path, query=blank), 422, "invalid_input")
        detail = problem(ask(http, path, query="x" * 100_000), 413, "question_too_long")
        assert "limits.question_chars" in detail
        wrongs: list[Any] = [None, 5, ["x"], {}]
        for wrong in wrongs:
            problem(ask(http, path, query=wrong), 422, "invalid_input")
        problem(ask(http, path, colection="x"), 422, "invalid_input")
        assert ask(http, path, query="office " * 570).status_code == 200
        assert ask(http, path, query="\0 office \U0001f600").status_code == 200

    @pytest.mark.parametrize(
        "body",
        [b"{", b"{'query': 1}", b'{"query": "\xff"}', b"[" * 200_000, b'{"top_k": 1' + b"0" * 5000],
    )
    def test_bodies_that_are_no_json(self, http: httpx.Client, body: bytes) -> None:
        for path in ("/v1/search", "/v1/query", "/v1/documents"):
            problem(ask_raw(http, body, path), 422, "malformed_json")

    @pytest.mark.parametrize("body", [b"", b"[]", b"null", b"5", b'{"query": "\\ud800"}'])
    def test_bodies_that_are_no_question(self, http: httpx.Client, body: bytes) -> None:
        problem(ask_raw(http, body), 422, "invalid_input")

    def test_oversized_bodies(self, http: httpx.Client) -> None:
        def grow() -> Iterator[bytes]:
            yield b'{"query": "'
            for _ in range(40):
                yield b"x" * 65536
            yield b'"}'

        problem(ask(http, query="x" * 2 * MIB), 413, "too_large")
        problem(http.post("/v1/search", content=grow()), 413, "too_large")


class TestQuery:
    def test_shape_and_citations(self, http: httpx.Client) -> None:
        body = exactly(responses.QueryResponse, ask(http, "/v1/query"))
        assert not body["abstained"]
        assert body["reason"] is None
        assert "opens at nine" in body["answer"]
        assert body["citations"]
        markers = {int(m) for m in re.findall(r"\[(\d+)\]", body["answer"])}
        assert markers == {citation["marker"] for citation in body["citations"]}
        for citation in body["citations"]:
            chunk = next(
                chunk
                for chunk in all_chunks(http, citation["document_id"])
                if chunk["id"] == citation["chunk_id"]
            )
            start, end = citation["start"] - chunk["start"], citation["end"] - chunk["start"]
            assert chunk["text"][start:end] == citation["quote"]
            assert 0 <= citation["support"] <= 1
            assert body["hits"][citation["marker"] - 1]["chunk_id"] == citation["chunk_id"]

    def test_abstains(self, http: httpx.Client) -> None:
        response = ask(http, "/v1/query", query="Who composed the opera Tosca?")
        body = exactly(responses.QueryResponse, response)
        assert body["abstained"]
        assert body["answer"] == ""
        assert body["citations"] == []
        assert body["reason"] in ("no_match", "weak_evidence")
        nobody = [{"field": "document_id", "op": "eq", "value": "nobody"}]
        assert ask(http, "/v1/query", filters=nobody).json()["reason"] == "no_documents"

    def test_stream(self, http: httpx.Client) -> None:
        response = ask(http, "/v1/query", stream=True)
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["x-request-id"]
        sent = events(response)
        names = [name for name, _ in sent]
        assert names[0] == "hits"
        assert names[-1] == "answer"
        assert set(names[1:-1]) == {"token", "citation"}
        answer = sent[-1][1]
        assert responses.QueryResponse.model_validate(answer).model_dump(mode="json") == answer
        assert answer["answer"] == "".join(data["text"] for name, data in sent if name == "token")
        assert answer["citations"] == [data for name, data in sent if name == "citation"]
        assert sent[0][1] == {"hits": answer["hits"]}
        same = ask(http, "/v1/query").json()
        assert (same["answer"], same["citations"]) == (answer["answer"], answer["citations"])

    def test_stream_that_abstains(self, http: httpx.Client) -> None:
        response = ask(http, "/v1/query", query="Who composed the opera Tosca?", stream=True)
        assert [name for name, _ in events(response)] == ["hits", "answer"]


class TestDocuments:
    def test_accepted_and_listed_at_once(self, http: httpx.Client) -> None:
        documents = [{"id": f"d{n:02}", "text": f"Document number {n}."} for n in range(30)]
        sent = {"collection": "at-once", "documents": documents}
        response = http.post("/v1/documents", json=sent)
        body = exactly(responses.Accepted, response, 202)
        assert response.headers["location"] == f"/v1/jobs/{body['job_id']}"
        assert body["documents"] == [{"id": d["id"], "state": "pending"} for d in documents]
        listed = all_documents(http, "at-once", limit=7)
        assert [d["id"] for d in listed] == [d["id"] for d in documents]
        job = exactly(responses.JobOut, http.get(response.headers["location"]))
        assert job["state"] in ("pending", "running", "succeeded")
        job = finished(http, response)
        assert job["state"] == "succeeded"
        assert job["counts"] == {
            "total": 30, "pending": 0, "running": 0, "succeeded": 30, "failed": 0, "cancelled": 0,
        }  # fmt: skip
        assert job["outcomes"] == {"stored": 30}
        page = exactly(
            responses.DocumentPage, http.get("/v1/documents?collection=at-once&limit=30")
        )
        assert page["next_cursor"] is None
        assert {d["state"] for d in page["documents"]} == {"succeeded"}
        assert {d["chunks"] for d in page["documents"]} == {1}

    @pytest.mark.parametrize(
        "own", ["a/b", "/a/", "../..", "ü #1?%2F&x=1", "a b", "\U0001f600", "x" * 512]
    )
    def test_own_ids(self, http: httpx.Client, own: str) -> None:
        job = submit(http, {"id": own, "text": "An id of its own."}, collection="own")
        assert job["state"] == "succeeded"
        path = f"/v1/documents/{encoded(own)}"
        here = {"collection": "own"}
        assert exactly(responses.DocumentOut, http.get(path, params=here))["id"] == own
        chunks = exactly(responses.ChunkPage, http.get(f"{path}/chunks", params=here))["chunks"]
        assert [chunk["text"] for chunk in chunks] == ["An id of its own."]
        assert http.delete(path, params=here).status_code == 204
        problem(http.get(path, params=here), 404, "unknown_document")

    def test_derived_ids(self, http: httpx.Client) -> None:
        sent = [{"text": "From a place.", "uri": "https://a.example/1"}, {"text": "From nowhere."}]
        body = {"collection": "derived", "documents": sent}
        first, again = (http.post("/v1/documents", json=body).json() for _ in range(2))
        ids = [document["id"] for document in first["documents"]]
        assert ids[0] == document_id("https://a.example/1")
        assert ids == [document["id"] for document in again["documents"]]
        assert ended(http, again["job_id"])["state"] == "succeeded"
        assert len(all_documents(http, "derived")) == 2

    def test_resubmission(self, http: httpx.Client) -> None:
        here = {"collection": "again"}
        first = {"id": "a", "text": "The lamp is red.", "title": "Lamp", "meta": {"n": 1}}
        assert submit(http, first, **here)["outcomes"] == {"stored": 1}
        assert submit(http, first, **here)["outcomes"] == {"unchanged": 1}
        assert submit(http, first | {"text": "The lamp is green."}, **here)["outcomes"] == {
            "stored": 1
        }
        found = ask(http, query="Which colour is the lamp?", **here).json()["hits"]
        assert [hit["text"] for hit in found] == ["The lamp is green."]
        listed = all_documents(http, "again")
        assert [(d["id"], d["title"], d["chunks"]) for d in listed] == [("a", "Lamp", 1)]

    def test_chunks_by_page(self, http: httpx.Client) -> None:
        text = "\n\n".join(f"Paragraph {n} speaks of the number {n}. " * 8 for n in range(60))
        submit(http, {"id": "long", "text": text}, collection="chunks")
        chunks = all_chunks(http, "long", "chunks", limit=3)
        assert len(chunks) > 9
        assert chunks == all_chunks(http, "long", "chunks")
        assert [chunk["position"] for chunk in chunks] == list(range(len(chunks)))
        assert len({chunk["id"] for chunk in chunks}) == len(chunks)
        for chunk in chunks:
            assert text[chunk["start"] : chunk["end"]] == chunk["text"]
        record = http.get("/v1/documents/long?collection=chunks").json()
        assert record["chunks"] == len(chunks)

    def test_delete(self, http: httpx.Client) -> None:
        submit(http, {"id": "gone", "text": "A zebra stands alone."}, collection="delete")
        assert ask(http, query="zebra", collection="delete").json()["hits"]
        response = http.delete("/v1/documents/gone?collection=delete")
        assert (response.status_code, response.content) == (204, b"")
        assert ask(http, query="zebra", collection="delete").json()["hits"] == []
        for path in ("gone", "gone/chunks"):
            problem(http.get(f"/v1/documents/{path}?collection=delete"), 404, "unknown_document")
        problem(http.delete("/v1/documents/gone?collection=delete"), 404, "unknown_document")

    def test_collections_are_apart(self, http: httpx.Client) -> None:
        submit(http, {"id": "same", "text": "The secret word is marmalade."}, collection="left")
        submit(http, {"id": "same", "text": "The secret word is rhubarb."}, collection="right")
        for name, word in (("left", "marmalade"), ("right", "rhubarb")):
            hits = ask(http, query="secret word", collection=name).json()["hits"]
            assert [hit["text"] for hit in hits] == [f"The secret word is {word}."]
        http.delete("/v1/documents/same?collection=left")
        assert len(ask(http, query="secret", collection="right").json()["hits"]) == 1
        body = exactly(responses.CollectionList, http.get("/v1/collections"))
        held = {each["name"]: each["documents"] for each in body["collections"]}
        assert (held["left"], held["right"]) == (0, 1)

    def test_uploads(self, http: httpx.Client) -> None:
        job = finished(
            http,
            upload(
                http,
                ("plain.txt", b"Plain text about otters."),
                ("marked.md", b"# Owls\n\nOwls hunt at night."),
                ("page.html", b"<title>Bees</title><p>Bees dance.</p>"),
                ("README", b"No extension is plain text."),
                ("west.txt", "Die Straße führt über die Brücke – „schön“ gesagt.".encode("cp1252")),
                collection="uploads",
            ),
        )
        assert job["outcomes"] == {"stored": 5}, job
        listed = {d["uri"]: d for d in all_documents(http, "uploads")}
        assert listed["upload:marked.md"]["title"] == "Owls"
        assert listed["upload:page.html"]["media_type"] == "text/html"
        chunk = all_chunks(http, listed["upload:west.txt"]["id"], "uploads")[0]
        assert chunk["text"].startswith("Die Straße führt über die Brücke – „schön“")

    def test_uploads_with_uris(self, http: httpx.Client) -> None:
        files = ("a.txt", b"First of two."), ("a.txt", b"Second of two.")
        uris = ["https://a.example/one", "https://a.example/two"]
        job = finished(http, upload(http, *files, uri=uris))
        assert job["state"] == "succeeded"
        assert [d["uri"] for d in all_documents(http, "files") if d["uri"] in uris]
        assert "uris" in problem(upload(http, *files, uri=uris[:1]), 409, "conflict")
        problem(upload(http, *files, uri=["x", "x"]), 409, "duplicate_id")
        problem(upload(http, *files, uri=["x", ""]), 422, "invalid_input")
        problem(upload(http, *files, uri=["x", "a\0b"]), 422, "invalid_input")

    def test_full_upload(self, http: httpx.Client) -> None:
        files = [(f"{n}.txt", f"File {n}.".encode()) for n in range(1000)]
        uris = [f"x:{n}" for n in range(1000)]
        accepted = upload(http, *files, collection="full", uri=uris)
        assert accepted.status_code == 202, accepted.text
        assert http.delete(accepted.headers["location"]).status_code == 200
        detail = problem(upload(http, *files, ("more.txt", b"x")), 413, "too_large")
        assert "limits.upload_documents" in detail

    def test_uploads_that_cannot_be(self, http: httpx.Client) -> None:
        good = ("good.txt", b"Good.")
        for files, status, code in [
            ([good, ("empty.txt", b"")], 422, "empty_document"),
            ([good, ("big.txt", b"x" * (MIB + 1))], 413, "too_large"),
            ([good, good], 409, "duplicate_id"),
        ]:
            problem(upload(http, *files, collection="refused"), status, code)
        problem(upload(http, collection="refused"), 422, "unsupported_media_type")
        detail = problem(upload(http, ("big.txt", b"x" * (MIB + 1))), 413, "too_large")
        assert "limits.file_mb" in detail
        problem(upload(http, good, folder="x"), 422, "invalid_input")
        problem(upload(http, good, collection="A B"), 422, "invalid_input")
        problem(http.get("/v1/documents?collection=refused"), 404, "unknown_collection")
        only_fields = [("collection", (None, b"refused"))]
        problem(http.post("/v1/documents", files=only_fields), 422, "no_files")
        for junk in (b"junk", b""):
            headers = {"Content-Type": "multipart/form-data; boundary=x"}
            assert http.post("/v1/documents", content=junk, headers=headers).status_code == 422
        headers = {"Content-Type": "multipart/form-data"}
        problem(http.post("/v1/documents", content=b"x", headers=headers), 422, "malformed_form")
        headers = {"Content-Type": "text/plain"}
        response = http.post("/v1/documents", content=b"x", headers=headers)
        problem(response, 422, "unsupported_media_type")

    def test_files_that_cannot_be_read_fail_alone(self, http: httpx.Client) -> None:
        junk = bytes(range(256)) * 40
        files = (
            ("junk.txt", junk),
            ("pdf.txt", b"%PDF-1.7 x"),
            ("fine.txt", b"Fine."),
            ("b.txt", b" \n"),
        )
        job = finished(http, upload(http, *files, collection="partial"))
        exactly(responses.JobOut, http.get(f"/v1/jobs/{job['id']}"))
        assert job["state"] == "partial"
        assert job["counts"]["failed"] == 3
        assert "junk.txt" in job["error"]
        assert {f["uri"] for f in job["failures"]} == {
            "upload:junk.txt",
            "upload:pdf.txt",
            "upload:b.txt",
        }
        failed = {d["uri"]: d for d in all_documents(http, "partial") if d["state"] == "failed"}
        assert "binary" in failed["upload:junk.txt"]["error"]
        assert "PDF" in failed["upload:pdf.txt"]["error"]

    def test_oversized_requests(self, http: httpx.Client) -> None:
        big = [{"id": str(n), "text": "x" * (MIB - 100)} for n in range(5)]
        detail = problem(http.post("/v1/documents", json={"documents": big}), 413, "too_large")
        assert "limits.upload_mb" in detail

        def grow() -> Iterator[bytes]:
            for _ in range(5 * 16):
                yield b"x" * 65536

        headers = {"Content-Type": "application/json"}
        response = http.post("/v1/documents", content=grow(), headers=headers)
        problem(response, 413, "too_large")
        one = [{"text": "x" * (MIB + 1)}]
        detail = problem(http.post("/v1/documents", json={"documents": one}), 413, "too_large")
        assert "limits.file_mb" in detail
        many = [{"id": str(n), "text": "x"} for n in range(1001)]
        detail = problem(http.post("/v1/documents", json={"documents": many}), 413, "too_large")
        assert "limits.upload_documents" in detail

    @pytest.mark.parametrize(
        "document",
        [
            {},
            {"uri": "notes/a.md"},
            {"uri": "file:///etc/passwd"},
            {"uri": "https://me:secret@a.example/"},
            {"uri": "https://a.example/", "title": "T"},
            {"uri": "https://a.example/", "meta": {"a": 1}},
            {"uri": "https://a.example/", "text": ""},
            {"text": ""},
            {"text": 5},
            {"text": "x", "extra": 1},
            {"text": "x", "id": ""},
            {"text": "x", "id": "x" * 513},
            {"text": "x", "id": "a\0b"},
            {"text": "a\0b"},
            {"text": "x", "id": "a/chunks"},
            {"text": "x", "id": "a/content"},
            {"text": "x", "uri": "x" * 5000},
            {"text": "x", "title": 5},
            {"text": "x", "meta": {"a b": 1}},
            {"text": "x", "meta": {"a": None}},
            {"text": "x", "meta": {"a": {"b": 1}}},
            {"text": "x", "meta": {"a": float("nan")}},
            {"text": "x", "meta": {"a": [float("inf")]}},
            {"text": "x", "meta": {"a": 10**400}},
            {"text": "x", "meta": {f"f{n}": n for n in range(65)}},
        ],
    )
    def test_documents_that_cannot_be(self, http: httpx.Client, document: Json) -> None:
        body = json.dumps({"collection": "never", "documents": [document]})
        message = problem(ask_raw(http, body, "/v1/documents"), 422, "invalid_input")
        assert "documents.0" in message
        assert "secret" not in message
        problem(http.get("/v1/documents?collection=never"), 404, "unknown_collection")

    def test_requests_without_documents(self, http: httpx.Client) -> None:
        bodies: list[Any] = [{}, {"documents": []}, {"documents": "x"}, {"documents": [[]]}, []]
        for body in bodies:
            problem(http.post("/v1/documents", json=body), 422, "invalid_input")
        twice = [{"id": "a", "text": "x"}, {"uri": "b", "text": "x"}, {"id": "a", "text": "y"}]
        problem(http.post("/v1/documents", json={"documents": twice}), 409, "duplicate_id")

    def test_strange_but_fine(self, http: httpx.Client) -> None:
        job = submit(
            http,
            {"id": "1", "text": "Escape \x1b and mark \ufeff.", "title": "\0"},
            {"id": "2", "text": "Numbers.", "meta": {"n": 10**25, "f": -0.0, "i": 2**63, "e": []}},
            {"id": "3", "text": "Kinds.", "meta": {"n": "word", "i": True, "when": "2024-99-99"}},
            {"id": "4", "text": "Own names.", "meta": {"title": 3, "text": "x", "a.b": [1, "a"]}},
            collection="strange",
        )
        assert job["state"] == "succeeded", job

    def test_half_characters(self, http: httpx.Client) -> None:
        for document in ('{"text": "\\ud800"}', '{"id": "\\udc00", "text": "x"}',
                         '{"text": "x", "meta": {"a": "\\ud800"}}'):  # fmt: skip
            response = ask_raw(http, f'{{"documents": [{document}]}}', "/v1/documents")
            assert response.status_code == 422
            assert response.json()["code"] in ("malformed_json", "invalid_input")

    @pytest.mark.parametrize("cursor", ["!", "YQ", "%ff", "é", "wrI=", "x" * 2001, "w7w=", "LTE="])
    def test_cursors_that_are_none(self, http: httpx.Client, cursor: str) -> None:
        response = http.get(f"/v1/documents/handbook/chunks?cursor={cursor}")
        code = "invalid_input" if len(cursor) > 2000 else "invalid_cursor"
        problem(response, 422, code)
        assert http.get(f"/v1/documents?cursor={cursor}").status_code in (200, 422)

    @pytest.mark.parametrize("limit", ["0", "1001", "-1", "x", "1.5"])
    def test_limits_that_are_none(self, http: httpx.Client, limit: str) -> None:
        for path in ("/v1/documents", "/v1/documents/handbook/chunks"):
            assert "limit" in problem(http.get(f"{path}?limit={limit}"), 422, "invalid_input")

    def test_unknown(self, http: httpx.Client) -> None:
        problem(http.get("/v1/documents/nope"), 404, "unknown_document")
        problem(http.get("/v1/documents/%00%ff"), 404, "unknown_document")
        problem(http.get("/v1/documents?collection=nope"), 404, "unknown_collection")
        problem(http.get("/v1/documents?collection=A"), 422, "invalid_input")
        for call in (http.get, http.delete):
            problem(call(f"/v1/jobs/{uuid.uuid4().hex}"), 404, "unknown_job")


class TestJobs:
    def test_cancel(self, http: httpx.Client) -> None:
        text = "A long text that takes its time to be read. " * 400
        documents = [{"id": f"c{n}", "text": f"{n} {text}"} for n in range(60)]
        sent = {"collection": "cancel", "documents": documents}
        accepted = http.post("/v1/documents", json=sent)
        exactly(responses.JobOut, http.delete(accepted.headers["location"]))
        job = finished(http, accepted)
        assert job["state"] == "cancelled"
        assert job["counts"]["cancelled"] > 0
        assert job["counts"]["pending"] == job["counts"]["running"] == 0
        states = {d["id"]: d["state"] for d in all_documents(http, "cancel")}
        assert list(states.values()).count("cancelled") == job["counts"]["cancelled"]
        assert set(states.values()) <= {"cancelled", "succeeded"}
        again = http.delete(accepted.headers["location"]).json()
        assert again["counts"] == job["counts"]

    def test_what_does_not_begin_in_time_fails(self, http: httpx.Client) -> None:
        sent = {"collection": "late", "documents": [{"id": "late", "text": "Too late."}]}
        accepted = http.post("/v1/documents?expires_in=0.000001", json=sent)
        job = finished(http, accepted)
        assert (job["state"], job["stages"]) == ("failed", {})
        assert "expires_in" in job["error"]
        for wrong in ("0", "-1", "soon", "1e12", "nan"):
            late = http.post(f"/v1/documents?expires_in={wrong}", json=sent)
            problem(late, 422, "invalid_input")

    def test_what_failed_is_listed_and_tried_again(self, http: httpx.Client) -> None:
        accepted = upload(http, ("a.txt", b"Fine."), ("b.pdf", b"%PDF-1.7 cut"), collection="dead")
        job = finished(http, accepted)
        assert (job["state"], job["counts"]["failed"]) == ("partial", 1)
        assert job["per_second"] > 0
        assert job["eta_seconds"] is None
        listed = http.get("/v1/documents?collection=dead&state=failed").json()["documents"]
        assert [(d["uri"], d["error"]) for d in listed] == [("upload:b.pdf", job["error"])]
        again = http.post(f"{accepted.headers['location']}/retry")
        assert exactly(responses.JobOut, again, 202)["counts"]["failed"] == 0
        assert ended(http, job["id"])["error"] == job["error"]  # the bytes were kept for it
        problem(http.post("/v1/jobs/nowhere/retry"), 404, "unknown_job")
        problem(http.get("/v1/documents?collection=dead&state=lost"), 422, "invalid_input")


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
SCALAR = st.booleans() | st.integers() | st.floats() | st.text(st.characters())
FILTER = st.fixed_dictionaries(
    {
        "field": st.sampled_from(["year", "since", "draft", "tags", "page", "title", "uri", "no"]),
        "op": st.sampled_from(["eq", "in", "gt", "gte", "lt", "lte"]),
        "value": SCALAR | st.lists(SCALAR, max_size=3) | JUNK,
    }
)
SEARCH = st.fixed_dictionaries(
    {"query": st.text(st.characters(), max_size=50) | JUNK},
    optional={
        "top_k": st.integers(1, 100) | JUNK,
        "filters": st.lists(FILTER, max_size=3) | JUNK,
        "collection": st.just("default") | JUNK,
    },
)
DOCUMENT = st.fixed_dictionaries(
    {"text": st.text(st.characters(), max_size=30)},
    optional={
        "id": st.text(st.characters(), max_size=5) | JUNK,
        "uri": st.text(st.characters(), max_size=5) | JUNK,
        "title": st.text(st.characters(), max_size=5) | JUNK,
        "meta": st.dictionaries(st.sampled_from("abcdef"), SCALAR, max_size=3) | JUNK,
    },
)
DOCUMENTS = st.fixed_dictionaries(
    {"documents": st.lists(DOCUMENT, max_size=2) | JUNK, "collection": st.just("fuzz")}
)


class TestFuzz:
    """Random requests get an answer or a problem, and never an error of the server."""

    @staticmethod
    def check(response: httpx.Response) -> None:
        assert response.status_code < 500, response.text
        if response.status_code >= 400:
            problem(response, response.status_code, response.json()["code"])

    @given(body=SEARCH | JUNK)
    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    def test_questions(self, http: httpx.Client, body: Any) -> None:
        self.check(ask_raw(http, json.dumps(body)))

    @given(body=DOCUMENTS | JUNK)
    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    def test_documents(self, http: httpx.Client, body: Any) -> None:
        response = ask_raw(http, json.dumps(body), "/v1/documents")
        self.check(response)
        if response.status_code == 202:
            for failure in finished(http, response)["failures"]:
                assert "holds no text" in failure["error"]

    @given(body=st.binary(max_size=60))
    @settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
    def test_bytes(self, http: httpx.Client, body: bytes) -> None:
        self.check(ask_raw(http, body))
        self.check(ask_raw(http, body, "/v1/documents"))

    @given(path=st.text(max_size=20), query=st.text(max_size=20))
    @settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
    def test_addresses(self, http: httpx.Client, path: str, query: str) -> None:
        url = f"/v1/documents/{encoded(path)}?cursor={encoded(query)}"
        self.check(http.get(url))
        self.check(http.get(f"/v1/documents?cursor={encoded(query)}"))
        self.check(http.get(f"/v1/jobs/{encoded(path)}"))
