"""Charts as SVG, coloured by the classes `s0`, `s1` … of the page that contains them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from xml.etree.ElementTree import Element

import numpy as np

from eval.compare.markup import tag
from eval.measures.statistics import Interval
from rag.types import Floats

WIDTH, HEIGHT = 360.0, 250.0
LEFT, RIGHT, TOP, BOTTOM = 46.0, 16.0, 10.0, 44.0
TICKS = 5
"""Ticks that there is room for on an axis."""
POINTS = 200
"""Points of a curve: more would not be visible at its width in pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """An axis from `low` to `high`, which are not the same; `format` formats its numbers."""

    low: float
    high: float
    format: Callable[[float], str]

    def ticks(self) -> list[float]:
        """Returns round numbers between its ends: 1, 2 or 5 times a power of ten apart."""
        rough = (self.high - self.low) / TICKS
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * n for n in (1, 2, 5, 10) if power * n >= rough * (1 - 1e-9))
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [n * step for n in range(first, last + 1)]


class Curve(NamedTuple):
    """The curve of the run with this colour, float64[n] each; a dot marks its end if `marked`."""

    colour: int
    x: Floats
    y: Floats
    marked: bool = False


class Spot(NamedTuple):
    """The point of the run with this colour, and the interval of its `y`."""

    colour: int
    x: float
    y: float
    interval: Interval


def curves(label: str, below: str, x: Axis, y: Axis, drawn: Sequence[Curve]) -> Element:
    """Draws lines through points up to the end of `x`; `below` is the text below that axis."""
    parts = []
    for curve in (each for each in drawn if len(each.x)):
        inside = np.flatnonzero(curve.x <= x.high)
        chosen = inside[np.linspace(0, len(inside) - 1, min(POINTS, len(inside))).astype(int)]
        across, up = _across(x, curve.x[chosen]), _up(y, curve.y[chosen])
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(across, up, strict=True))
        parts.append(tag("polyline", points=points, class_=f"line s{curve.colour}"))
        if curve.marked:
            parts.append(_dot(curve.colour, float(across[-1]), float(up[-1])))
    return _framed(label, below, x, y, parts)


def spots(label: str, below: str, x: Axis, y: Axis, drawn: Sequence[Spot]) -> Element:
    """Draws points with their intervals."""
    parts = []
    for spot in drawn:
        at = float(_across(x, spot.x))
        low, high = (float(_up(y, end)) for end in spot.interval)
        parts.append(_line(at, low, at, high, f"line s{spot.colour}"))
        parts.append(_dot(spot.colour, at, float(_up(y, spot.y))))
    return _framed(label, below, x, y, parts)


def bar(colour: int, value: float, interval: Interval, *, full: float) -> Element:
    """Draws a bar for a row of a table, `value` / `full` of its width, and the interval."""
    length, low, high = (100 * min(max(each / full, 0), 1) for each in (value, *interval))
    return tag(
        "svg",
        tag("rect", width=100, height=12, class_="track"),
        tag("rect", width=length, height=12, class_=f"bar s{colour}"),
        _line(low, 6, high, 6, "whisker"),
        _line(low, 3, low, 9, "whisker"),
        _line(high, 3, high, 9, "whisker"),
        viewBox="0 0 100 12",
        preserveAspectRatio="none",
        class_="bars",
        aria_hidden="true",
    )


def _framed(label: str, below: str, x: Axis, y: Axis, drawn: Sequence[Element]) -> Element:
    right, floor = WIDTH - RIGHT, HEIGHT - BOTTOM
    sides = [
        (_line(LEFT, at, right, at, "grid"), _label(y.format(tick), LEFT - 6, at + 4, "end"))
        for tick in y.ticks()
        for at in [float(_up(y, tick))]
    ]
    return tag(
        "svg",
        sides,
        [
            _label(x.format(tick), float(_across(x, tick)), floor + 17, "middle")
            for tick in x.ticks()
        ],
        _line(LEFT, floor, right, floor, "axis"),
        _label(below, (LEFT + right) / 2, HEIGHT - 6, "middle"),
        drawn,
        viewBox=f"0 0 {WIDTH:g} {HEIGHT:g}",
        role="img",
        aria_label=label,
        class_="chart",
    )


def _across(axis: Axis, value: Floats | float) -> Floats:
    share = (np.asarray(value) - axis.low) / (axis.high - axis.low)
    return np.asarray(LEFT + share * (WIDTH - LEFT - RIGHT))


def _up(axis: Axis, value: Floats | float) -> Floats:
    share = (np.asarray(value) - axis.low) / (axis.high - axis.low)
    return np.asarray(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM))


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Element:
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=kind)


def _dot(colour: int, x: float, y: float) -> Element:
    return tag("circle", cx=x, cy=y, r=5, class_=f"dot s{colour}")


def _label(text: str, x: float, y: float, anchor: str) -> Element:
    return tag("text", text, x=x, y=y, text_anchor=anchor)
