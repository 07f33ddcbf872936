"""Runs of one set as tables of numbers: a row for each question, a column for each measure."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import numpy as np
import numpy.typing as npt

from eval.runs.run_folder import OUTCOMES, Outcome, Run
from rag.errors import InputError
from rag.types import Floats

Mask = npt.NDArray[np.bool_]

EXPENSES = ("failed", "degraded", "seconds", "input_tokens", "output_tokens", "cost")
"""Values of an outcome besides its measures. Of these less is better, of measures more is."""
SHARES = ("failed", "degraded")
"""Expenses that are 0 or 1 for each question."""
NEUTRAL = re.compile(r"abstained|Judged@\d+|judge_failed")
"""Measures of which neither more nor less is better: some say how far others can be trusted."""
LEADING = ("f1", "nDCG@10")
"""The leading measure of a run is the first of these that it has."""
NAMED = 3
"""Questions that a message names, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A run in numbers.

    Attributes:
        run: the run.
        label: distinguishes it from the runs it is compared with.
        measures: names of the first columns; those of the last are `EXPENSES`.
        values: float64[questions, columns], in the order of `run.outcomes`; NaN if a question has
            no value of a measure.
    """

    run: Run
    label: str
    measures: tuple[str, ...]
    values: Floats

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all columns."""
        return self.measures + EXPENSES

    def column(self, name: str) -> Floats:
        """Returns a column, float64[questions]."""
        return np.asarray(self.values[:, self.names.index(name)])

    def present(self, name: str) -> Floats:
        """Returns the column without the questions that have no value in it."""
        column = self.column(name)
        return column[~np.isnan(column)]


def tabulate(runs: Sequence[Run]) -> list[Table]:
    """Returns a table for each run, all with the same rows and columns.

    A question that failed has no expenses but `failed`, and scores 0 in a measure that it lacks and
    another of the runs has of it: a run must not gain by failing.

    Raises:
        InputError: The runs are of different sets, one is empty, or a value is not a number.
    """
    for run in runs:
        _check_questions(run)
    _check_same_set(runs)
    named = dict.fromkeys(name for run in runs for o in run.outcomes for name in o.measures)
    measures = tuple(name for name in named if name not in EXPENSES)
    scores = np.array([[_scores(run, o, measures) for o in run.outcomes] for run in runs])
    failed = np.array([[[bool(o.error)] for o in run.outcomes] for run in runs])
    is_measured = ~np.isnan(scores).all(axis=0)
    scores[failed & is_measured & np.isnan(scores)] = 0.0
    expenses = np.array([[_expenses(run, o) for o in run.outcomes] for run in runs])
    return [
        Table(run=run, label=label, measures=measures, values=np.hstack([some, other]))
        for run, label, some, other in zip(runs, labels(runs), scores, expenses, strict=True)
    ]


def labels(runs: Sequence[Run]) -> list[str]:
    """Returns the names of their folders; the whole paths if two have the same name."""
    names = [run.folder.resolve().name for run in runs]  # "." has no name
    return names if len(set(names)) == len(names) else [str(run.folder) for run in runs]


def slices(run: Run) -> dict[str, Mask]:
    """Returns bool[questions] by slice, "lang=de", in order of their names."""
    rows = [{f"{field}={value}" for field, value in o.slices.items()} for o in run.outcomes]
    names = sorted(set[str]().union(*rows))
    return {name: np.array([name in row for row in rows]) for name in names}


def field_of(slice_name: str) -> str:
    """Returns the field of a slice: "lang" for "lang=de"."""
    return slice_name.split("=", 1)[0]


def leading(table: Table) -> str:
    """Returns the leading measure of a run.

    Raises:
        InputError: The run has no measures.
    """
    if not table.measures:
        raise InputError(f"The run {table.run.folder} has no measures: its set judges nothing.")
    return next((name for name in LEADING if name in table.measures), table.measures[0])


def most(name: str) -> float:
    """Returns the largest value that a measure or expense can have for one question."""
    return 1 if name in SHARES or name not in EXPENSES else math.inf


def gain(name: str, candidate: Floats, baseline: Floats) -> Floats:
    """Returns how much better each value is (greater for neutral measures); negative if worse."""
    return baseline - candidate if name in EXPENSES else candidate - baseline


def differing_settings(runs: Sequence[Run]) -> dict[str, tuple[str, ...]]:
    """Returns the settings that differ between runs: dotted name → the value in each run."""
    flat = [dict(_leaves(run.info.config)) | {"version": run.info.version} for run in runs]
    names = dict.fromkeys(name for settings in flat for name in settings)
    rows = {name: tuple(settings.get(name, "") for settings in flat) for name in names}
    return {name: row for name, row in rows.items() if len(set(row)) > 1}


def hint(name: str, known: Iterable[str]) -> str:
    """Suggests the name that may have been meant, in a sentence."""
    listed = list(known)
    near = get_close_matches(name, listed, n=1, cutoff=0.5)
    return f"Did you mean {near[0]!r}?" if near else f"There are: {', '.join(listed) or 'none'}."


def _leaves(settings: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", str(value)


def _check_questions(run: Run) -> None:
    if not run.outcomes:
        raise InputError(f"The run {run.folder} has no questions: nothing can be said of it.")
    twice = [each for each, n in Counter(o.id for o in run.outcomes).items() if n > 1]
    if twice:
        raise InputError(f"{run.folder / OUTCOMES} has the question {twice[0]!r} more than once.")


def _check_same_set(runs: Sequence[Run]) -> None:
    first = runs[0]
    for other in runs[1:]:
        pair = f"{first.folder} and {other.folder} cannot be compared:"
        one, two = first.info, other.info
        if one.set_fingerprint != two.set_fingerprint:
            sets = (
                f"they are runs of different sets, {one.set_name!r} and {two.set_name!r}."
                if one.set_name != two.set_name
                else f"the set {one.set_name!r} was changed between them (its fingerprint was"
                f" {one.set_fingerprint}, then {two.set_fingerprint}): run the first again."
            )
            raise InputError(f"{pair} {sets}")
        ids = {o.id for o in first.outcomes} ^ {o.id for o in other.outcomes}
        if ids:
            some = ", ".join(map(repr, sorted(ids)[:NAMED])) + (", …" if len(ids) > NAMED else "")
            raise InputError(
                f"{pair} {len(first.outcomes):,} and {len(other.outcomes):,} questions were asked,"
                f" and only one of the two asked {some}."
            )


def _scores(run: Run, outcome: Outcome, measures: Sequence[str]) -> list[float]:
    has = outcome.measures
    return [
        _number(run, outcome, name, has[name]) if name in has else math.nan for name in measures
    ]


def _expenses(run: Run, outcome: Outcome) -> list[float]:
    """Returns the expenses of an outcome, in the order of `EXPENSES`."""
    if outcome.error:
        return [1.0, *[math.nan] * (len(EXPENSES) - 1)]
    names = EXPENSES[len(SHARES) :]
    spent = {name: _number(run, outcome, name, getattr(outcome, name)) for name in names}
    if is_kept(outcome):
        spent["seconds"] = math.nan
    return [0.0, float(bool(outcome.degraded)), *spent.values()]


def is_kept(outcome: Outcome) -> bool:
    """True if its hits come from an earlier run: that search's time is not in its seconds."""
    return "retrieve" in outcome.timings and "search" not in outcome.timings


def _number(run: Run, outcome: Outcome, name: str, value: object) -> float:
    if isinstance(value, int | float) and math.isfinite(value):
        return float(value)
    raise InputError(
        f"{run.folder / OUTCOMES}, question {outcome.id!r}: {name} is {value!r}, not a number."
    )
