"""Loads evaluation sets by name: a folder, a file, or a set stored elsewhere."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from eval.datasets.corpus import (
    Corpus,
    Judgement,
    Passage,
    Question,
    Span,
    assemble,
    keyed,
    masked,
    read_corpus,
    span_fault,
)
from eval.datasets.rows import CaseRow, EvidenceRow, lines_of, parse
from rag.build.telemetry import langfuse_items
from rag.errors import ConfigError, InputError, UpstreamError
from rag.privacy.redaction import words
from rag.settings.operations import TraceSettings
from rag.telemetry.langfuse_datasets import SetItem

IRDS, LANGFUSE = "irds:", "langfuse:"
ID_LENGTH = 16
"""Hexadecimal digits of an id that is derived from a question."""


def load_set(name: str, traces: TraceSettings, *, qrels: str = "test") -> Corpus:
    """Reads a set.

    Args:
        name: a folder in the BEIR layout; a file of JSON lines, `.jsonl`; `irds:NAME`, one of
            ir_datasets; `langfuse:NAME`, a data set in Langfuse.
        traces: the settings of that Langfuse.
        qrels: the judgements of a folder, `qrels/{qrels}.tsv`.

    Returns:
        The set. A file of questions and a data set in Langfuse have no passages: their documents
        are those of an existing collection.

    Raises:
        InputError: There is no such set, or it does not follow its layout.
        ConfigError: ir_datasets is not installed, or Langfuse's keys are missing or refused.
        UpstreamError: The set cannot be fetched.
    """
    if name.startswith(IRDS):
        return _read_irds(name.removeprefix(IRDS))
    if name.startswith(LANGFUSE):
        return _read_langfuse(name.removeprefix(LANGFUSE), traces)
    path = Path(name)
    if path.is_dir():
        return read_corpus(path, qrels=qrels)
    if path.is_file() and path.suffix == ".jsonl":
        return _of_cases(path.stem, ((place, line) for place, line in lines_of(path)))
    fault = "is neither a folder nor a .jsonl file" if path.exists() else "is not there"
    raise InputError(
        f"{name} {fault}: a set is a folder with corpus.jsonl, queries.jsonl and qrels/test.tsv, a"
        " .jsonl file of questions, irds:NAME or langfuse:NAME."
    )


def check_spans(questions: Iterable[Question], texts: Mapping[str, str]) -> None:
    """Checks that the spans of a set without passages are in a collection's documents.

    Args:
        questions: the questions of the set.
        texts: the texts of the documents, by id.

    Raises:
        InputError: A span is not in its document.
    """
    for question in questions:
        for span in question.spans:
            if fault := span_fault(span, texts.get(span.document_id)):
                raise InputError(
                    f"The question {question.id!r}: {fault}. Evidence refers to the documents as"
                    " they were ingested."
                )


def _of_cases(name: str, cases: Iterable[tuple[str, bytes | str]]) -> Corpus:
    by_id = keyed((place, _question(parse(CaseRow, line, place), place)) for place, line in cases)
    if not by_id:
        raise InputError(f"The set {name} has no questions.")
    questions = tuple(question for _, question in by_id.values())
    return Corpus(
        name=name,
        passages=(),
        questions=questions,
        qrels={q.id: {span.document_id: 1 for span in q.spans} for q in questions if q.spans},
    )


def _question(case: CaseRow, place: str) -> Question:
    answers = (case.answer or "", *case.answers)
    return Question(
        id=case.id or hashlib.sha256(case.question.encode()).hexdigest()[:ID_LENGTH],
        text=case.question,
        answers=tuple(dict.fromkeys(answer for answer in answers if answer.strip())),
        answerable=case.answerable,
        meta=case.meta,
        spans=tuple(_span(evidence, place) for evidence in case.evidence),
    )


def _span(row: EvidenceRow, place: str) -> Span:
    """Returns the span, checked as far as possible without its document."""
    span = Span(document_id=row.document_id, start=row.start, end=row.end, quote=row.quote)
    if not 0 <= span.start < span.end:
        raise InputError(f"{place}: {span.start} to {span.end} is no span of a text.")
    if span.quote and not masked(span.quote) and len(span.quote) != span.end - span.start:
        raise InputError(
            f"{place}: the span {span.start} to {span.end} cannot be the text of its quote, which"
            f" has {len(span.quote):,} characters."
        )
    return span


def _read_langfuse(name: str, traces: TraceSettings) -> Corpus:
    items = langfuse_items(traces, name)
    corpus = _of_cases(
        name, ((f"{LANGFUSE}{name}, item {item.id}", json.dumps(_case(item))) for item in items)
    )
    return replace(corpus, langfuse_id=items[0].dataset_id)


def _case(item: SetItem) -> dict[str, Any]:
    """Returns an item of a data set in the form of a line of a file.

    Its input is the question, its expected output the answer; either may be an object with the
    fields of a line. Of its metadata, `answers`, `answerable` and `evidence` are read.
    """
    meta = item.metadata if isinstance(item.metadata, dict) else {}
    expected_fields = {
        name: meta[name] for name in ("answers", "answerable", "evidence") if name in meta
    }
    match item.expected_output:
        case dict() as expected:
            expected_fields |= expected
        case list() as answers:
            expected_fields["answers"] = answers
        case answer:
            expected_fields["answer"] = answer
    question_fields = item.input if isinstance(item.input, dict) else {"question": item.input}
    others = {name: value for name, value in meta.items() if name not in expected_fields}
    return {"id": item.id, "meta": others, **expected_fields, **question_fields}


def _read_irds(name: str) -> Corpus:
    try:
        import ir_datasets
    except ModuleNotFoundError:
        raise ConfigError(
            f"The set {IRDS}{name} needs the module 'ir_datasets', which is not installed: run"
            " `pip install ir_datasets`."
        ) from None
    try:
        found = ir_datasets.load(name)
    except KeyError:
        raise InputError(
            f"ir_datasets knows no {name!r}: https://ir-datasets.com lists them."
        ) from None
    for part in ("docs", "queries", "qrels"):
        if not found.has(part):
            raise InputError(f"{IRDS}{name} has no {part}: name a part of it that has, as …/test.")
    try:
        return assemble(name, _irds_docs(found), _irds_queries(found), _irds_qrels(found))
    except (OSError, RuntimeError) as error:
        raise UpstreamError(f"{IRDS}{name} cannot be fetched: {words(error)}.") from error


def _irds_docs(found: Any) -> Iterator[tuple[str, Passage]]:
    for number, doc in enumerate(found.docs_iter(), 1):
        text = doc.text if hasattr(doc, "text") else doc.default_text()
        title = getattr(doc, "title", None) or ""
        yield f"document {number}", Passage(id=doc.doc_id, title=title, text=text, meta={})


def _irds_queries(found: Any) -> Iterator[tuple[str, Question]]:
    for number, query in enumerate(found.queries_iter(), 1):
        question = Question(
            id=query.query_id, text=query.default_text(), answers=(), answerable=True, meta={}
        )
        yield f"query {number}", question


def _irds_qrels(found: Any) -> Iterator[tuple[str, Judgement]]:
    for number, qrel in enumerate(found.qrels_iter(), 1):
        yield f"judgement {number}", Judgement(qrel.query_id, qrel.doc_id, qrel.relevance)
