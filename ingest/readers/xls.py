"""Reads older Excel workbooks (XLS): cells as they are displayed."""

from __future__ import annotations

from io import StringIO

import xlrd
from xlrd.biffh import error_text_from_code

from ingest.readers import number_formats
from ingest.readers.media_types import encrypted
from ingest.readers.options import ReadOptions
from ingest.readers.outline import Outline
from ingest.readers.sheet_tables import Shown
from ingest.readers.sheets import MOST_COLUMNS, Area, Sheet, SheetWriter
from ingest.readers.text_builder import TextBuilder

_COUNTRYS_OWN = frozenset({14, 22})
"""Formats of days that follow the reader's country."""


def outline(data: bytes, *, name: str, options: ReadOptions) -> Outline:
    """Reads the sheets in their order, a page each.

    Raises:
        ReadError: The file is encrypted (`code="encrypted"`).
    """
    try:
        book = xlrd.open_workbook(file_contents=data, formatting_info=True, logfile=StringIO())
    except xlrd.XLRDError as error:
        if "encrypted" in str(error).lower():
            raise encrypted(name) from error
        raise
    text = TextBuilder()
    writer = SheetWriter(text, options)
    for page, source in enumerate(book.sheets(), start=1):
        sheet = Sheet(name=source.name, hidden=source.visibility != 0)
        if sheet.hidden and writer.skips(sheet.name):
            continue
        _fill(sheet, source, book)
        writer.write(sheet, page=page)
    writer.close()
    return text.outline()


def _fill(sheet: Sheet, source: xlrd.sheet.Sheet, book: xlrd.book.Book) -> None:
    for number in range(source.nrows):
        cells = {}
        for column, cell in enumerate(source.row(number)[:MOST_COLUMNS], start=1):
            shown = _shown(cell, book)
            if shown.text.strip():
                cells[column] = shown
        if cells:
            sheet.rows[number + 1] = cells
    sheet.hidden_rows = {n + 1 for n, info in source.rowinfo_map.items() if info.hidden}
    sheet.hidden_columns = [
        range(n + 1, n + 2) for n, info in source.colinfo_map.items() if info.hidden
    ]
    sheet.merged = [
        Area(top + 1, left + 1, bottom, right) for top, bottom, left, right in source.merged_cells
    ]
    sheet.comments = [
        (row + 1, column + 1, " ".join(note.text.split()))
        for (row, column), note in sorted(source.cell_note_map.items())
        if note.text.strip()
    ]


def _shown(cell: xlrd.sheet.Cell, book: xlrd.book.Book) -> Shown:
    style = book.xf_list[cell.xf_index]
    bold = bool(book.font_list[style.font_index].bold)
    if cell.ctype == xlrd.XL_CELL_BOOLEAN:
        return Shown("TRUE" if cell.value else "FALSE", bold=bold)
    if cell.ctype == xlrd.XL_CELL_ERROR:
        return Shown(error_text_from_code.get(cell.value, "#ERROR!"), bold=bold)
    if cell.ctype not in {xlrd.XL_CELL_NUMBER, xlrd.XL_CELL_DATE}:
        return Shown(str(cell.value), bold=bold)
    known = style.format_key in _COUNTRYS_OWN
    code = (
        number_formats.BUILT_IN[style.format_key]
        if known
        else book.format_map[style.format_key].format_str
    )
    text = number_formats.shown(cell.value, code, from_1904=bool(book.datemode))
    return Shown(text, number=cell.ctype == xlrd.XL_CELL_NUMBER, bold=bold)
