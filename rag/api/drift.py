"""Reports on drift over the API: read in parts, and computed in a thread."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Annotated, Any, Literal, NamedTuple

from fastapi import Query
from pydantic import BaseModel, Field

from eval.online.drift import MIN_ANSWERS, compare, to_json
from rag.api.cursors import iso
from rag.catalog.answers import Answers
from rag.errors import ConflictError
from rag.records import Signals
from rag.types import Scope

LONGEST_SECONDS = 366 * 86_400
MOST_ANSWERS = 100_000
"""Answers of both windows: they take seconds of a core, and 200 MB."""
Seconds = Annotated[float, Query(gt=0, le=LONGEST_SECONDS)]


class DriftRow(BaseModel):
    """A signal in both windows. `p` is null, and `says` has the cause, if it was not compared."""

    signal: str
    unit: Literal["characters", "seconds", "share", "currency", "score"]
    answers: tuple[int, int] = Field(description="That have it: in the reference, now.")
    reference: float | None = Field(description="The median, or the share if the unit is one.")
    current: float | None
    change: float | None = Field(description="The widest gap of the distributions, 0 to 1.")
    p: float | None
    p_holm: float | None = Field(description="Corrected for the number of signals.")
    drifted: bool
    says: str


class DriftOut(BaseModel):
    """Whether answers have drifted, signal by signal: docs/drift.md."""

    since: str = Field(description="Where the reference begins.")
    begins: str = Field(description="Where it ends, and the current window begins.")
    until: str
    answers: tuple[int, int] = Field(description="Of the reference, and now.")
    alpha: float
    seed: int
    drifted: bool
    rows: list[DriftRow]
    unlike: list[str | None] = Field(
        description="The questions that differ most from before; null: its words are not kept."
    )


class Windows(NamedTuple):
    """Two windows of time, in seconds since 1970: the second begins where the first ends."""

    since: float
    begins: float
    until: float

    @classmethod
    def until_now(cls, *, current: float, reference: float) -> Windows:
        """Returns the windows of these lengths, in seconds."""
        now = time.time()
        return cls(now - current - reference, now - current, now)


async def report(answers: Answers, scope: Scope, windows: Windows) -> dict[str, Any]:
    """Returns the report on a collection's answers in the form of `DriftOut`.

    Raises:
        ConflictError: There are too few answers to compare, or too many.
    """
    await _check_numbers(answers, scope, windows)
    since, begins, until = windows
    reference = await answers.signals(scope, since, begins)
    current = await answers.signals(scope, begins, until)
    found, unlike = await asyncio.to_thread(_compared, reference, current)
    questions = [await answers.question(scope.tenant, id_) for id_ in unlike]
    return {**{n: iso(at) for n, at in windows._asdict().items()}, **found, "unlike": questions}


async def _check_numbers(answers: Answers, scope: Scope, windows: Windows) -> None:
    before = await answers.count(scope, windows.since, windows.begins)
    now = await answers.count(scope, windows.begins, windows.until)
    if before + now > MOST_ANSWERS:
        raise ConflictError(
            f"The windows have {before + now:,} answers, and at most {MOST_ANSWERS:,} are compared"
            " here: choose shorter ones, or use `rag eval drift`.",
            code="too_many_answers",
        )
    if min(before, now) < MIN_ANSWERS:
        raise ConflictError(
            f"There are too few answers to compare: {now:,} now and {before:,} before, and each"
            f" window takes {MIN_ANSWERS}. Choose longer windows.",
            code="too_few_answers",
        )


def _compared(
    reference: Sequence[Signals], current: Sequence[Signals]
) -> tuple[dict[str, Any], list[str]]:
    """Returns the report as JSON, and the ids of the answers to the questions it names."""
    found = compare(reference, current)
    return to_json(found), [current[place].id for place in found.unlike]
