"""Makes the stream of an answer that is complete."""

from __future__ import annotations

from collections.abc import Iterator

from generation.drafts.draft import Written
from rag.types import Answer, Citation, Retraction


def pieces(answer: Answer) -> Iterator[Written]:
    """Yields the text, citations behind their markers, and retractions behind what they retract."""
    behind: list[tuple[int, Citation | Retraction]] = [
        *((citation.marker_end, citation) for citation in answer.citations),
        *_retractions(answer),
    ]
    sent = 0
    for place, event in sorted(behind, key=lambda each: each[0]):
        if text := answer.text[sent:place]:
            yield text
        sent = max(sent, place)
        yield event
    if rest := answer.text[sent:]:
        yield rest


def _retractions(answer: Answer) -> Iterator[tuple[int, Retraction]]:
    for claim in answer.claims:
        if claim.objection is None or claim.start is None or claim.end is None:
            continue
        yield claim.end, Retraction(start=claim.start, end=claim.end, objection=claim.objection)
