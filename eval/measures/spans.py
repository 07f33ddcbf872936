"""Recall, precision and IoU of the evidence that a ranking holds, in characters.

For a question, S are the characters of its evidence and R those that were retrieved; a character
retrieved twice counts twice (Smith & Troynikov 2024,
https://research.trychroma.com/evaluating-chunking):

    recall = |S ∩ R| / |S|, precision = |S ∩ R| / |R|, IoU = |S ∩ R| / (|R| + |S| - |S ∩ R|)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from eval.datasets.corpus import Span


class SpanScores(NamedTuple):
    """Scores of one question, or their means: 0 to 1 each; `characters` is |R|."""

    recall: float
    precision: float
    iou: float
    characters: float


def span_scores(evidence: Sequence[Span], retrieved: Sequence[Span]) -> SpanScores:
    """Scores spans; the evidence has at least one character. Nothing retrieved scores 0."""
    wanted = {(s.document_id, i) for s in evidence for i in range(s.start, s.end)}
    covered = len({place for s in evidence for r in retrieved for place in _shared(s, r)})
    characters = sum(r.end - r.start for r in retrieved)
    return SpanScores(
        recall=covered / len(wanted),
        precision=covered / characters if characters else 0.0,
        iou=covered / (characters + len(wanted) - covered),
        characters=characters,
    )


def overlap(a: Span, b: Span) -> bool:
    """True if they have a character in common."""
    return any(True for _ in _shared(a, b))


def first_characters(ranked: Sequence[Span], room: int) -> list[Span]:
    """Returns the first `room` characters of a ranking; the last span is cut off there."""
    first: list[Span] = []
    for span in ranked:
        if room <= 0:
            break
        first.append(replace(span, end=min(span.end, span.start + room)))
        room -= span.end - span.start
    return first


def _shared(a: Span, b: Span) -> Iterator[tuple[str, int]]:
    if a.document_id == b.document_id:
        for i in range(max(a.start, b.start), min(a.end, b.end)):
            yield a.document_id, i
