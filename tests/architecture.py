"""Draws docs/architecture.svg from the imports of the code: `make architecture`.

A box is a folder or module of `rag`, or another package. An arrow goes from what imports to what is
imported; arrows that follow from others are left out. Rows are levels: each box stands above all
that it imports.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import cache

import grimp

from tests.places import ROOT

PICTURE = ROOT / "docs" / "architecture.svg"
PACKAGES = ("rag", "ingest", "retrieval", "generation", "eval", "workers")
RUNNING = "rag.build.running"
"""The box of the modules that open queues and scoring, which are above the rest of `rag.build`."""
ABOVE = (RUNNING, "rag.build.queue_backends", "rag.build.health_checks")
WIDTH, ROW, BOX, HEIGHT, CHAR = 900, 78, 18, 28, 7.4
"""Pixels: of the picture, of a row, around a name, of a box, of a character."""
SWEEPS = 8
"""Passes in which each box moves towards the boxes that it is joined to."""

GREY = "#8a94a6"

Edges = Mapping[str, frozenset[str]]


def box_of(module: str) -> str:
    """The box of a module: `rag.catalog.jobs` → `rag.catalog`, `ingest.pipeline` → `ingest`."""
    if module in ABOVE:
        return RUNNING
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] == "rag" else parts[0]


def imports() -> Edges:
    """Returns the imported boxes of each box, except `rag`, which is only the version."""
    graph = grimp.build_graph(*PACKAGES)
    found: dict[str, set[str]] = defaultdict(set)
    for module in graph.modules:
        for imported in graph.find_modules_directly_imported_by(module):
            above, below = box_of(module), box_of(imported)
            found[above].add(below)
            found[below].discard(below)
    return {box: frozenset(found[box] - {box, "rag"}) for box in sorted(found) if box != "rag"}


def levels(edges: Edges) -> dict[str, int]:
    """Returns the longest path down from each box; a box without imports is on level 0."""

    @cache
    def level(box: str) -> int:
        return 1 + max(map(level, edges[box]), default=-1)

    return {box: level(box) for box in edges}


def needed(edges: Edges) -> dict[str, list[str]]:
    """Returns the arrows to draw, without those that a longer path implies."""

    @cache
    def below(box: str) -> frozenset[str]:
        return edges[box].union(*map(below, edges[box]))

    return {
        box: sorted(to for to in under if not any(to in below(other) for other in under - {to}))
        for box, under in edges.items()
    }


def places(edges: Edges) -> dict[str, tuple[float, float]]:
    """The middle of each box, in pixels."""
    level_of = levels(edges)
    rows: dict[int, list[str]] = defaultdict(list)
    for box, level in sorted(level_of.items()):
        rows[level].append(box)
    joined: dict[str, list[str]] = defaultdict(list)
    for box, under in needed(edges).items():
        for other in under:
            joined[box].append(other)
            joined[other].append(box)
    x = {box: at for row in rows.values() for box, at in zip(row, _spread(row), strict=True)}
    for _ in range(SWEEPS):
        for row in rows.values():
            row.sort(key=lambda box: (_mean(x[other] for other in joined[box]), box))
            x.update(zip(row, _spread(row), strict=True))
    top = max(rows)
    return {box: (x[box], (top - level_of[box] + 0.5) * ROW) for box in level_of}


def _spread(row: list[str]) -> list[float]:
    """Returns the places of boxes side by side, with equal gaps between them."""
    gap = (WIDTH - sum(map(_width, row))) / (len(row) + 1)
    at, found = 0.0, []
    for box in row:
        found.append(at + gap + _width(box) / 2)
        at += gap + _width(box)
    return found


def _width(box: str) -> float:
    return len(box) * CHAR + 2 * BOX


def _mean(values: Iterable[float]) -> float:
    held = list(values)
    return sum(held) / len(held) if held else WIDTH / 2


def draw(edges: Edges) -> str:
    """The picture as SVG."""
    at = places(edges)
    height = max(y for _, y in at.values()) + ROW / 2
    arrows = [_arrow(at[box], at[to]) for box, under in needed(edges).items() for to in under]
    boxes = [_box(box, *place) for box, place in at.items()]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}"'
            ' font-family="ui-monospace, monospace" font-size="12">',
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7"'
            f' markerHeight="7" orient="auto"><path d="M0 0 8 4 0 8z" fill="{GREY}"/></marker>'
            "</defs>",
            f'<rect width="{WIDTH}" height="{height:.0f}" fill="#ffffff"/>',
            *arrows,
            *boxes,
            "</svg>",
            "",
        ]
    )


def _arrow(start: tuple[float, float], end: tuple[float, float]) -> str:
    (x, y), (to_x, to_y) = start, end
    y, to_y = y + HEIGHT / 2, to_y - HEIGHT / 2
    half = (y + to_y) / 2
    curve = f"M{x:.0f} {y:.0f}C{x:.0f} {half:.0f} {to_x:.0f} {half:.0f} {to_x:.0f} {to_y:.0f}"
    return f'<path d="{curve}" fill="none" stroke="{GREY}" marker-end="url(#tip)"/>'


def _box(name: str, x: float, y: float) -> str:
    left, top = x - _width(name) / 2, y - HEIGHT / 2
    fill = "#eef3ff" if name.startswith("rag.") else "#fff4e3"
    return (
        f'<rect x="{left:.0f}" y="{top:.0f}" width="{_width(name):.0f}" height="{HEIGHT}" rx="5"'
        f' fill="{fill}" stroke="#5b6b8c"/>'
        f'<text x="{x:.0f}" y="{y + 4:.0f}" text-anchor="middle" fill="#1d2638">{name}</text>'
    )


if __name__ == "__main__":
    PICTURE.write_text(draw(imports()))
