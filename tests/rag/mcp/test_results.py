"""Results of the tools, made of responses of the REST API."""

from __future__ import annotations

import pytest

from rag.mcp.names import DocumentName
from rag.mcp.results import answered, found, url_of
from tests.in_process import Json

NAME = DocumentName("docs", "a/b c.pdf")
ORIGINAL = "https://rag.example/v1/documents/a%2Fb%20c%2Epdf/content?collection=docs"


@pytest.mark.parametrize(
    ("uri", "public_url", "page", "url"),
    [
        ("https://acme.example/d", None, None, "https://acme.example/d"),
        ("https://acme.example/d", "https://rag.example", 2, "https://acme.example/d"),
        ("file:///d.pdf", None, 2, "file:///d.pdf"),
        ("file:///d.pdf", "https://rag.example/", 2, f"{ORIGINAL}#page=2"),
        ("a/b c.pdf", "https://rag.example", None, ORIGINAL),
        ("a/b c.pdf", None, None, "plumbline://documents/docs/a%2Fb%20c.pdf"),
        ("", None, None, "plumbline://documents/docs/a%2Fb%20c.pdf"),
    ],
)
def test_a_document_is_cited_by_an_address_that_can_be_opened(
    uri: str, public_url: str | None, page: int | None, url: str
) -> None:
    assert url_of(NAME, uri, public_url, page=page) == url


def hit(document: str, text: str) -> Json:
    place: Json = {"page": None, "start": 0, "end": len(text), "headings": []}
    return {"document_id": document, "title": "", "uri": "", "text": text} | place


def test_passages_are_joined_by_document_in_the_order_of_the_best() -> None:
    hits = [hit("b", "first"), hit("a", "second"), hit("b", "third")]
    documents = found(hits, "docs", None)
    assert [each.id for each in documents] == ["docs/b", "docs/a"]
    assert [each.text for each in documents[0].passages] == ["first", "third"]


@pytest.mark.parametrize(("abstained", "closest"), [(True, 3), (False, 0)])
def test_only_an_abstention_shows_what_comes_closest(abstained: bool, closest: int) -> None:
    answer = {
        "answer": "",
        "abstained": abstained,
        "reason": None,
        "missing": [],
        "confidence": 0.1,
        "citations": [],
        "uncited": [],
        "degraded": [],
        "cached": None,
        "answer_id": "0",
        "hits": [hit(str(number), "text") for number in range(9)],
    }
    assert len(answered(answer, "docs", None).closest) == closest
