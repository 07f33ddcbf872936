"""The comparison of two evaluation runs over the API."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from eval.compare.attribution import Stage
from eval.compare.comparison import Verdict, compare, to_json
from eval.offline.plan_json import ADDRESSES
from eval.runs.kept_runs import KeptRuns
from rag.errors import ConflictError, InputError

MOST_CHANGES = 200
"""Questions of a comparison: those that changed most."""
SHOWN = {
    *("version", "run", "profile", "embedder", "reader", "chunker"),
    *("retrieval", "reranker", "generator", "citations"),
}
"""Parts of the settings whose differences are told: others are of the host, or of all tenants."""


class IntervalOut(BaseModel):
    """A 95 % confidence interval."""

    low: float
    high: float


class ComparedOut(BaseModel):
    """A measure in both runs. `p` is null if every question has the same value in both."""

    measure: str
    questions: int
    baseline: float
    candidate: float
    difference: float
    interval: IntervalOut = Field(description="Of the difference, candidate minus baseline.")
    p: float | None
    wins: int
    ties: int
    losses: int
    verdict: Verdict = Field(description="Empty: the difference may be chance.")


class CauseOut(BaseModel):
    """The stage at which the worse outcome fell behind, and what changed there."""

    stage: Stage
    says: str


class ChangeOut(BaseModel):
    """A question whose leading measure changed; answers and reasons are of the two runs."""

    id: str
    question: str
    gained: float
    cause: CauseOut
    answers: tuple[str, str]
    reasons: tuple[str, str]
    expected: list[str] = Field(description="Gold answers, of runs that have recorded them.")
    unanswerable: bool = Field(description="True: it should be declined.")


class ComparisonOut(BaseModel):
    """A run, the candidate, compared with the baseline; `changes` are the greatest first."""

    baseline: str
    candidate: str
    set_name: str
    questions: int
    alpha: float
    settings: dict[str, tuple[str, str]] = Field(
        description="That differ, of those that answers depend on; no addresses."
    )
    rows: list[ComparedOut]
    leading: str = Field(description="The measure of `changes`.")
    changes: list[ChangeOut]
    changed: int = Field(description="Questions that changed; `changes` has 200 of them at most.")


class ComparisonsOut(BaseModel):
    """What `rag eval compare --json` prints of two runs."""

    comparisons: list[ComparisonOut]


def compared(runs: KeptRuns, tenant: str, baseline: str, candidate: str) -> dict[str, Any]:
    """Returns the comparison in the form of `ComparisonsOut`: for a thread, as it takes seconds.

    Raises:
        NotFoundError: The tenant has no such run.
        ConflictError: The runs cannot be compared: they are one, not finished, too large or of
            different sets.
        StorageError: A run cannot be read.
    """
    both = [runs.whole(tenant, name) for name in (baseline, candidate)]
    if baseline == candidate:
        raise ConflictError("A run is not compared with itself: name two.", code="same_run")
    try:
        [found] = compare(both)
    except InputError as error:
        raise ConflictError(str(error), code="not_comparable") from error
    body = to_json(found)
    settings = {name: values for name, values in body["settings"].items() if _is_shown(name)}
    changes = body["changes"]
    shown = {"settings": settings, "changes": changes[:MOST_CHANGES], "changed": len(changes)}
    return {"comparisons": [body | shown]}


def _is_shown(setting: str) -> bool:
    """Returns True for a setting that answers depend on, and that is no address."""
    return setting.partition(".")[0] in SHOWN and setting.rpartition(".")[2] not in ADDRESSES
