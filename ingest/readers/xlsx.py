"""Reads Excel workbooks (XLSX): cells as they are displayed, formulas by their stored value."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from ingest.readers import number_formats
from ingest.readers.options import ReadOptions
from ingest.readers.outline import Outline
from ingest.readers.package import Element, Package, is_on
from ingest.readers.sheet_tables import Shown
from ingest.readers.sheets import MOST_COLUMNS, Area, Sheet, SheetWriter
from ingest.readers.text_builder import TextBuilder

_WORKBOOK = "xl/workbook.xml"
_COLUMN = re.compile(r"\$?([A-Za-z]{1,3})\$?")
_DIGITS = "0123456789"
_LONGEST_ROW = 7
_ID = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"
_STRICT_ID = "{http://purl.oclc.org/ooxml/officeDocument/relationships}id"
_ESCAPED = re.compile("_x([0-9A-Fa-f]{4})_")
"""A character that XML cannot hold, or an underscore that would begin one."""
_LEGACY_COMMENT = "[Threaded comment]"


def outline(data: bytes, *, name: str, options: ReadOptions) -> Outline:
    """Reads the sheets in their order, a page each.

    Raises:
        ReadError: A part is too large (`code="too_large"`).
    """
    book = Package(data, name=name)
    text = TextBuilder()
    writer = SheetWriter(text, options)
    workbook = book.tree(_WORKBOOK)
    styles = _Styles.of(book, from_1904=is_on(_property(workbook, "date1904")))
    strings = _strings(book)
    related = book.related(_WORKBOOK)
    for page, entry in enumerate(workbook.iterfind("{*}sheets/{*}sheet"), start=1):
        relation = related.get(entry.get(_ID) or entry.get(_STRICT_ID))
        if relation is None or relation.kind != "worksheet" or relation.target not in book:
            continue
        hidden = entry.get("state", "visible") != "visible"
        if hidden and writer.skips(entry.get("name", "")):
            continue
        sheet = Sheet(name=entry.get("name", ""), hidden=hidden)
        _Reader(sheet, styles, strings).read(book, relation.target)
        writer.write(sheet, page=page)
    writer.close()
    return text.outline(title=book.title(), meta=book.meta())


def _property(workbook: Element, name: str) -> str | None:
    found = workbook.find("{*}workbookPr")
    return None if found is None else found.get(name)


class _Style(NamedTuple):
    show: Callable[[float], str]
    is_date: bool
    bold: bool


class _Styles(dict[str | None, _Style]):
    """The number formats and bold types that cells name by number."""

    def __init__(self, formats: Sequence[tuple[str, bool]], *, from_1904: bool) -> None:
        self._formats = formats
        """Format code, and whether the type is bold, by number."""
        self._from_1904 = from_1904

    def __missing__(self, number: str | None) -> _Style:
        place = int(number or 0)
        code, bold = self._formats[place] if place < len(self._formats) else ("", False)
        self[number] = _Style(
            number_formats.shower(code, from_1904=self._from_1904),
            is_date=bool(code) and number_formats.is_date(code),
            bold=bold,
        )
        return self[number]

    @classmethod
    def of(cls, book: Package, *, from_1904: bool) -> _Styles:
        paths = book.of_kind(_WORKBOOK, "styles")
        if not paths:
            return cls([], from_1904=from_1904)
        root = book.tree(paths[0])
        codes = dict(number_formats.BUILT_IN)
        for each in root.iterfind("{*}numFmts/{*}numFmt"):
            codes[int(each.get("numFmtId"))] = each.get("formatCode", "")
        bold = [
            (found := font.find("{*}b")) is not None and is_on(found.get("val", "1"))
            for font in root.iterfind("{*}fonts/{*}font")
        ]
        formats = []
        for each in root.iterfind("{*}cellXfs/{*}xf"):
            code = codes.get(int(each.get("numFmtId") or 0), "")
            font = int(each.get("fontId") or 0)
            formats.append((code, font < len(bold) and bold[font]))
        return cls(formats, from_1904=from_1904)


class _Reader:
    """Fills a sheet from its part, one row in memory at a time."""

    def __init__(self, sheet: Sheet, styles: _Styles, strings: list[str]) -> None:
        self._sheet = sheet
        self._styles = styles
        self._strings = strings
        self._row = 0

    def read(self, book: Package, path: str) -> None:
        """Reads the cells, what is merged and hidden, and the comments."""
        for element in book.elements(path, "{*}row", "{*}col", "{*}mergeCell"):
            tag = element.tag.rpartition("}")[2]
            if tag == "row":
                self._read_row(element)
            elif tag == "col":
                if is_on(element.get("hidden")):
                    span = range(int(element.get("min")), int(element.get("max")) + 1)
                    self._sheet.hidden_columns.append(span)
            elif area := _area(element.get("ref", "")):
                self._sheet.merged.append(area)
        self._sheet.comments += _comments(book, path)

    def _read_row(self, element: Element) -> None:
        self._row = int(element.get("r") or self._row + 1)
        cells: dict[int, Shown] = {}
        column = 0
        for cell in element:
            column = _column((cell.get("r") or "").rstrip(_DIGITS)) or column + 1
            if column > MOST_COLUMNS:
                self._sheet.cut = True
                continue
            if len(cell):
                shown = self._shown(cell)
                if shown.text.strip():
                    cells[column] = shown
        if cells:
            self._sheet.rows[self._row] = cells
            if is_on(element.get("hidden")):
                self._sheet.hidden_rows.add(self._row)

    def _shown(self, cell: Element) -> Shown:
        style = self._styles[cell.get("s")]
        kind = cell.get("t", "n")
        value, inline, has_formula = "", None, False
        for child in cell:
            tag = child.tag
            if tag.endswith("}v"):
                value = child.text or ""
            elif tag.endswith("}is"):
                inline = child
            else:
                has_formula = has_formula or tag.endswith("}f")
        if kind == "n" and value:
            try:
                return Shown(style.show(float(value)), not style.is_date, style.bold)
            except ValueError:
                return Shown(value, bold=style.bold)
        if kind == "inlineStr":
            return Shown(_rich(inline), bold=style.bold)
        if not value:
            self._sheet.uncalculated += has_formula and kind != "str"
            return Shown("")
        if kind == "s":
            place = int(value)
            value = self._strings[place] if 0 <= place < len(self._strings) else ""
        elif kind == "b":
            value = {"1": "TRUE", "0": "FALSE"}.get(value, value)
        return Shown(value, bold=style.bold)  # or an error, a formula's text, an ISO date


def _strings(book: Package) -> list[str]:
    """Returns the texts that cells name by number."""
    paths = book.of_kind(_WORKBOOK, "sharedStrings")
    return [_rich(each) for each in book.elements(paths[0], "{*}si")] if paths else []


def _rich(element: Element | None) -> str:
    """Returns a text whose parts have their own fonts, without the reading of Asian scripts."""
    if element is None:
        return ""
    parts = []
    for child in element:
        tag = child.tag
        if tag.endswith("}t"):
            parts.append(child.text or "")
        elif tag.endswith("}r"):
            parts += [text.text or "" for text in child.iterfind("{*}t")]
    text = "".join(parts)
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text) if "_x" in text else text


def _comments(book: Package, path: str) -> Iterator[tuple[int, int, str]]:
    """Yields row, column and words of comments; each reply is one more."""
    threads: list[tuple[int, int, str]] = []
    for part in book.of_kind(path, "threadedComment"):
        for each in book.tree(part).iterfind("{*}threadedComment"):
            words = each.findtext("{*}text") or ""
            if (place := _place(each.get("ref", ""))) and words.strip():
                threads.append((*place, " ".join(words.split())))
    threaded = {thread[:2] for thread in threads}
    yield from threads
    for part in book.of_kind(path, "comments"):
        for each in book.tree(part).iterfind("{*}commentList/{*}comment"):
            words = " ".join(_rich(each.find("{*}text")).split())
            place = _place(each.get("ref", ""))
            if place and words and place not in threaded:
                yield (*place, words.removeprefix(_LEGACY_COMMENT).strip())


def _place(reference: str) -> tuple[int, int] | None:
    """Returns row and column of a reference like "B7", both counted from 1."""
    letters = reference.rstrip(_DIGITS)
    column, row = _column(letters), reference[len(letters) :]
    return (int(row), column) if column and 0 < len(row) <= _LONGEST_ROW else None


@lru_cache(maxsize=1 << 14)
def _column(letters: str) -> int:
    """Returns the number of a column, counted from 1, by its letters; 0 if they name none."""
    found = _COLUMN.fullmatch(letters)
    column = 0
    for letter in found[1].upper() if found else "":
        column = column * 26 + ord(letter) - 64
    return column


def _area(reference: str) -> Area | None:
    first, _, last = reference.partition(":")
    top, bottom = _place(first), _place(last or first)
    return Area(*top, *bottom) if top and bottom else None
