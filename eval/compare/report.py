"""The results of one or several runs of a set: means with their intervals, and comparisons."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from eval.compare.comparison import Comparison, Row, compare
from eval.compare.formatting import aligned, cell, clipped, code, interval, markdown_table, number
from eval.measures.statistics import Interval, mean_interval
from eval.runs.run_folder import Run
from eval.runs.tables import EXPENSES, Table, leading, most, slices, tabulate
from rag.errors import InputError

MAX_RUNS = 6
"""The number of colours that can be distinguished."""
LATENCIES = (50, 95, 99)
"""Percentiles of the seconds that a question took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mean:
    """The mean of a measure in one run, over the questions that have a value of it."""

    value: float
    interval: Interval
    questions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Runs of one set.

    Attributes:
        tables: one for each run.
        leading: their leading measure.
        means: by the run's label, then by measure; without measures that the run has no value of,
            and without expenses that no run has.
        comparisons: of each run but the first with the first.
    """

    tables: tuple[Table, ...]
    leading: str
    means: dict[str, dict[str, Mean]]
    comparisons: tuple[Comparison, ...]

    @property
    def set_name(self) -> str:
        """The set of all runs."""
        return self.tables[0].run.info.set_name

    @property
    def measures(self) -> list[str]:
        """All measures that some run has."""
        return list(dict.fromkeys(name for means in self.means.values() for name in means))

    def row(self, label: str, measure: str) -> Row | None:
        """Returns how a run compares with the first in a measure."""
        rows = (row for c in self.comparisons if c.candidate == label for row in c.rows)
        return next((row for row in rows if row.measure == measure), None)


def examine(runs: Sequence[Run]) -> Report:
    """Makes a report on runs of one set.

    Raises:
        InputError: They are of different sets, too many, or one is empty or has no measures.
    """
    if len(runs) > MAX_RUNS:
        raise InputError(f"A report shows {MAX_RUNS} runs at most; these are {len(runs)}.")
    tables = tabulate(runs)
    if len({table.label for table in tables}) < len(tables):
        raise InputError("A run is given twice: a report shows each once.")
    spent = [name for name in EXPENSES if any(table.present(name).any() for table in tables)]
    names = [*tables[0].measures, *spent]
    return Report(
        tables=tuple(tables),
        leading=leading(tables[0]),
        means={table.label: _means(table, names) for table in tables},
        comparisons=tuple(compare(runs)),
    )


def latencies(table: Table) -> dict[str, float]:
    """Returns `LATENCIES` of a run, "p95", in seconds; none if all questions failed."""
    seconds = table.present("seconds")
    return {f"p{q}": float(np.percentile(seconds, q)) for q in LATENCIES if len(seconds)}


def stage_times(table: Table) -> dict[str, float]:
    """Returns median milliseconds by stage, over the questions that went through it."""
    timings = [outcome.timings for outcome in table.run.outcomes]
    stages = dict.fromkeys(stage for times in timings for stage in times)
    return {s: float(np.median([t[s] for t in timings if s in t])) for s in stages}


def by_slice(table: Table) -> dict[str, tuple[int, dict[str, float]]]:
    """Returns the number of questions and the mean of each measure, by slice."""
    found = {}
    for name, mask in slices(table.run).items():
        columns = {measure: table.column(measure)[mask] for measure in table.measures}
        means = {m: float(np.nanmean(c)) for m, c in columns.items() if not np.isnan(c).all()}
        found[name] = int(mask.sum()), means
    return found


def to_json(report: Report) -> dict[str, Any]:
    """Returns the report as a JSON object."""
    return {
        "set_name": report.set_name,
        "leading": report.leading,
        "runs": [_run_to_json(report, table) for table in report.tables],
    }


def to_text(report: Report) -> Iterator[str]:
    """Yields the means as lines for a terminal."""
    questions = len(report.tables[0].run.outcomes)
    yield f"{questions:,} questions of {clipped(report.set_name)}."
    yield ""
    yield from aligned(["", *report.means], [[row, *cells] for row, cells in _rows(report)])


def to_markdown(report: Report) -> Iterator[str]:
    """Yields the means as Markdown lines for a pull request."""
    questions = len(report.tables[0].run.outcomes)
    yield f"### {questions:,} questions of {code(report.set_name)}"
    yield ""
    rows = [[cell(row), *cells] for row, cells in _rows(report)]
    yield from markdown_table(["", *map(cell, report.means)], rows)


def _rows(report: Report) -> Iterator[tuple[str, list[str]]]:
    """Yields the name and one cell for each run, of each measure and then of latencies."""
    for name in report.measures:
        means = [of_run.get(name) for of_run in report.means.values()]
        yield name, [_mean(name, mean) for mean in means]
    percentiles = [latencies(table) for table in report.tables]
    for name in map("p{}".format, LATENCIES):
        cells = [number(each[name], "seconds") if name in each else "" for each in percentiles]
        yield f"seconds {name}", cells


def _mean(name: str, mean: Mean | None) -> str:
    return f"{number(mean.value, name)} ({interval(mean.interval, name)})" if mean else ""


def _means(table: Table, names: Sequence[str]) -> dict[str, Mean]:
    columns = {name: table.present(name) for name in names}
    return {
        name: Mean(
            value=float(values.mean()),
            interval=mean_interval(values, most=most(name)),
            questions=len(values),
        )
        for name, values in columns.items()
        if len(values)
    }


def _run_to_json(report: Report, table: Table) -> dict[str, Any]:
    means = {
        name: {
            "mean": mean.value,
            "interval": mean.interval._asdict(),
            "questions": mean.questions,
        }
        for name, mean in report.means[table.label].items()
    }
    return {
        "run": table.label,
        "means": means,
        "slices": {
            name: {"questions": questions, "means": found}
            for name, (questions, found) in by_slice(table).items()
        },
        "seconds": latencies(table),
        "stage_milliseconds": stage_times(table),
    }
