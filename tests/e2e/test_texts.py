"""Stored and cited texts equal the text that was sent, character for character."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.chunkers.strategies import RecursiveChunker, SectionChunker
from ingest.readers.registry import read_json
from rag.text.plain import plain
from rag.text.sentences import sentence_spans
from tests.servers import Json, all_chunks, encoded, finished, serving, submit

ODD = [
    *("\ufeff", "\u2028", "\u2029", "\r", "\n", "\r\n", "\n\n", "\x0b", "\x0c", "\x1b", "\x1f"),
    *("\x85", "\xad", "\u200b", "e\u0301", "\x01"),
]
WORDS = ["The", "office", "opens", "nine.", "Lunch", "noon!", "東京", "🙂", "-", "item", "#"]
STORABLE = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
TEXTS = st.lists(
    st.one_of(st.sampled_from(ODD), st.sampled_from(WORDS), st.just(" "), st.text(STORABLE)),
    min_size=1,
    max_size=40,
).map(lambda parts: "".join(parts) + " The office opens at nine.")
PATIENT = 2.0
"""Seconds: far more than `/healthz` takes, and less than it takes to write a long text."""
OFFICE = (
    "\ufeffThe office opens\ufeff at nine.\r\n\r\nLunch\u2028 is served\x0b at noon.\x85"
    "\ufeffTravel is booked."
)


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with serving(tmp_path_factory.mktemp("texts") / "data") as server, server.client() as client:
        yield client


def content(http: httpx.Client, id_: str, collection: str = "default") -> httpx.Response:
    address = f"/v1/documents/{encoded(id_)}/content"
    return http.get(address, params={"as": "text", "collection": collection})


def cited(http: httpx.Client, question: str, collection: str) -> list[Json]:
    body = {"query": question, "collection": collection}
    answer = http.post("/v1/query", json=body)
    assert answer.status_code == 200, answer.text
    found: list[Json] = answer.json()["citations"]
    return found


def test_citations_are_spans_of_the_text_that_was_sent(http: httpx.Client) -> None:
    assert submit(http, {"id": "o", "text": OFFICE}, collection="office")["state"] == "succeeded"
    for question in (
        "When does the office open?",
        "When is lunch served?",
        "How is travel booked?",
    ):
        citations = cited(http, question, "office")
        assert citations, question
        for citation in citations:
            assert OFFICE[citation["start"] : citation["end"]] == citation["quote"]
    response = content(http, "o", "office")
    assert response.content.decode() == OFFICE
    assert response.headers["content-type"] == "text/plain; charset=utf-8"


@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(TEXTS, min_size=5, max_size=12))
def test_any_text_comes_back_as_it_was_sent(http: httpx.Client, texts: list[str]) -> None:
    sent = {f"d/{n}": text for n, text in enumerate(texts)}
    documents = [{"id": id_, "text": text} for id_, text in sent.items()]
    assert submit(http, *documents, collection="any")["state"] == "succeeded"
    for id_, text in sent.items():
        assert content(http, id_, "any").content.decode() == text
        chunks = all_chunks(http, id_, "any")
        assert chunks
        for chunk in chunks:
            assert text[chunk["start"] : chunk["end"]] == chunk["text"]
    for citation in cited(http, "When does the office open?", "any"):
        text = sent[citation["document_id"]]
        assert text[citation["start"] : citation["end"]] == citation["quote"]
    for id_ in sent:
        assert http.delete(f"/v1/documents/{encoded(id_)}?collection=any").status_code == 204


@given(st.text(STORABLE))
def test_the_plain_text_has_the_same_spans(text: str) -> None:
    seen = plain(text)
    assert len(seen) == len(text)
    assert [c.isspace() for c in seen] == [c.isspace() for c in text]
    assert not set(seen) & set("\r\x0b\x0c\x1b\x85\u2028\u2029")
    assert sentence_spans(text) == sentence_spans(seen)


@pytest.mark.parametrize("end", ["\r\n", "\r", "\u2028", "\x85", "\x0b"])
def test_lines_end_as_the_caller_writes_them(end: str) -> None:
    lines = ["Fruit:", "- apples and pears", "- plums and cherries", "", "```", "x = 1;", "```"]
    for chunker in (SectionChunker, RecursiveChunker):
        cut = chunker(lambda texts: [len(text.split()) for text in texts], max_tokens=4)
        made = []
        for joint in ("\n", end):
            data = json.dumps({"text": joint.join(lines)}).encode()
            made.append(cut.chunk(read_json(data, id="d", uri="u")))
        assert [c.text.split() for c in made[0]] == [c.text.split() for c in made[1]]


class TestContent:
    def test_an_etag_names_the_text(self, http: httpx.Client) -> None:
        submit(http, {"id": "etag", "text": "One."})
        first = content(http, "etag")
        address = "/v1/documents/etag/content?as=text"
        again = http.get(address, headers={"If-None-Match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        submit(http, {"id": "etag", "text": "Two."})
        later = http.get(address, headers={"If-None-Match": first.headers["etag"]})
        assert (later.status_code, later.text) == (200, "Two.")

    @pytest.mark.attack
    def test_a_long_text_holds_nobody_up(self, tmp_path: Path) -> None:
        text = "东京 office\n" * 4_000_000
        with serving(tmp_path / "data") as server, server.client() as http:
            submit(http, {"id": "long", "text": "short"})
            with contextlib.closing(sqlite3.connect(tmp_path / "data" / "catalog.sqlite")) as db:
                db.execute("UPDATE texts SET text = ?", (text,))
                db.commit()
            slowest, stop = 0.0, threading.Event()

            def watch() -> None:
                nonlocal slowest
                with server.client() as other:
                    while not stop.is_set():
                        began = time.monotonic()
                        assert other.get("/healthz").status_code == 200
                        slowest = max(slowest, time.monotonic() - began)

            watching = threading.Thread(target=watch)
            watching.start()
            read = content(http, "long").content
            stop.set()
            watching.join()
        assert read == text.encode()
        assert slowest < PATIENT

    def test_what_cannot_be_had(self, http: httpx.Client) -> None:
        for wrong in ("?as=html", "?as="):
            refused = http.get(f"/v1/documents/etag/content{wrong}")
            assert (refused.status_code, refused.json()["code"]) == (422, "invalid_input")
            assert refused.json()["detail"].startswith("as: ")
        unknown = content(http, "nowhere")
        assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_document")
        assert submit(http, {"id": "blank", "text": " \ufeff\r\n"})["state"] == "failed"
        unread = content(http, "blank")
        assert (unread.status_code, unread.json()["code"]) == (404, "no_content")
        assert "failed" in unread.json()["detail"]

    def test_its_address_is_no_id(self, http: httpx.Client) -> None:
        body = {"documents": [{"id": "a/content", "text": "x"}]}
        refused = http.post("/v1/documents", json=body)
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid_input")

    def test_a_file_is_read_and_offsets_are_of_what_was_read(self, http: httpx.Client) -> None:
        sent = "\ufeffThe office\ufeff opens at nine.\r\nLunch is at noon.\r\n".encode()
        files, form = {"files": ("hours.txt", sent)}, {"collection": "hours"}
        accepted = http.post("/v1/documents", files=files, data=form)
        assert finished(http, accepted)["state"] == "succeeded"
        (document,) = http.get("/v1/documents?collection=hours").json()["documents"]
        read = content(http, document["id"], "hours").content.decode()
        assert read == "The office opens at nine.\nLunch is at noon.\n"
        for citation in cited(http, "When is lunch?", "hours"):
            assert read[citation["start"] : citation["end"]] == citation["quote"]


@pytest.mark.parametrize("text", ["a\0b", "a\ud800b"])
def test_what_cannot_be_stored_is_refused(http: httpx.Client, text: str) -> None:
    body = json.dumps({"documents": [{"id": "odd", "text": text}]})
    response = http.post(
        "/v1/documents", content=body, headers={"Content-Type": "application/json"}
    )
    assert response.status_code == 422
    assert http.get("/v1/documents/odd").status_code == 404
