"""Reads Office's charts as tables: a row for each category, a column for each series."""

from __future__ import annotations

from ingest.readers.package import Element

_MOST_POINTS = 10_000


def chart_rows(root: Element) -> tuple[str, list[list[str]]]:
    """Returns a chart's title, "" if it has none, and its values as they were last shown."""
    title = root.find("{*}chart/{*}title")
    words = "" if title is None else "".join(each.text or "" for each in title.iter("{*}t"))
    names: list[str] = []
    rows: dict[str, dict[int, str]] = {}
    for number, series in enumerate(root.iter("{*}ser")):
        name = series.find("{*}tx")
        names.append("" if name is None else " ".join(_points(name).values()))
        categories = _points(_first(series, "cat", "xVal"))
        for place, value in _points(_first(series, "val", "yVal")).items():
            rows.setdefault(categories.get(place, str(place + 1)), {})[number] = value
    if not rows:
        return words, []
    columns = range(len(names))
    body = [[label, *(row.get(n, "") for n in columns)] for label, row in rows.items()]
    return words, [["", *names], *body]


def _first(series: Element, *tags: str) -> Element | None:
    found = (series.find(f"{{*}}{tag}") for tag in tags)
    return next((each for each in found if each is not None), None)


def _points(element: Element | None) -> dict[int, str]:
    """Returns the stored values by their place."""
    if element is None:
        return {}
    points: dict[int, str] = {}
    for point in element.iter("{*}pt"):
        points[int(point.get("idx", len(points)))] = point.findtext("{*}v") or ""
        if len(points) == _MOST_POINTS:
            break
    return points or {n: each.text or "" for n, each in enumerate(element.iterfind("{*}v"))}
