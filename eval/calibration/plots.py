"""The pictures of docs/abstention.md, docs/groundedness.md and docs/caching.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eval.calibration.confidence import Judged, auroc, reliability, risk_coverage, roc
from eval.calibration.similarity import Point
from rag.types import Floats

INK = "#1f2933"
FAINT = "#9aa5b1"
LINE = "#0b6e99"
MARK = "#c8553d"
SHADES = ("#9aa5b1", "#52606d", "#1b9e77", "#0b6e99", "#d9902f", "#c8553d")


def draw_risk_coverage(path: Path, curves: Mapping[str, Judged], *, threshold: float) -> None:
    """Draws the share of answers that are wrong over the share of questions answered.

    Args:
        path: the PNG file.
        curves: at most two, by their label.
        threshold: marked on each curve.
    """
    figure, axes = _axes(
        "Share of the questions that is answered", "Share of the answers that is wrong"
    )
    for (name, judged), colour in zip(curves.items(), (LINE, MARK), strict=False):
        coverage, risk = risk_coverage(judged)
        at = int((judged.confidence >= threshold).sum()) - 1
        axes.plot(coverage, risk, color=colour, linewidth=2)
        axes.plot(coverage[at], risk[at], "o", color=colour, markersize=8)
        axes.annotate(
            name, (1, risk[-1]), (6, 0), va="center", annotation_clip=False, **_text(colour)
        )
        label = f"{coverage[at]:.0%} answered,\n{risk[at]:.0%} of it wrong"
        axes.annotate(label, (coverage[at], risk[at]), (-8, 8), ha="right", **_text(colour))
    axes.set(xlim=(0, 1), ylim=(0, 0.8))
    figure.savefig(path, dpi=160)


def draw_reliability(path: Path, judged: Judged) -> None:
    """Draws the share of right answers over confidence; a point's area is their number."""
    bins = reliability(judged)
    figure, axes = _axes("Confidence", "Share of the answers that is right")
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle=(0, (4, 4)))
    axes.annotate("as calibrated as can be", (0.78, 0.78), (-6, 6), ha="right", **_text(FAINT))
    x, y = [b.confidence for b in bins], [b.correct for b in bins]
    axes.plot(x, y, color=LINE, linewidth=2, clip_on=False)
    axes.scatter(x, y, s=[30 + 600 * b.share for b in bins], color=LINE, zorder=3, clip_on=False)
    axes.set(xlim=(0, 1), ylim=(0, 1))
    figure.savefig(path, dpi=160)


def draw_roc(path: Path, supported: Floats, unsupported: Mapping[str, Floats]) -> None:
    """Draws the share of supported claims that pass over that of unsupported claims that pass.

    Args:
        path: the PNG file.
        supported: float64[n] scores.
        unsupported: float64[m] scores of at most as many kinds as there are `SHADES`, by name,
            the best separated kind first.
    """
    figure, axes = _axes(
        "Share of the unsupported claims that passes", "Share of the supported claims that passes"
    )
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle=(0, (4, 4)))
    for (name, scores), colour in zip(unsupported.items(), SHADES, strict=False):
        label = f"{name}  {auroc(supported, scores):.3f}"
        axes.plot(*roc(supported, scores), color=colour, linewidth=2, label=label)
    legend = axes.legend(loc="lower right", frameon=False, labelcolor="linecolor")
    legend.set_title("what makes them unsupported, and AUROC")
    legend.get_title().set_color(INK)
    legend.set_alignment("left")
    axes.set(xlim=(0, 1), ylim=(0, 1.005))
    figure.savefig(path, dpi=160)


def draw_similarity(path: Path, curve: Sequence[Point], *, threshold: float | None) -> None:
    """Draws the share of rewordings that hit over that of near misses, with and without words.

    Args:
        path: the PNG file.
        curve: the shares at each threshold.
        threshold: marked, if there is one.
    """
    figure, axes = _axes("Share of the near misses that hit", "Share of the rewordings that hit")
    alone = [point.by_vector_alone for point in curve]
    axes.plot([false for _, false in alone], [hits for hits, _ in alone], color=MARK, linewidth=2)
    axes.annotate("by the vector alone", alone[-5][::-1], (12, -14), **_text(MARK))
    axes.plot([p.false_hits for p in curve], [p.hits for p in curve], color=LINE, linewidth=3)
    for point in curve:
        if point.threshold == threshold:
            axes.plot(point.false_hits, point.hits, "o", color=LINE, markersize=8, clip_on=False)
            label = f"and by their words, from {threshold}:\n{point.hits:.1%} of the rewordings"
            axes.annotate(label, (point.false_hits, point.hits), (12, -30), **_text(LINE))
    axes.set(xlim=(-0.01, 1), ylim=(0, 1.02))
    figure.savefig(path, dpi=160)


def _axes(x_label: str, y_label: str) -> tuple[Any, Any]:
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    figure = Figure(figsize=(7, 4.2), layout="constrained", facecolor="white")
    axes = figure.subplots()
    axes.set_xlabel(x_label, color=INK)
    axes.set_ylabel(y_label, color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(colors=INK)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1))
    return figure, axes


def _text(colour: str) -> dict[str, Any]:
    return {"color": colour, "fontsize": 10, "textcoords": "offset points"}
