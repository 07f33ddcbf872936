"""The automatic numbers of headings and lists in Word ("2.1", "(a)"): its texts lack them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from ingest.readers.package import Element, Package, is_on
from ingest.readers.word_styles import NumberOf, W, value_of, whole

_PLACEHOLDER = re.compile(r"%([1-9])")
_ROMAN = (
    (1000, "m"), (900, "cm"), (500, "d"), (400, "cd"), (100, "c"), (90, "xc"),
    (50, "l"), (40, "xl"), (10, "x"), (9, "ix"), (5, "v"), (4, "iv"), (1, "i"),
)  # fmt: skip
_LARGEST_ROMAN = 4000
_LETTERS = 26
_LONGEST_TEXT = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class _Level:
    start: int = 1
    form: str = "decimal"
    text: str = ""
    is_legal: bool = False
    restarts: bool = True


@dataclass(slots=True)
class _List:
    """A list: its levels, those that begin anew in it, and the counters, which lists may share."""

    levels: Mapping[int, _Level]
    overrides: dict[int, int]
    counters: dict[int, int] = field(default_factory=dict)


class Numbering:
    """Counts the numbered paragraphs of a document, in their order."""

    def __init__(self, package: Package, paths: list[str]) -> None:
        self._lists: dict[str, _List] = {}
        self._level_of_style: dict[tuple[str, str], int] = {}
        if paths:
            self._read(package.tree(paths[0]))

    def next(self, number: NumberOf, style: str = "") -> str:
        """Returns the label of the next paragraph of a list; "" for bullets and unknown lists.

        A level may belong to a paragraph's style.
        """
        found = self._lists.get(number.list_id)
        if found is None:
            return ""
        at = self._level_of_style.get((number.list_id, style), number.level)
        if at not in found.levels:
            return ""
        counters = found.counters
        if at in found.overrides:
            counters[at] = found.overrides.pop(at)
        else:
            counters[at] = counters.get(at, found.levels[at].start - 1) + 1
        for deeper in [level for level in counters if level > at]:
            if deeper in found.levels and found.levels[deeper].restarts:
                del counters[deeper]
        return _label(found, at)

    def _read(self, root: Element) -> None:
        abstract = {
            each.get(W + "abstractNumId"): each for each in root.iterfind(W + "abstractNum")
        }
        by_style = {value_of(each, "styleLink"): each for each in abstract.values()}
        counters: dict[str, dict[int, int]] = {}
        for num in root.iterfind(W + "num"):
            id_, shared = num.get(W + "numId", ""), value_of(num, "abstractNumId") or ""
            element = abstract.get(shared)
            if link := value_of(element, "numStyleLink"):
                element = by_style.get(link)
            if element is None:
                continue
            levels = {}
            for each in element.iterfind(W + "lvl"):
                levels[whole(each.get(W + "ilvl"))] = _level(each)
                if style := value_of(each, "pStyle"):
                    self._level_of_style[id_, style] = whole(each.get(W + "ilvl"))
            overrides = {}
            for each in num.iterfind(W + "lvlOverride"):
                at, own = whole(each.get(W + "ilvl")), each.find(W + "lvl")
                if own is not None:
                    levels[at] = _level(own)
                if (start := value_of(each, "startOverride")) is not None:
                    overrides[at] = whole(start)
            self._lists[id_] = _List(levels, overrides, counters.setdefault(shared, {}))


def _level(element: Element) -> _Level:
    return _Level(
        start=whole(value_of(element, "start") or "1"),
        form=value_of(element, "numFmt") or "decimal",
        text=(value_of(element, "lvlText") or "")[:_LONGEST_TEXT],
        is_legal=is_on(value_of(element, "isLgl")),
        restarts=value_of(element, "lvlRestart") != "0",
    )


def _label(found: _List, at: int) -> str:
    level = found.levels[at]
    if level.form in {"bullet", "none"}:
        return ""

    def number(match: re.Match[str]) -> str:
        other = int(match[1]) - 1
        of = found.levels.get(other, _Level())
        value = found.counters.setdefault(other, of.start) if other <= at else of.start
        return _written(value, "decimal" if level.is_legal else of.form)

    return _PLACEHOLDER.sub(number, level.text).strip()


def _written(value: int, form: str) -> str:
    match form:
        case "lowerLetter" | "upperLetter" if value > 0:
            # After z comes aa, then bb.
            letter = chr(ord("a") + (value - 1) % _LETTERS)
            written = letter * min((value - 1) // _LETTERS + 1, 4)
        case "lowerRoman" | "upperRoman" if 0 < value < _LARGEST_ROMAN:
            written = ""
            for worth, letters in _ROMAN:
                count, value = divmod(value, worth)
                written += letters * count
        case "decimalZero":
            return f"{value:02}"
        case "none" | "bullet":
            return ""
        case _:
            return str(value)
    return written.upper() if form.startswith("upper") else written
