"""Reads a small file, for the tests of readers."""

from __future__ import annotations

from pathlib import Path

from ingest.readers.options import ReadOptions
from ingest.readers.registry import read
from rag.types import Document

DATA = Path(__file__).parents[2] / "data"


def read_as(name: str, data: bytes, *, hidden: bool = False) -> Document:
    return read(data, id="id", uri=f"file:{name}", name=name, options=ReadOptions(hidden=hidden))


def read_case(path: str, *, hidden: bool = False) -> Document:
    return read_as(path, (DATA / "cases" / path).read_bytes(), hidden=hidden)


def page_of(document: Document, words: str) -> int:
    """The page on which the words stand; they stand there once."""
    assert document.text.count(words) == 1, document.text
    at = document.text.index(words)
    return sum(start <= at for start in document.pages)
