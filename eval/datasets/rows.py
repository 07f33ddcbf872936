"""Lines of a set's files, and what is wrong with one."""

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
    """What is understood of a question's metadata; the rest of it is anybody's."""

    answers: Listed[str] | None = None
    answerable: bool = True
    doc: str | None = None
    spans: Listed[Annotated[list[int], Field(min_length=2, max_length=2)]] | None = None
    quotes: Listed[str] | None = None


class EvidenceRow(_Row, FewUnknown):
    """Where an answer stands."""

    model_config = ConfigDict(extra="forbid")

    document_id: Words
    start: int
    end: int
    quote: str = ""


class CaseRow(_Row, FewUnknown):
    """A question with what is known of it; `why` and `live` are what `rag eval collect` adds."""

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
    """The lines that are not blank, each with its place: "FILE, line 3".

    Raises:
        InputError: there is no such file, or it cannot be read.
    """
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if plain := line.removeprefix(BOM if number == 1 else b"").strip():
                    yield f"{path}, line {number}", plain
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error


def parse(kind: type[RowT], line: bytes | str, place: str) -> RowT:
    """A line of JSON.

    Raises:
        InputError: it is broken, not UTF-8, has half of a surrogate pair, or wants or has a field
            or a type that it should not.
    """
    try:
        return kind.model_validate_json(line)
    except ValidationError as error:
        raise InputError(f"{place}: {_fault(error)}.") from None


def understood(metadata: dict[str, Any], place: str) -> Understood:
    """What a question's metadata say. Raises as `parse` does."""
    try:
        return Understood.model_validate(metadata)
    except ValidationError as error:
        raise InputError(f"{place}: in `metadata`, {_fault(error)}.") from None


def _fault(error: ValidationError) -> str:
    """The first one, and no word of the data."""
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(shortened(str(step)) for step in first["loc"])
    what = _JSON_PLACE.sub(r" at column \1", first["msg"])
    return f"`{where}`: {what}" if where else what
