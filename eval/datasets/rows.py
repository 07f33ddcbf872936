"""Parses lines of a set's files, and describes faults in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rag.errors import InputError
from rag.text.validation_errors import FewUnknown, FirstFaults, shortened

BOM = b"\xef\xbb\xbf"
_JSON_PLACE = re.compile(r" at line \d+ column (\d+)$")

T = TypeVar("T")
Listed = Annotated[list[T], FirstFaults()]
Words = Annotated[str, Field(pattern=r"\S")]


class _Row(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True)


class PassageRow(_Row):
    """A line of `corpus.jsonl`."""

    id: Annotated[Words, Field(alias="_id")]
    title: str | None = None
    text: str
    metadata: dict[str, Any] | None = None


class QuestionRow(_Row):
    """A line of `queries.jsonl`."""

    id: Annotated[Words, Field(alias="_id")]
    text: Words
    metadata: dict[str, Any] | None = None


class Understood(_Row):
    """The fields of a question's metadata that are read; other fields are free."""

    answers: Listed[str] | None = None
    answerable: bool = True
    doc: str | None = None
    spans: Listed[Annotated[list[int], Field(min_length=2, max_length=2)]] | None = None
    quotes: Listed[str] | None = None


class EvidenceRow(_Row, FewUnknown):
    """The place of an answer in a document."""

    model_config = ConfigDict(extra="forbid")

    document_id: Words
    start: int
    end: int
    quote: str = ""


class CaseRow(_Row, FewUnknown):
    """A question and its known answers; `rag eval collect` adds `why` and `live`."""

    model_config = ConfigDict(extra="forbid")

    id: Words | None = None
    question: Words
    answer: str | None = None
    answers: Listed[str] = []
    answerable: bool = True
    evidence: Listed[EvidenceRow] = []
    meta: dict[str, Any] = {}
    why: Listed[str] = []
    live: dict[str, Any] = {}


RowT = TypeVar("RowT", bound=_Row)


def lines_of(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yields the lines that are not blank, each with its place: "FILE, line 3".

    Raises:
        InputError: There is no such file, or it cannot be read.
    """
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if plain := line.removeprefix(BOM if number == 1 else b"").strip():
                    yield f"{path}, line {number}", plain
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error


def parse(kind: type[RowT], line: bytes | str, place: str) -> RowT:
    """Parses a line of JSON.

    Raises:
        InputError: The line is broken, is not UTF-8, has half of a surrogate pair, lacks a field,
            or has a field or a type that it should not have.
    """
    try:
        return kind.model_validate_json(line)
    except ValidationError as error:
        raise InputError(f"{place}: {_fault(error)}.") from None


def understood(metadata: dict[str, Any], place: str) -> Understood:
    """Parses a question's metadata. Raises as `parse` does."""
    try:
        return Understood.model_validate(metadata)
    except ValidationError as error:
        raise InputError(f"{place}: in `metadata`, {_fault(error)}.") from None


def _fault(error: ValidationError) -> str:
    """Describes the first fault, without a word of the data."""
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(shortened(str(step)) for step in first["loc"])
    message = _JSON_PLACE.sub(r" at column \1", first["msg"])
    return f"`{where}`: {message}" if where else message
