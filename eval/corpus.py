"""Test collections in the BEIR layout, Thakur et al. 2021, https://arxiv.org/abs/2104.08663.

A folder holds `corpus.jsonl`, `queries.jsonl` and `qrels/*.tsv` (query, document, gain).
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rag.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """One document of the collection; `meta` is the file's, as it stands."""

    id: str
    title: str
    text: str
    meta: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Characters `start` to `end` of a document's text, which hold what answers a question."""

    document_id: str
    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One query. `answers` are gold answers; `answerable` holds unless the file denies it.

    `spans` are where they stand, if the set says so.
    """

    id: str
    text: str
    answers: tuple[str, ...]
    answerable: bool
    meta: Mapping[str, Any]
    spans: tuple[Span, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """A collection in file order; `qrels[question id][passage id]` is a gain, 0 if not listed."""

    name: str
    passages: tuple[Passage, ...]
    questions: tuple[Question, ...]
    qrels: Mapping[str, Mapping[str, int]]


def read_corpus(folder: Path, *, qrels: str = "test") -> Corpus:
    """Reads a collection with the judgements of `qrels/{qrels}.tsv`.

    Raises:
        InputError: a file is missing, or a line of it is not what the layout asks for.
    """
    return Corpus(
        name=folder.name,
        passages=tuple(_passage(row) for row in _rows(folder / "corpus.jsonl")),
        questions=tuple(_question(row) for row in _rows(folder / "queries.jsonl")),
        qrels=_qrels(folder / "qrels" / f"{qrels}.tsv"),
    )


def _passage(row: Mapping[str, Any]) -> Passage:
    meta = row.get("metadata") or {}
    return Passage(id=row["_id"], title=row.get("title") or "", text=row["text"], meta=meta)


def _question(row: Mapping[str, Any]) -> Question:
    meta = row.get("metadata") or {}
    return Question(
        id=row["_id"],
        text=row["text"],
        answers=tuple(meta.get("answers") or ()),
        answerable=meta.get("answerable", True),
        meta=meta,
        spans=tuple(
            Span(document_id=meta["doc"], start=start, end=end)
            for start, end in meta.get("spans") or ()
        ),
    )


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(_lines(path), 1):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise InputError(f"{path}, line {number}: not JSON ({error}).") from error
        if not isinstance(row, dict) or not {"_id", "text"} <= row.keys():
            raise InputError(f"{path}, line {number}: wants an object with `_id` and `text`.")
        yield row


def _qrels(path: Path) -> dict[str, dict[str, int]]:
    gains: dict[str, dict[str, int]] = {}
    for number, row in enumerate(csv.reader(_lines(path), delimiter="\t"), 1):
        try:
            question, passage, gain = row
            gains.setdefault(question, {})[passage] = int(gain)
        except ValueError as error:
            if number == 1:  # the header
                continue
            raise InputError(f"{path}, line {number}: wants query, document, gain.") from error
    return gains


def _lines(path: Path) -> list[str]:
    try:
        # Not `splitlines`: texts may hold the Unicode line separators that JSON does not escape.
        return [line for line in path.read_text("utf-8").split("\n") if line]
    except FileNotFoundError as error:
        raise InputError(
            f"{path} is missing: a collection is a folder with corpus.jsonl, queries.jsonl and"
            " qrels/test.tsv."
        ) from error
