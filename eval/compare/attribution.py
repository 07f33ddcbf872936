"""Finds the stage that made one answer worse than another to the same question."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

from eval.runs.run_folder import Outcome

Stage = Literal["failure", "retrieval", "ranking", "passages", "generation"]
STAGES: dict[Stage, str] = {
    "failure": "the question failed",
    "retrieval": "no relevant document is among the passages",
    "ranking": "the first relevant document stands lower",
    "passages": "it stands no lower, but other passages came with it",
    "generation": "the passages are the same",
}
"""In the order in which they are checked: a stage can spoil all that come after it."""
FIRST_RELEVANT = "RR"
"""The reciprocal rank: the first relevant document has rank 1 / RR; 0 if none was found."""


class Cause(NamedTuple):
    """A stage, and in words what changed there, from before to now."""

    stage: Stage
    says: str


def attribute(before: Outcome, now: Outcome, *, gained: bool) -> Cause:
    """Returns the first stage at which the worse of two outcomes of a question fell behind.

    A stage is named only if its own result is worse: a relevant document at a better rank is no
    reason for a worse answer. For questions without a relevant document, which should be declined,
    and for sets that judge no documents, only `passages` and `generation` remain.
    """
    worse, better = (before, now) if gained else (now, before)
    if worse.error:
        return Cause("failure", f"{_went(before)} → {_went(now)}")
    ranks = f"{first_relevant(before)} → {_place(now)}"
    if _rank(worse) > _rank(better):
        lost = _rank(worse) == math.inf
        return Cause("retrieval" if lost else "ranking", ranks)
    if [hit.chunk_id for hit in worse.hits] != [hit.chunk_id for hit in better.hits]:
        moved = _rank(worse) < _rank(better)
        return Cause(
            "passages", f"{_answers(before, now)}; {ranks}" if moved else _answers(before, now)
        )
    return Cause("generation", _answers(before, now))


def first_relevant(outcome: Outcome) -> str:
    """Returns the rank of the first relevant document among those found, in words."""
    return f"first relevant document: {_place(outcome)}"


def _rank(outcome: Outcome) -> float:
    """Returns that rank, from 1; infinite if none was found, 0 if there is none to find."""
    if FIRST_RELEVANT not in outcome.measures:
        return 0.0
    reciprocal = outcome.measures[FIRST_RELEVANT]
    return float(round(1 / reciprocal)) if reciprocal > 0 else math.inf


def _place(outcome: Outcome) -> str:
    rank = _rank(outcome)
    return {0.0: "none to find", math.inf: "nowhere"}.get(rank, f"at {rank:.0f}")


def _answers(before: Outcome, now: Outcome) -> str:
    if bool(before.answer) != bool(now.answer):
        return f"{_went(before)} → {_went(now)}"
    if before.answer != now.answer:
        return "another answer"
    return "the same answer" if before.citations == now.citations else "other citations"


def _went(outcome: Outcome) -> str:
    return "failed" if outcome.error else "answered" if outcome.answer else "declined"
