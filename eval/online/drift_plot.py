"""The picture of a drift report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eval.calibration.plots import FAINT, INK, LINE, MARK
from eval.measures.two_samples import widest_gap
from eval.online.drift import QUESTIONS, Report, Row, Unit, measured, question_likeness
from rag.errors import ConfigError
from rag.records import Signals
from rag.types import Floats

COLUMNS = 4
PANEL = (3.0, 2.5)
"""Inches, wide and high."""
MIDDLE = (0.005, 0.995)
"""The quantiles between which numbers are drawn: a few slow answers would squeeze the others."""
EDGE = 0.02
"""Margin on the right, as a share of the width: keeps the step at the greatest number visible."""
AXES: dict[Unit, str] = {
    "characters": "characters",
    "seconds": "seconds",
    "share": "",
    "currency": "cost of an answer",
    "score": "score",
}


def draw(
    report: Report, reference: Sequence[Signals], current: Sequence[Signals], path: Path
) -> None:
    """Draws both distributions of each signal, and the gap between them.

    Args:
        report: the report of `compare` on the two windows.
        reference: the reference window.
        current: the current window.
        path: the PNG file.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    values = _values(report, reference, current)
    lines = -(-len(report.rows) // COLUMNS)
    figure = _figure(PANEL[0] * COLUMNS, PANEL[1] * lines + 0.4)
    panels = list(figure.subplots(lines, COLUMNS, squeeze=False).flat)
    for axes, row in zip(panels, report.rows, strict=False):
        _panel(axes, row, *values[row.signal])
    for axes in panels[len(report.rows) :]:
        axes.set_axis_off()
    _legend(figure, report)
    figure.savefig(path, dpi=160)


def _values(
    report: Report, reference: Sequence[Signals], current: Sequence[Signals]
) -> dict[str, tuple[Floats, Floats]]:
    """Returns the values to draw of each signal; for questions, their novelty."""
    pairs = zip(*measured(reference, current), strict=True)
    values = {now.name: (before.values, now.values) for before, now in pairs}
    values[QUESTIONS] = np.empty(0), np.empty(0)
    if any(row.signal == QUESTIONS and row.p is not None for row in report.rows):
        rng = np.random.default_rng(report.seed)
        values[QUESTIONS] = question_likeness(reference, current, rng)[0].novelty()
    return values


def _panel(axes: Any, row: Row, before: Floats, now: Floats) -> None:
    colour = MARK if row.drifted else LINE
    title, tone = (f"{row.signal}: drifted", MARK) if row.drifted else (row.signal, INK)
    axes.set_title(title, color=tone, fontsize=11, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(colors=INK, labelsize=8)
    axes.set_xlabel(AXES[row.unit], color=INK, fontsize=9)
    if row.p is None:
        axes.text(0.5, 0.5, "not compared", color=FAINT, ha="center", transform=axes.transAxes)
        axes.set(xticks=[], yticks=[])
    elif row.signal == QUESTIONS:
        _draw_distributions(axes, row, before, now, colour)
        axes.set_xticks([])
        axes.set_xlabel("like the reference → like the current ones", color=INK, fontsize=9)
    elif row.unit == "share":
        _draw_shares(axes, row, colour)
    else:
        _draw_distributions(axes, row, before, now, colour)


def _draw_shares(axes: Any, row: Row, colour: str) -> None:
    from matplotlib.ticker import PercentFormatter

    shares = (row.reference or 0.0, row.current or 0.0)
    bars = axes.bar(("reference", "current"), shares, color=(FAINT, colour), width=0.5)
    axes.bar_label(bars, [f"{share:.1%}" for share in shares], color=INK, fontsize=9, padding=2)
    axes.set_ylim(0, max(*shares, 0.01) * 1.25)
    axes.yaxis.set_major_formatter(PercentFormatter(1))


def _draw_distributions(axes: Any, row: Row, before: Floats, now: Floats, colour: str) -> None:
    """Draws the share of answers up to each value; if they drifted, a line marks the gap."""
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    for values, tone in ((before, FAINT), (now, colour)):
        axes.ecdf(values, color=tone, linewidth=2)
    if row.drifted:
        gap = widest_gap(before, now)
        axes.vlines(gap.value, 1 - gap.reference, 1 - gap.current, color=INK, linewidth=1.5)
        beside = {"xytext": (7, -2), "textcoords": "offset points", "va": "top"}
        box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1}
        low_end = (gap.value, 1 - max(gap.reference, gap.current))
        axes.annotate(f"{gap.size:.0%}", low_end, color=INK, fontsize=9, bbox=box, **beside)
    low, high = np.quantile(np.concatenate([before, now]), MIDDLE)
    if low < high:
        axes.set_xlim(low, high + EDGE * (high - low))
    axes.set_ylim(0, 1)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    if axes.get_subplotspec().is_first_col():
        axes.set_ylabel("share up to there", color=INK, fontsize=9)


def _legend(figure: Any, report: Report) -> None:
    from matplotlib.lines import Line2D

    before, now = report.answers
    entries = (
        (FAINT, f"reference, {before:,} answers"),
        (LINE, f"current, {now:,} answers"),
        (MARK, "current, drifted"),
    )
    handles = [Line2D([], [], color=colour, linewidth=2, label=label) for colour, label in entries]
    figure.legend(handles=handles, loc="outside upper left", ncols=3, frameon=False, labelcolor=INK)


def _figure(width: float, height: float) -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError(
            "matplotlib, which draws the picture, is not installed: run"
            " `pip install 'plumbline-rag[eval]'`."
        ) from error
    return Figure(figsize=(width, height), layout="constrained", facecolor="white")
