"""Answers and hits as text for the terminal: passages with their numbers."""

from __future__ import annotations

import textwrap

from rag.cli.output import Lines, bold, dim
from rag.client import Answer, Citation, Hit, SearchResult
from rag.text.plain import plain
from rag.types import REASONS

CLOSEST = 3
_WIDTH = 88
_STAGES = (
    "rewrite",
    "expand",
    "embed",
    "encode",
    "search",
    "fuse",
    "fetch",
    "rerank",
    "widen",
    "generate",
    "cite",
    "total",
)


def answer(body: Answer) -> Lines:
    """Yields the answer, the passage of each marker, and the time of each stage."""
    if not body.abstained:
        yield from textwrap.wrap(plain(body.answer), _WIDTH)
        yield ""
    yield from evidence(body)
    if body.cached:
        asked = _on_one_line(body.cached.question)
        yield f"Given again, from {body.cached.age_seconds:.0f} s ago, when this was asked: {asked}"
    yield from degraded(body)
    yield from _timings(body)


def evidence(body: Answer) -> Lines:
    """Yields the passage of each marker; if it abstained, the reason and the closest passages."""
    if body.abstained:
        why = next((text for reason, text in REASONS.items() if reason == body.reason), "unknown")
        yield f"No answer: {why} ({body.reason}, confidence {body.confidence:.2f})."
        if body.missing:
            yield f"Not found: {', '.join(map(plain, body.missing))}."
        if body.hits:
            yield ""
            yield "Closest passages:"
    for number, source in numbered(body):
        text = source.quote if isinstance(source, Citation) else source.text
        yield from _passage(number, source, text)
    for sentence in body.uncited:
        yield from textwrap.wrap(f"Without a citation: {plain(sentence)}", _WIDTH)


def numbered(body: SearchResult) -> list[tuple[int, Hit | Citation]]:
    """Returns the passages that are shown of a result, each with its number.

    Those of an answer are its citations, and if it abstained, the closest hits.
    """
    if isinstance(body, Answer) and not body.abstained:
        return [(citation.marker, citation) for citation in body.citations]
    hits = body.hits[:CLOSEST] if isinstance(body, Answer) else body.hits
    return list(enumerate(hits, start=1))


def hits(body: SearchResult) -> Lines:
    """Yields the passages, best first, with their rank in each leg."""
    if not body.hits:
        yield "Nothing found."
    for number, hit in enumerate(body.hits, start=1):  # as `numbered`
        ranks = ", ".join(f"{leg} {rank}" for leg, rank in hit.ranks.items())
        yield from _passage(number, hit, hit.text, note=f"{hit.score:.4f} ({ranks})")
    yield from degraded(body)
    yield from _timings(body)


def degraded(body: SearchResult) -> Lines:
    """Yields the stages that were left out, with the cause."""
    for cause in body.degraded:
        yield f"Degraded: {_on_one_line(cause)}"


def _timings(body: SearchResult) -> Lines:
    yield ""
    yield dim("  ".join(f"{s} {body.timings[s]:.1f} ms" for s in _STAGES if s in body.timings))


def _passage(number: int, source: Hit | Citation, text: str, note: str = "") -> Lines:
    headings = [h for h in source.headings if h != source.title]
    page = f", page {source.page}" if source.page else ""
    where = " › ".join(_on_one_line(part) for part in (source.title or source.uri, *headings))
    yield f"{bold(f'[{number}]')} {where}{page}  {note}".rstrip()
    for line in textwrap.wrap(f"“{_on_one_line(text)}”", _WIDTH - 4):
        yield f"    {line}"
    uri = _on_one_line(source.uri)
    yield f"    {dim(f'{uri} characters {source.start}–{source.end}')}"


def _on_one_line(text: str) -> str:
    """Returns text that cannot pass for a line of its own."""
    return " ".join(plain(text).split())
