"""Decides if a run may be shipped: absolute limits, and allowed regressions from a baseline."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any, Literal

import numpy as np

from eval.compare.comparison import corrected_p_values
from eval.compare.formatting import number
from eval.compare.gate_rules import Rule, Rules, Statistic
from eval.measures.statistics import DRAWS, Interval, difference_interval
from eval.runs.run_folder import Run
from eval.runs.tables import (
    EXPENSES,
    NEUTRAL,
    Mask,
    Table,
    field_of,
    gain,
    hint,
    most,
    slices,
    tabulate,
)
from rag.errors import InputError
from rag.types import Floats

POWER = 0.8
"""The probability of finding a regression of the size in `sees`: Cohen's convention (1988)."""

Kind = Literal["floor", "ceiling", "regression"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """The result of one rule for one slice.

    Attributes:
        line: the line of the file at which its rule begins.
        kind: the kind of limit.
        measure: its name.
        statistic: of the measure.
        slice: the questions, "lang=de"; empty for all.
        questions: the number of questions that have a value.
        value: the run's value.
        limit: the floor, the ceiling or the regression allowed.
        baseline: the baseline's value; only for regressions, as are `interval`, `p` and `sees`.
        interval: of the difference, run minus baseline.
        p: of the paired permutation test, corrected for all regressions that are checked; None
            if every question has the same value in both.
        sees: the smallest regression that would be found four times in five; None if there are
            too few questions to be sure of any.
        failed: True if the limit is broken.
        says: why it failed.
    """

    line: int
    kind: Kind
    measure: str
    statistic: Statistic
    slice: str
    questions: int
    value: float
    limit: float
    baseline: float | None = None
    interval: Interval | None = None
    p: float | None = None
    sees: float | None = None
    failed: bool = False
    says: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The results of all rules.

    Attributes:
        run: the label of the run.
        baseline: the label of the baseline.
        set_name: the set of both.
        questions: the number of questions in the set.
        alpha: the level that corrected p-values are compared with.
        checks: in the order of the file.
    """

    run: str
    baseline: str
    set_name: str
    questions: int
    alpha: float
    checks: tuple[Check, ...]

    @property
    def failures(self) -> list[Check]:
        """Checks that failed."""
        return [check for check in self.checks if check.failed]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """The values that a rule applies to, in one slice.

    Attributes:
        rule: the rule.
        line: the line of the file at which it begins.
        slice: the questions, "lang=de"; empty for all.
        values: float64[n], of the questions that have a value in the run.
        pair: float64[2, m], the run's and the baseline's, of those that have one in both.
    """

    rule: Rule
    line: int
    slice: str
    values: Floats
    pair: Floats

    @property
    def differences(self) -> Floats:
        """float64[m], run minus baseline."""
        return np.asarray(self.pair[0] - self.pair[1])


def gate(run: Run, baseline: Run, rules: Rules) -> Verdict:
    """Checks a run against every rule.

    1. find the values that each rule applies to  2. check absolute limits  3. test regressions,
    corrected for their number

    Raises:
        InputError: The runs are of different sets, one is empty, or lack what a rule names.
    """
    before, now = tabulate([baseline, run])
    parts = [part for n in range(len(rules.rules)) for part in _parts(rules, n, before, now)]  # 1.
    limits = [check for part in parts for check in _limits(part)]  # 2.
    tested = [part for part in parts if part.rule.allowed is not None]
    regressions = _regressions(tested, rules.alpha)  # 3.
    return Verdict(
        run=now.label,
        baseline=before.label,
        set_name=run.info.set_name,
        questions=len(run.outcomes),
        alpha=rules.alpha,
        checks=tuple(sorted([*limits, *regressions], key=lambda check: check.line)),
    )


def to_json(verdict: Verdict) -> dict[str, Any]:
    """Returns the verdict as a JSON object."""
    body = asdict(verdict) | {"passed": not verdict.failures}
    for check, check_json in zip(verdict.checks, body["checks"], strict=True):
        check_json["interval"] = check.interval and check.interval._asdict()
    return body


def _parts(rules: Rules, n: int, before: Table, now: Table) -> list[_Part]:
    """Returns the values that rule `n` applies to: one part for each of its slices."""
    rule = rules.rules[n]
    if rule.measure not in now.names:
        raise InputError(
            f"{rules.where(n, 'measure')}: the runs have no measure {rule.measure!r}."
            f" {hint(rule.measure, now.names)}"
        )
    if rule.allowed is not None and NEUTRAL.fullmatch(rule.measure):
        raise InputError(
            f"{rules.where(n, 'allowed')}: neither more nor less {rule.measure!r} is better by"
            " itself: give it a `floor` or a `ceiling`."
        )
    columns = np.array([now.column(rule.measure), before.column(rule.measure)])
    parts = []
    for name, mask in _chosen(rules, n, now.run).items():
        values, pair = columns[0, mask], columns[:, mask]
        values, pair = values[~np.isnan(values)], pair[:, ~np.isnan(pair).any(axis=0)]
        if not len(values) or (rule.allowed is not None and not pair.size):
            where = rules.where(n, "slice" if name else "measure")
            of = f" of {name}" if name else ""
            raise InputError(f"{where}: no question{of} has a say in {rule.measure!r}.")
        parts.append(_Part(rule=rule, line=rules.lines[n], slice=name, values=values, pair=pair))
    return parts


def _chosen(rules: Rules, n: int, run: Run) -> dict[str, Mask]:
    """Returns the slices of rule `n`: all questions, one slice, or all slices of a field."""
    wanted = rules.rules[n].slice
    if not wanted:
        return {"": np.ones(len(run.outcomes), dtype=bool)}
    known = slices(run)
    chosen = {name: mask for name, mask in known.items() if wanted in {name, field_of(name)}}
    if not chosen:
        names = [*known, *dict.fromkeys(map(field_of, known))]
        raise InputError(
            f"{rules.where(n, 'slice')}: the set has no slice {wanted!r}. {hint(wanted, names)}"
        )
    return chosen


def _limits(part: _Part) -> list[Check]:
    floor, ceiling = part.rule.floor, part.rule.ceiling
    value = _statistic(part.values, part.rule.statistic)
    checks = []
    if floor is not None:
        failed = _exceeds(floor, value)
        checks.append(_limit(part, "floor", floor, value, "is below" if failed else ""))
    if ceiling is not None:
        failed = _exceeds(value, ceiling)
        checks.append(_limit(part, "ceiling", ceiling, value, "is above" if failed else ""))
    return checks


def _limit(part: _Part, kind: Kind, limit: float, value: float, broken: str) -> Check:
    says = f"{_number(part, value)} {broken} {_number(part, limit)}" if broken else ""
    return Check(
        line=part.line,
        kind=kind,
        measure=part.rule.measure,
        statistic=part.rule.statistic,
        slice=part.slice,
        questions=len(part.values),
        value=value,
        limit=limit,
        failed=bool(broken),
        says=says,
    )


def _regressions(parts: Sequence[_Part], alpha: float) -> list[Check]:
    """Tests each part for a significant loss of more than is allowed."""
    if len(parts) > alpha * (DRAWS + 1):
        raise InputError(
            f"{len(parts)} regressions cannot be tested at alpha = {alpha:g}: {DRAWS:,}"
            " permutations tell too little for so many. Ask for fewer slices or a greater `alpha`."
        )
    p_values = corrected_p_values([part.differences for part in parts])
    return [
        _regression(part, p, alpha=alpha, tests=len(parts))
        for part, p in zip(parts, p_values, strict=True)
    ]


def _regression(part: _Part, p: float | None, *, alpha: float, tests: int) -> Check:
    allowed = part.rule.allowed or 0.0
    value, baseline = (float(mean) for mean in part.pair.mean(axis=1))
    lost = -float(gain(part.rule.measure, *part.pair).mean())
    failed = p is not None and p <= alpha and _exceeds(lost, allowed)
    verb = "rose" if part.rule.measure in EXPENSES else "fell"
    says = f"{verb} by {_number(part, lost)}, {_number(part, allowed)} is allowed" if failed else ""
    sees = _sees(part.differences, allowed, alpha / tests)
    return Check(
        line=part.line,
        kind="regression",
        measure=part.rule.measure,
        statistic=part.rule.statistic,
        slice=part.slice,
        questions=len(part.differences),
        value=value,
        limit=allowed,
        baseline=baseline,
        interval=difference_interval(part.differences, most=most(part.rule.measure)),
        p=p,
        sees=sees,
        failed=failed,
        says=says,
    )


def _sees(differences: Floats, allowed: float, alpha: float) -> float | None:
    """Returns the smallest loss that a rule finds with `POWER`, by the normal approximation.

    A loss is found if it is larger than allowed, and significant.

    Card et al. 2020, https://arxiv.org/abs/2010.06595, on the low power of small sets. None if
    even the rarest of all 2^n flips of signs is not rare enough.
    """
    if 2.0 ** (1 - len(differences)) > alpha:
        return None
    error = float(differences.std(ddof=1)) / math.sqrt(len(differences))
    normal = NormalDist()
    least = max(allowed, error * normal.inv_cdf(1 - alpha / 2))
    return least + error * normal.inv_cdf(POWER)


def _statistic(values: Floats, statistic: Statistic) -> float:
    if statistic == "mean":
        return float(values.mean())
    return float(np.percentile(values, float(statistic.removeprefix("p"))))


def _exceeds(value: float, limit: float) -> bool:
    """True if the value exceeds the limit by more than the rounding error of a mean."""
    return value > limit and not math.isclose(value, limit, rel_tol=1e-9)


def _number(part: _Part, value: float) -> str:
    return number(value, part.rule.measure)
