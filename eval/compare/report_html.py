"""A report as one self-contained HTML page."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from eval.calibration.confidence import Judged, risk_coverage
from eval.compare.attribution import first_relevant
from eval.compare.comparison import Change
from eval.compare.formatting import clipped, interval, number
from eval.compare.markup import Content, page, tag
from eval.compare.report import LATENCIES, Mean, Report, by_slice, latencies, stage_times
from eval.compare.svg_charts import Axis, Curve, Spot, bar, curves, spots
from eval.compare.text import answered, most_changed
from eval.measures.slices import ANSWERABLE
from eval.runs.run_folder import Outcome
from eval.runs.tables import EXPENSES, Table, differing_settings

STYLE = Path(__file__).with_name("report.css")
ANSWER = 600
"""Characters of an answer that are shown."""
SLICE = 32
"""Characters of the name of a slice that are shown."""
LOWEST = 10
"""Questions that a report on one run shows: those with the lowest scores."""
SHADES = 4
FULL_SHADE = 0.2
"""Difference of a slice's mean from that of all questions that has the deepest shade."""
SHARE = Axis(low=0, high=1, format="{:.0%}".format)
LATENCY_PERCENTILE = 99.5
"""The percentile that a chart of latencies ends at: a few slow answers would squeeze the others."""


def to_html(report: Report) -> str:
    """Returns the page: no script, no request, and no text of the runs is markup."""
    heading = f"{clipped(report.set_name)}: {', '.join(report.means)}"
    return page(
        heading,
        STYLE.read_text("utf-8"),
        tag("header", tag("h1", clipped(report.set_name)), tag("p", _about(report))),
        tag(
            "main",
            _section("Runs", _runs(report), _settings(report)),
            _section("Measures", _measures(report)),
            tag("div", _charts(report), class_="charts"),
            _section("By slice", [_heat_map(report, table) for table in report.tables]),
            _section("Time by stage", _stages(report)),
            _section("Questions", _questions(report)),
        ),
    )


def _about(report: Report) -> str:
    questions = f"{len(report.tables[0].run.outcomes):,} questions"
    if len(report.tables) == 1:
        return f"{questions}. Intervals are 95 %."
    first = report.tables[0].label
    return (
        f"{questions}. Intervals are 95 %; better and worse are in comparison with {first}, by"
        " paired permutation tests with Holm’s correction at 5 %."
    )


def _section(heading: str, *content: Content) -> Element:
    return tag("section", tag("h2", heading), *content)


def _table(head: Sequence[Content], rows: Sequence[Sequence[Content]], kind: str = "") -> Element:
    """Returns a table whose first column heads its rows; it scrolls if there is no room."""
    lines = [
        tag("tr", tag("th", first, scope="row"), [tag("td", each) for each in others])
        for first, *others in rows
    ]
    heads = tag("tr", [tag("th", each, scope="col") for each in head])
    table = tag("table", tag("thead", heads), tag("tbody", lines), class_=kind)
    return tag("div", table, class_="scroll")


def _named(report: Report, place: int) -> list[Content]:
    """Returns a run's name with its colour."""
    return [tag("span", class_=f"swatch s{place}"), report.tables[place].label]


def _runs(report: Report) -> Element:
    names = [f"p{percentile}" for percentile in LATENCIES]
    rows: list[list[Content]] = []
    for place, table in enumerate(report.tables):
        info = table.run.info
        failed = f"{int(table.column('failed').sum()):,}"
        finished = (info.finished or "")[:16].replace("T", " ")
        seconds = latencies(table)
        spread = [number(seconds[each], "seconds") if seconds else "–" for each in names]
        rows.append([_named(report, place), info.version, finished, failed, *spread])
    return _table(["", "version", "finished (UTC)", "failed", *names], rows)


def _settings(report: Report) -> Content:
    differing = differing_settings([table.run for table in report.tables])
    if not differing:
        return []
    rows: list[list[Content]] = [
        [name, *(clipped(value) or "–" for value in row)] for name, row in differing.items()
    ]
    return [tag("h3", "Settings that differ"), _table(["", *report.means], rows, "settings")]


def _measures(report: Report) -> Element:
    """Returns a row for each measure of each run: bar, mean, interval and verdict."""
    rows = []
    for name in report.measures:
        means = [of_run.get(name) for of_run in report.means.values()]
        full = max((mean.interval.high for mean in means if mean), default=0.0)
        full = full if name in EXPENSES or full > 1 else 1.0
        for place, mean in enumerate(means):
            rows.append(_measure(report, name, place, mean, full or 1.0))
    columns = ("", "", "", "mean", "") if len(report.tables) > 1 else ("", "", "mean")
    heads = tag("tr", [tag("th", each, scope="col") for each in columns])
    table = tag("table", tag("thead", heads), tag("tbody", rows), class_="measures")
    return tag("div", table, class_="scroll")


def _measure(report: Report, name: str, place: int, mean: Mean | None, full: float) -> Element:
    """Returns a row; a single run has neither name nor verdict in it."""
    head = tag("th", name, scope="rowgroup", rowspan=len(report.tables))
    drawn: list[Content] = []
    value: list[Content] = ["–"]
    if mean:
        drawn = [bar(place, mean.value, mean.interval, full=full)]
        value = [number(mean.value, name), tag("small", interval(mean.interval, name))]
    row = report.row(report.tables[place].label, name)
    verdict = row.verdict if row else ""
    several = len(report.tables) > 1
    return tag(
        "tr",
        head if place == 0 else [],
        tag("td", _named(report, place), class_="run") if several else [],
        tag("td", drawn),
        tag("td", value),
        tag("td", verdict, class_=f"told {verdict}") if several else [],
        class_="first" if place == 0 else "",
    )


def _charts(report: Report) -> Iterator[Element]:
    yield _figure(
        report, "Latency", "Share of the questions answered in that time", _latency(report)
    )
    says = (
        f"How far {report.leading} of the answers is from 1, the surest first; the dot: as it ran"
    )
    yield _figure(report, "Risk and coverage", says, _risk(report))
    if len(report.tables) > 1:
        says = f"Mean {report.leading} beside what a question takes"
        yield _figure(report, "Cost and quality", says, _quality(report))


def _figure(report: Report, heading: str, says: str, chart: Element) -> Element:
    names = [tag("span", _named(report, place)) for place in range(len(report.tables))]
    legend: Content = tag("p", names, class_="legend") if len(names) > 1 else []
    return tag("section", tag("h2", heading), tag("p", says, class_="says"), legend, chart)


def _latency(report: Report) -> Element:
    columns = [np.sort(table.present("seconds")) for table in report.tables]
    tops = [float(np.percentile(column, LATENCY_PERCENTILE)) for column in columns if len(column)]
    drawn = [
        Curve(place, column, np.arange(1, len(column) + 1) / len(column))
        for place, column in enumerate(columns)
        if len(column)
    ]
    x = Axis(low=0, high=max(tops, default=0) or 1, format="{:g}".format)
    return curves("Distribution of latencies", "seconds", x, SHARE, drawn)


def _risk(report: Report) -> Element:
    """Draws the risk of the answers given; declined questions lie beyond the dot."""
    drawn = [
        Curve(place, *_answers_by_confidence(table, report.leading), marked=True)
        for place, table in enumerate(report.tables)
    ]
    top = max((float(curve.y.max()) for curve in drawn if len(curve.y)), default=0) or 1
    y = Axis(low=0, high=min(top * 1.05, 1), format="{:.0%}".format)
    return curves("Risk by coverage", "share of the questions answered", SHARE, y, drawn)


def _answers_by_confidence(table: Table, measure: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns coverage of the questions and mean loss of the answers: float64[answers] each."""
    scores = table.column(measure)
    judged = [
        (outcome.confidence, score)
        for outcome, score in zip(table.run.outcomes, scores, strict=True)
        if outcome.answer and not math.isnan(score)
    ]
    if not judged:
        return np.empty(0), np.empty(0)
    confidence, correct = np.array(judged).T
    weights = np.ones(len(judged))
    coverage, risk = risk_coverage(Judged(confidence=confidence, correct=correct, weights=weights))
    return coverage * len(judged) / len(scores), risk


def _quality(report: Report) -> Element:
    """Draws quality over cost, or over seconds if nothing had a cost."""
    by = "cost" if "cost" in report.measures else "seconds"
    drawn = []
    for place, means in enumerate(report.means.values()):
        if by in means and report.leading in means:
            quality = means[report.leading]
            drawn.append(Spot(place, means[by].value, quality.value, quality.interval))
    low = min((spot.interval.low for spot in drawn), default=0)
    high = max((spot.interval.high for spot in drawn), default=1)
    room = (high - low) * 0.1 or 0.1
    right = 1.1 * max((spot.x for spot in drawn), default=0) or 1
    x = Axis(low=0, high=right, format="{:g}".format)
    y = Axis(low=low - room, high=high + room, format="{:.3g}".format)
    return spots("Quality by cost", f"{by} of a question", x, y, drawn)


def _heat_map(report: Report, table: Table) -> Content:
    """Returns means by slice; the further a cell is from all questions, the deeper its colour."""
    found = by_slice(table)
    if not found:
        return tag("p", "The set has no slices.")
    overall = report.means[table.label]
    rows = [
        tag(
            "tr",
            tag("th", name, scope="row"),
            tag("td", number(overall[name].value, name)),
            [_shaded(name, means.get(name), overall[name].value) for _, means in found.values()],
        )
        for name in table.measures
        if name in overall
    ]
    heads = [_slice("all", len(table.run.outcomes))]
    heads += [_slice(name, questions) for name, (questions, _) in found.items()]
    head = tag("thead", tag("tr", tag("th"), heads))
    drawn = tag("table", head, tag("tbody", rows), class_="heat")
    place = report.tables.index(table)
    heading: Content = tag("h3", _named(report, place)) if len(report.tables) > 1 else []
    return [heading, tag("div", drawn, class_="scroll")]


def _slice(name: str, questions: int) -> Element:
    return tag("th", clipped(name, SLICE), tag("small", f"{questions:,}"), scope="col")


def _shaded(name: str, value: float | None, overall: float) -> Element:
    if value is None:
        return tag("td", "–")
    shade = min(round(SHADES * abs(value - overall) / FULL_SHADE), SHADES)
    side = "above" if value > overall else "below"
    return tag("td", number(value, name), class_=f"{side}{shade}" if shade else "")


def _stages(report: Report) -> Element:
    times = [stage_times(table) for table in report.tables]
    stages = dict.fromkeys(stage for of_run in times for stage in of_run)
    rows = [
        [clipped(s), *(f"{each[s]:.1f} ms" if s in each else "–" for each in times)] for s in stages
    ]
    return _table(["median", *report.means], rows)


def _questions(report: Report) -> Iterator[Element]:
    for comparison in report.comparisons:
        for heading, changes in most_changed(comparison).items():
            yield tag("h3", f"{heading}: {comparison.candidate}")
            yield from (_change(comparison.baseline, comparison.candidate, c) for c in changes)
    if not report.comparisons:
        yield tag("h3", f"Lowest {report.leading}")
        yield from _lowest(report.tables[0], report.leading)


def _change(baseline: str, candidate: str, change: Change) -> Element:
    before, now = answered(change)
    about = f"{change.gained:+.3f} · {change.cause.stage}: {clipped(change.cause.says)}"
    sides = [_answer(baseline, before), _answer(candidate, now)]
    sides += _expected(change.expected, unanswerable=change.unanswerable)
    return _card(change.question, change.id, about, sides)


def _lowest(table: Table, measure: str) -> Iterator[Element]:
    scores = table.column(measure)
    for place in np.argsort(scores, kind="stable")[:LOWEST]:  # NaN comes last
        outcome = table.run.outcomes[place]
        if not math.isnan(scores[place]):
            about = f"{scores[place]:.3f} · {first_relevant(outcome)}"
            unanswerable = outcome.slices.get(ANSWERABLE) == "no"
            expected = _expected(outcome.expected, unanswerable=unanswerable)
            given = _answer("given" if expected else "", _given(outcome))
            yield _card(outcome.question, outcome.id, about, [given, *expected])


def _given(outcome: Outcome) -> str:
    return outcome.answer or f"(no answer: {outcome.error or outcome.reason or 'empty'})"


def _expected(answers: Sequence[str], *, unanswerable: bool) -> list[Element]:
    """Returns the gold answers of a question as one element; none if the run has none."""
    if unanswerable:
        return [_answer("expected", "(no answer)", kind="expected")]
    if not answers:
        return []
    return [_answer("expected", " / ".join(dict.fromkeys(answers)), kind="expected")]


def _card(question: str, name: str, about: str, answers: Content) -> Element:
    heading = tag("h4", clipped(question, ANSWER), " ", tag("small", clipped(name)), dir="auto")
    sides = tag("div", answers, class_="sides")
    return tag("article", heading, tag("p", about, class_="says"), sides)


def _answer(name: str, text: str, *, kind: str = "") -> Element:
    named: Content = tag("small", name) if name else []
    return tag("blockquote", named, tag("p", clipped(text, ANSWER), dir="auto"), class_=kind)
