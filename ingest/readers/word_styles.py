"""The styles of a Word document: which are headings, lists or hidden."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ingest.readers.package import Element, Package, is_on

W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
VALUE = W + "val"
_HEADING = re.compile(r"heading ?([1-9])", re.IGNORECASE)
_CONTENTS = re.compile(r"toc ?\d", re.IGNORECASE)
_END = b"</w:style>"
_TABLE_STYLE = re.compile(rb"""\s*<w:style\s[^<>]*\bw:type=["']table["'][^<>]*(?<!/)>""")
_BODY_LEVEL = 9
_MOST_ANCESTORS = 20
_DIGITS = 9


@dataclass(frozen=True, slots=True)
class NumberOf:
    """The list of a paragraph, and its level from 0."""

    list_id: str
    level: int


@dataclass(frozen=True, slots=True)
class Style:
    """`level` is that of a heading from 1, or 0; `is_contents` marks a table of contents.

    `number` is the list whose numbers its paragraphs have.
    """

    id: str = ""
    level: int = 0
    is_list: bool = False
    is_hidden: bool = False
    is_contents: bool = False
    number: NumberOf | None = None


class Styles:
    """Finds styles by their ids, with what they inherit."""

    def __init__(self, package: Package, paths: list[str]) -> None:
        self._elements: Mapping[str, Element] = {}
        self._known: dict[str, Style] = {}
        if paths:
            root = package.tree(paths[0], trimmed=_without_tables)
            self._elements = {each.get(W + "styleId"): each for each in root.iterfind(W + "style")}

    def of(self, properties: Element | None, tag: str) -> Style:
        """Returns the style that a paragraph ("pStyle") or run ("rStyle") names."""
        named = None if properties is None else properties.find(W + tag)
        if named is None:
            return Style()
        style_id = named.get(VALUE, "")
        if style_id not in self._known:
            self._known[style_id] = self._read(style_id)
        return self._known[style_id]

    def _read(self, style_id: str) -> Style:
        level: int | None = None
        listed: bool | None = None
        number: NumberOf | None = None
        hidden: bool | None = None
        names = [style_id]
        element = self._elements.get(style_id)
        for _ in range(_MOST_ANCESTORS):
            if element is None:
                break
            names.append(value_of(element, "name") or "")
            level = _outline_level(element.find(W + "pPr")) if level is None else level
            if listed is None:
                listed = is_listed(element.find(W + "pPr"))
                number = number_of(element.find(W + "pPr"))
            hidden = is_hidden(element.find(W + "rPr")) if hidden is None else hidden
            element = self._elements.get(value_of(element, "basedOn") or "")
        heading = next(filter(None, map(_HEADING.fullmatch, names)), None)
        if any(name.lower() == "title" for name in names[:2]):
            level = 1
        elif level is None and heading:
            level = int(heading[1])
        return Style(
            id=style_id,
            level=level or 0,
            is_list=bool(listed),
            is_hidden=bool(hidden),
            is_contents=any(map(_CONTENTS.fullmatch, names)),
            number=number,
        )


def _without_tables(data: bytes) -> bytes:
    """Returns a part without the styles of tables: they are most of it, and no text has one."""
    if b"<!" in data:  # a comment may hold what looks like a style
        return data
    parts = data.split(_END)
    return _END.join(part for part in parts if not _TABLE_STYLE.match(part))


def value_of(element: Element | None, tag: str) -> str | None:
    """Returns the value of a property; None if it is not there."""
    found = None if element is None else element.find(W + tag)
    return None if found is None else str(found.get(VALUE, "1"))


def level_of(properties: Element | None) -> int:
    """Returns a paragraph's own level of heading; 0 if it has none."""
    return _outline_level(properties) or 0


def is_listed(properties: Element | None) -> bool | None:
    """Tells whether a paragraph is an item of a list; None if its properties do not say."""
    number = None if properties is None else properties.find(W + "numPr")
    return None if number is None else value_of(number, "numId") != "0"


def number_of(properties: Element | None) -> NumberOf | None:
    """Returns the list that properties name; None if they name none, or end one."""
    number = None if properties is None else properties.find(W + "numPr")
    list_id = value_of(number, "numId")
    if list_id is None or list_id == "0":
        return None
    return NumberOf(list_id, whole(value_of(number, "ilvl")))


def whole(text: str | None) -> int:
    """Returns a number of a property; 0 if it is none."""
    digits = (text or "").strip()
    return int(digits) if digits.isdecimal() and len(digits) <= _DIGITS else 0


def is_hidden(properties: Element | None) -> bool | None:
    """Tells whether a run is hidden; None if its properties do not say."""
    value = value_of(properties, "vanish")
    return None if value is None else is_on(value)


def _outline_level(properties: Element | None) -> int | None:
    value = value_of(properties, "outlineLvl")
    if value is None or not value.isdigit():
        return None
    return 0 if int(value) >= _BODY_LEVEL else int(value) + 1
