"""Test collections, and the reader of those in the BEIR layout.

The layout is that of Thakur et al. 2021, https://arxiv.org/abs/2104.08663. A folder holds
`corpus.jsonl`, `queries.jsonl` and `qrels/*.tsv` (query, document, gain). A question's `metadata`
may have `answers`, `answerable`, and `doc` with `spans`, the characters of a document that answer
it; `quotes` are the texts of the spans, to check them.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from eval.datasets.rows import PassageRow, QuestionRow, lines_of, parse, understood
from ingest.readers.decoding import storable
from rag.errors import InputError
from rag.text.validation_errors import shortened

MOST_VALUES = 20
"""Values, at most, of a metadata field that makes slices: with more, slices are too small."""
LONGEST_VALUE = 40
"""Characters, at most, of such a value: a longer one is free text."""
MAX_LISTED_FAULTS = 3
MAX_LISTED_FILES = 10
_MASK = re.compile(r"\[[\w -]{1,30}\]")
"""The placeholder of masked words: `[e-mail]`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """One document of the collection; `meta` is its metadata in the file, unchanged."""

    id: str
    title: str
    text: str
    meta: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Characters `start` to `end` of a document's text as ingested, which answer a question.

    `quote` is the text there, empty if the set does not give it.
    """

    document_id: str
    start: int
    end: int
    quote: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One query. `answers` are gold answers; `answerable` is True unless the file says otherwise.

    `spans` are the places of the answers, if the set gives them.
    """

    id: str
    text: str
    answers: tuple[str, ...]
    answerable: bool
    meta: Mapping[str, Any]
    spans: tuple[Span, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """A collection in file order; `qrels[question id][passage id]` is a gain, 0 if not listed.

    Without passages, the documents are those of an existing collection. `langfuse_id` is the id of
    a data set in Langfuse.
    """

    name: str
    passages: tuple[Passage, ...]
    questions: tuple[Question, ...]
    qrels: Mapping[str, Mapping[str, int]]
    langfuse_id: str = ""

    @property
    def fingerprint(self) -> str:
        """A hash of all that a measure can depend on, independent of the order of the files."""
        return _digest([*self._documents(), *self._questions()])

    @property
    def documents_fingerprint(self) -> str:
        """A hash of the documents alone: what is made of them does not depend on the questions."""
        return _digest(self._documents())

    def sample(self, questions: int) -> Corpus:
        """Returns the same documents with this many questions, chosen by a hash.

        A smaller sample is part of a larger one.
        """
        chosen = sorted(self.questions, key=lambda q: hash_of(q.id))[:questions]
        return replace(self, questions=tuple(chosen)).only({q.id for q in chosen})

    def only(self, ids: Set[str]) -> Corpus:
        """Returns the same documents with these questions."""
        return replace(
            self,
            questions=tuple(question for question in self.questions if question.id in ids),
            qrels={id_: gains for id_, gains in self.qrels.items() if id_ in ids},
        )

    def _documents(self) -> Iterator[bytes]:
        for p in self.passages:
            yield json.dumps(["passage", p.id, p.title, p.text]).encode()

    def _questions(self) -> Iterator[bytes]:
        for q in self.questions:
            spans = sorted((s.document_id, s.start, s.end) for s in q.spans)
            fields = [q.id, q.text, sorted(q.answers), q.answerable, spans]
            yield json.dumps(["question", *fields]).encode()
        for question_id, gains in self.qrels.items():
            for passage_id, gain in gains.items():
                yield json.dumps(["judgement", question_id, passage_id, gain]).encode()

    def slices(self) -> dict[str, dict[str, str]]:
        """Returns the slices that each question belongs to: question id → field → value.

        A field of the metadata makes slices if its values are short, more than one and few.
        """
        by_question = {question.id: dict(_values(question)) for question in self.questions}
        values = defaultdict(set)
        for fields in by_question.values():
            for field, value in fields.items():
                values[field].add(value)
        cuts = {field for field, found in values.items() if 1 < len(found) <= MOST_VALUES}
        return {
            id_: {field: value for field, value in fields.items() if field in cuts}
            for id_, fields in by_question.items()
        }


def _values(question: Question) -> Iterator[tuple[str, str]]:
    for field, value in {**question.meta, "answerable": question.answerable}.items():
        text = json.dumps(value) if isinstance(value, bool | int | float) else value
        if isinstance(text, str) and 0 < len(text) <= LONGEST_VALUE:
            yield field, text


class Judgement(NamedTuple):
    """The relevance of a document to a question."""

    question: str
    passage: str
    gain: int


def hash_of(id_: str) -> int:
    """Returns a hash for random choices that do not change when other ids are added."""
    return int.from_bytes(hashlib.sha256(id_.encode("utf-8", "surrogatepass")).digest()[:8])


def _digest(parts: Iterable[bytes]) -> str:
    """Returns the SHA-256 of the parts, independent of their order."""
    whole = hashlib.sha256()
    for digest in sorted(hashlib.sha256(part).digest() for part in parts):
        whole.update(digest)
    return whole.hexdigest()


def read_corpus(folder: Path, *, qrels: str = "test") -> Corpus:
    """Reads a collection with the judgements of `qrels/{qrels}.tsv`.

    Raises:
        InputError: A file is missing, a line does not follow the layout, or lines do not fit
            together: see `assemble`.
    """
    judged = folder / "qrels" / f"{qrels}.tsv"
    for path in (folder / "corpus.jsonl", folder / "queries.jsonl", judged):
        if not path.is_file():
            raise InputError(f"{path} is missing: {_layout(folder)}")
    return assemble(
        folder.resolve().name,
        ((place, _passage(line, place)) for place, line in lines_of(folder / "corpus.jsonl")),
        ((place, _question(line, place)) for place, line in lines_of(folder / "queries.jsonl")),
        _judgements(judged),
    )


def assemble(
    name: str,
    passages: Iterable[tuple[str, Passage]],
    questions: Iterable[tuple[str, Question]],
    judgements: Iterable[tuple[str, Judgement]],
) -> Corpus:
    """Makes a collection from rows, each with its place in the files.

    Questions of which nothing is known are left out: neither judged nor answered, and not marked as
    unanswerable. BEIR's query files also hold those of other splits.

    Raises:
        InputError: An id occurs twice, there are no documents or no questions, a judgement names
            an unknown one, or a span is not in its document.
    """
    documents = keyed(passages)
    by_id = keyed(questions)
    if not documents:
        raise InputError(f"The set {name} has no documents.")
    if not by_id:
        raise InputError(f"The set {name} has no questions.")
    gains = _gains(name, judgements, by_id.keys(), documents.keys())
    texts = {id_: passage.text for id_, (_, passage) in documents.items()}
    for place, question in by_id.values():
        for span in question.spans:
            if fault := span_fault(span, texts.get(span.document_id)):
                raise InputError(f"{place}: {fault}.")
    known = [
        replace(q, spans=tuple(_as_read(span, texts[span.document_id]) for span in q.spans))
        for _, q in by_id.values()
        if q.id in gains or q.answers or not q.answerable
    ]
    if not known:
        raise InputError(f"None of the {len(by_id):,} questions of the set {name} is judged.")
    return Corpus(
        name=name,
        passages=tuple(passage for _, passage in documents.values()),
        questions=tuple(known),
        qrels=gains,
    )


Item = TypeVar("Item", Passage, Question)


def keyed(items: Iterable[tuple[str, Item]]) -> dict[str, tuple[str, Item]]:
    """Returns items with their places, by id.

    Raises:
        InputError: Two have the same id.
    """
    found: dict[str, tuple[str, Item]] = {}
    for place, item in items:
        if item.id in found:
            raise InputError(f"{place}: the id {item.id!r} is taken by {found[item.id][0]}.")
        found[item.id] = place, item
    return found


def span_fault(span: Span, text: str | None) -> str | None:
    """Returns why a span is not in a document's text, or None if it is.

    `text` is None if there is no such document.
    """
    where = f"the span {span.start} to {span.end}"
    if text is None:
        return f"{where} is of the document {span.document_id!r}, which there is not"
    if not 0 <= span.start < span.end <= len(text):
        return f"{where} is none of {span.document_id!r}, which has {len(text):,} characters"
    if span.quote and not _quotes(span.quote, text[span.start : span.end]):
        return f"{where} of {span.document_id!r} is not the text of its quote"
    return None


def _as_read(span: Span, text: str) -> Span:
    """Moves a span from its place in the set's text to its place in the ingested text."""
    start, end = (len(storable(text[:place])) for place in (span.start, span.end))
    return replace(span, start=start, end=end, quote=storable(span.quote))


def masked(quote: str) -> bool:
    """True if words of the quote may have been masked."""
    return _MASK.search(quote) is not None


def _quotes(quote: str, text: str) -> bool:
    """True if the quote is the text, apart from masked words."""
    if quote == text or not masked(quote):
        return quote == text
    first, *parts, last = _MASK.split(quote)
    at, end = len(first), len(text) - len(last)
    if at > end or not (text.startswith(first) and text.endswith(last)):
        return False
    for part in parts:
        found = text.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True


def _passage(line: bytes, place: str) -> Passage:
    row = parse(PassageRow, line, place)
    return Passage(id=row.id, title=row.title or "", text=row.text, meta=row.metadata or {})


def _question(line: bytes, place: str) -> Question:
    row = parse(QuestionRow, line, place)
    meta = row.metadata or {}
    fields = understood(meta, place)
    spans = fields.spans or []
    quotes = [""] * len(spans) if fields.quotes is None else fields.quotes
    if spans and fields.doc is None:
        raise InputError(
            f"{place}: `metadata.spans` wants `metadata.doc`, the document they are of."
        )
    if len(quotes) != len(spans):
        raise InputError(f"{place}: `metadata.quotes` wants as many as `metadata.spans`.")
    return Question(
        id=row.id,
        text=row.text,
        answers=tuple(fields.answers or ()),
        answerable=fields.answerable,
        meta=meta,
        spans=tuple(
            Span(document_id=fields.doc or "", start=start, end=end, quote=quote)
            for (start, end), quote in zip(spans, quotes, strict=True)
        ),
    )


def _judgements(path: Path) -> Iterator[tuple[str, Judgement]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file, delimiter="\t")
            for number, row in enumerate(rows, 1):
                if row and (judged := _judgement(row, path, number)):
                    yield f"line {number}", judged
    except (ValueError, csv.Error) as error:
        raise InputError(f"{path} is no table in UTF-8: {error}.") from error


def _judgement(row: list[str], path: Path, number: int) -> Judgement | None:
    try:
        question, passage, gain = row
    except ValueError:
        raise InputError(
            f"{path}, line {number}: wants query, document, gain, with tabs between them; it has"
            f" {len(row)} of them."
        ) from None
    try:
        return Judgement(question, passage, int(gain))
    except ValueError:
        if number == 1:  # the header
            return None
        raise InputError(f"{path}, line {number}: the gain {gain!r} is no whole number.") from None


def _gains(
    name: str,
    judgements: Iterable[tuple[str, Judgement]],
    questions: Iterable[str],
    passages: Iterable[str],
) -> dict[str, dict[str, int]]:
    gains: dict[str, dict[str, int]] = {}
    listed: list[str] = []
    faults = 0
    known_questions, known_passages = set(questions), set(passages)
    for place, (question, passage, gain) in judgements:
        if question not in known_questions:
            fault = f"no question {shortened(question)!r}"
        elif passage not in known_passages:
            fault = f"no document {shortened(passage)!r}"
        elif gains.setdefault(question, {}).setdefault(passage, gain) != gain:
            fault = "judged otherwise before"
        else:
            continue
        faults += 1
        if faults <= MAX_LISTED_FAULTS:
            listed.append(f"{place} ({fault})")
    if faults:
        more = f" and {faults - MAX_LISTED_FAULTS:,} more" if faults > MAX_LISTED_FAULTS else ""
        raise InputError(
            f"The judgements of the set {name} do not match its questions and documents:"
            f" {', '.join(listed)}{more}. Measures would count what cannot be found: remove those"
            " lines, or add what they name."
        )
    return gains


def _layout(folder: Path) -> str:
    """Describes the files that a set needs, and those that the folder has."""
    found = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    more = " …" if len(found) > MAX_LISTED_FILES else ""
    return (
        "a set is a folder with corpus.jsonl, queries.jsonl and qrels/test.tsv, and this one has"
        f" {', '.join(found[:MAX_LISTED_FILES]) or 'nothing'}{more}."
    )
