"""Composes an answer of what was written, found and left out."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from generation.drafts.policy import AnyDraft
from generation.sanitizing import SafeText
from rag.pipeline.search import Run
from rag.types import (
    Answer,
    Citation,
    Claim,
    ClaimOutcome,
    Delta,
    Hit,
    Prompt,
    Query,
    Reason,
)


@dataclass(frozen=True, slots=True)
class Plain:
    """A text that cites nothing."""

    text: str
    citations: tuple[Citation, ...] = ()
    unsupported: tuple[int, ...] = ()
    uncited: tuple[str, ...] = ()
    claims: tuple[Claim, ...] = ()
    confidence: float | None = None
    abstained: Reason | None = None


def answer_of(
    prompt: Prompt, draft: AnyDraft | Plain, last: Delta, hits: tuple[Hit, ...], run: Run
) -> Answer:
    """Returns the answer of a draft that is finished; `last` is the generator's last delta."""
    reason = draft.abstained if draft.text else last.abstained or draft.abstained
    return Answer(
        id=secrets.token_hex(16),
        question=prompt.question or prompt.message,
        text=draft.text,
        citations=draft.citations,
        unsupported=draft.unsupported,
        uncited=draft.uncited,
        claims=draft.claims,
        hits=hits,
        passages=prompt.hits,
        abstained=reason is not None,
        reason=reason,
        missing=last.missing,
        confidence=_confidence(draft, last),
        degraded=tuple(run.degraded),
        usage=run.usage,
        finish_reason=last.finish_reason,
        timings=dict(run.stopwatch.milliseconds),
        trace_id=run.trace.id,
        variant=run.variant,
        route=last.route,
    )


def _confidence(draft: AnyDraft | Plain, last: Delta) -> float:
    """Returns that of the text, where it was checked, else that of the evidence."""
    if draft.text and draft.confidence is not None:
        return draft.confidence
    return last.confidence or 0.0


def task_answer(written: str, query: Query, run: Run) -> Answer:
    """Returns the result of a chat UI's task as an answer, with its text made safe to render."""
    safe = SafeText(frozenset())
    text = safe.feed(written) + safe.finish()
    prompt = Prompt(question=query.text, scope=query.scope, hits=())
    return answer_of(prompt, Plain(text), Delta(), (), run)


_REFUSED: Mapping[ClaimOutcome, str] = {
    "rewritten": "refused, with the rest of the answer written anew",
    "replaced": "replaced by the documents' own",
    "removed": "left out",
}


def refused_claims(draft: AnyDraft) -> Iterator[str]:
    """Yields, for `degraded`, what the check did not show, and what it added."""
    counts = Counter(claim.outcome for claim in draft.claims)
    parts = [f"{counts[each]} {became}" for each, became in _REFUSED.items() if counts[each]]
    if parts:
        yield f"claims: sentences that the passages do not support: {', '.join(parts)}"
    if draft.unlikely:
        yield "claims: the documents' own sentences follow, which are likelier to answer"
