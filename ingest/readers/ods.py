"""Reads OpenDocument spreadsheets (ODS): cells as they are displayed."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ingest.readers.number_formats import general
from ingest.readers.open_text import (
    CONTENT,
    OFFICE,
    TABLE,
    TEXT,
    OpenStyles,
    ParagraphReader,
    comment_of,
    meta_of,
)
from ingest.readers.options import ReadOptions
from ingest.readers.outline import Outline
from ingest.readers.package import Element, Package, local
from ingest.readers.sheet_tables import Shown
from ingest.readers.sheets import MOST_COLUMNS, Area, Sheet, SheetWriter
from ingest.readers.text_builder import TextBuilder

_MOST_REPEATED_ROWS = 1 << 16
_DURATION = re.compile(r"(-?)PT(\d+)H(\d+)M([\d.]+)S")
_FIGURES = frozenset({"float", "percentage", "currency"})
_SHOWN = frozenset({None, "visible"})


def outline(data: bytes, *, name: str, options: ReadOptions) -> Outline:
    """Reads the sheets in their order, a page each.

    Raises:
        ReadError: A part is too large (`code="too_large"`).
    """
    package = Package(data, name=name)
    root = package.tree(CONTENT)
    styles = OpenStyles(root)
    text = TextBuilder()
    writer = SheetWriter(text, options)
    for page, table in enumerate(
        root.iterfind(f"{OFFICE}body/{OFFICE}spreadsheet/{TABLE}table"), start=1
    ):
        sheet = Sheet(
            name=table.get(TABLE + "name", ""), hidden=styles.hide(table.get(TABLE + "style-name"))
        )
        if sheet.hidden and writer.skips(sheet.name):
            continue
        _Reader(sheet, ParagraphReader(styles, keep_hidden=options.hidden)).read(table)
        writer.write(sheet, page=page)
    writer.close()
    title, meta = meta_of(package)
    return text.outline(title=title, meta=meta)


class _Reader:
    def __init__(self, sheet: Sheet, paragraphs: ParagraphReader) -> None:
        self._sheet = sheet
        self._paragraphs = paragraphs
        self._column = 1

    def read(self, table: Element) -> None:
        for column in _inside(table, "table-column"):
            count = int(column.get(TABLE + "number-columns-repeated", "1"))
            if column.get(TABLE + "visibility") not in _SHOWN:
                self._sheet.hidden_columns.append(range(self._column, self._column + count))
            self._column += count
        number, room = 1, _MOST_REPEATED_ROWS
        for row in _inside(table, "table-row"):
            count = int(row.get(TABLE + "number-rows-repeated", "1"))
            cells = self._cells(row, number)
            hidden = row.get(TABLE + "visibility") not in _SHOWN
            for place in range(number, number + min(count, max(1, room)) if cells else number):
                self._sheet.rows[place] = cells
                if hidden:
                    self._sheet.hidden_rows.add(place)
            room -= count - 1 if cells else 0
            number += count

    def _cells(self, row: Element, number: int) -> dict[int, Shown]:
        cells: dict[int, Shown] = {}
        column = 1
        for cell in row:
            tag = local(cell)
            if tag not in {"table-cell", "covered-table-cell"}:
                continue
            count = int(cell.get(TABLE + "number-columns-repeated", "1"))
            shown = self._shown(cell) if len(cell) or cell.attrib else Shown("")
            self._sheet.cut = self._sheet.cut or (
                bool(shown.text.strip()) and column + count - 1 > MOST_COLUMNS
            )
            if shown.text.strip():
                last = min(column + count - 1, MOST_COLUMNS)
                cells.update(dict.fromkeys(range(column, last + 1), shown))
            wide = int(cell.get(TABLE + "number-columns-spanned", "1"))
            high = int(cell.get(TABLE + "number-rows-spanned", "1"))
            if wide > 1 or high > 1:
                area = Area(number, column, number + high - 1, column + wide - 1)
                self._sheet.merged.append(area)
            for note in cell.iterfind(OFFICE + "annotation"):
                if words := comment_of(self._paragraphs, note):
                    self._sheet.comments.append((number, column, words.partition(": ")[2]))
            column += count
        return cells

    def _shown(self, cell: Element) -> Shown:
        kind = cell.get(OFFICE + "value-type")
        lines = (self._paragraphs.read(each).text for each in cell.iterfind(TEXT + "p"))
        text = "\n".join(lines)
        return Shown(text or _value(cell, kind), number=kind in _FIGURES)


def _value(cell: Element, kind: str | None) -> str:
    """Returns the value of a cell whose displayed text is not stored."""
    if kind in _FIGURES:
        number = float(cell.get(OFFICE + "value", "0"))
        if kind == "percentage":
            return f"{general(number * 100)}%"
        return " ".join(filter(None, (general(number), cell.get(OFFICE + "currency"))))
    if kind == "boolean":
        return str(cell.get(OFFICE + "boolean-value", "")).upper()
    if kind == "time":
        value = str(cell.get(OFFICE + "time-value", ""))
        found = _DURATION.fullmatch(value)
        return f"{found[1]}{found[2]}:{found[3]}:{found[4][:2]}" if found else value
    if kind == "date":
        return str(cell.get(OFFICE + "date-value", "")).replace("T", " ")
    return str(cell.get(OFFICE + "string-value", ""))


def _inside(parent: Element, tag: str) -> Iterator[Element]:
    """Yields rows or columns of a table, also those in groups and headers, not in other tables."""
    for child in parent:
        name = local(child)
        if name == tag:
            yield child
        elif name.startswith("table-") and name not in {"table-row", "table-column"}:
            yield from _inside(child, tag)
