"""Ids, URIs and cursors."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.mcp.names import (
    CollectionPage,
    DocumentName,
    DocumentPart,
    after_in,
    collection_uri,
    cursor_in,
    document_of,
    resource_of,
)
from rag.mcp.rest import RefusedError

COLLECTIONS = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,20}", fullmatch=True)
DOCUMENTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)


@given(COLLECTIONS, DOCUMENTS, st.integers(0, 999_999_999))
def test_a_document_is_found_by_its_id_and_by_its_uri(
    collection: str, document: str, start: int
) -> None:
    name = DocumentName(collection, document)
    assert document_of(name.id) == name
    assert resource_of(name.uri) == DocumentPart(name, 0)
    assert resource_of(f"{name.uri}?start={start}") == DocumentPart(name, start)
    assert re.fullmatch(r"plumbline://documents/[\w-]+/[\w.~%-]+", name.uri)


@given(COLLECTIONS, COLLECTIONS, st.text("abcXYZ019-_=", min_size=1))
def test_a_cursor_is_one_of_its_collection(collection: str, other: str, after: str) -> None:
    cursor = cursor_in(collection, after)
    assert cursor is not None
    assert after_in(collection, cursor) == after
    assert resource_of(collection_uri(collection, cursor)) == CollectionPage(collection, cursor)
    if other != collection:
        with pytest.raises(RefusedError, match="is not one that the collection"):
            after_in(other, cursor)


def test_a_last_page_has_no_cursor() -> None:
    assert cursor_in("docs", None) is None
    assert resource_of(collection_uri("docs")) == CollectionPage("docs", None)


@pytest.mark.parametrize("id_", ["", "depot", "docs/", "/depot", "Docs/depot", "../etc/depot"])
def test_what_is_no_id_is_told(id_: str) -> None:
    with pytest.raises(RefusedError, match="is no id of a document: ids have the form COLL"):
        document_of(id_)


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "docs",
        "file:///etc/passwd",
        "plumbline://",
        "plumbline://collections",
        "plumbline://jobs/1",
        "plumbline://collections/docs?page=2",
        "plumbline://documents/docs/depot?start=-1",
        "plumbline://documents/docs/depot?start=many",
        "plumbline://documents/docs/depot?cursor=docs.a",
        "plumbline://[/",
        "plumbline://documents/docs/" + "a" * 9000,
    ],
)
def test_what_is_no_resource_is_told_in_few_words(uri: str) -> None:
    with pytest.raises(RefusedError) as caught:
        resource_of(uri)
    assert "There is no resource" in str(caught.value)
    assert len(str(caught.value)) < 400
