"""Entries of the cache: JSON, checked when it is read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from rag.types import Answer, Usage


class UnreadableEntryError(Exception):
    """Bytes that are no entry of this version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An answer, the question that it was made for, and when, in seconds since 1970."""

    format: Literal[1]
    question: str
    made_at: float
    answer: Answer


_ENTRIES: TypeAdapter[Entry] = TypeAdapter(Entry)


def entry_of(question: str, answer: Answer, *, now: float) -> Entry:
    """Returns the entry of an answer, without what belongs to the question that it was made for."""
    kept = replace(answer, usage=Usage(), timings={}, trace_id="", degraded=(), cached=None)
    return Entry(format=1, question=question, made_at=now, answer=kept)


def written(entry: Entry) -> bytes:
    """Returns an entry as JSON."""
    return _ENTRIES.dump_json(entry)


def read(found: bytes) -> Entry:
    """Returns the entry that `written` was given.

    Raises:
        UnreadableEntryError: The bytes are none, or of another version.
    """
    try:
        return _ENTRIES.validate_json(found)
    except ValidationError as error:
        # Without the cause: its message quotes what was found.
        raise UnreadableEntryError(f"{error.error_count()} faults") from None
