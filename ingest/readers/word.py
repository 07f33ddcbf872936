"""Reads Word documents (DOCX) in their final state, with what Word itself would print."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from ingest.readers.charts import chart_rows
from ingest.readers.header_rows import fitted, header_rows
from ingest.readers.options import ReadOptions
from ingest.readers.outline import Outline
from ingest.readers.package import Element, Package, is_on, local
from ingest.readers.running import Running
from ingest.readers.tables import Cell, spread
from ingest.readers.text_builder import TextBuilder
from ingest.readers.word_furniture import repeated
from ingest.readers.word_numbers import Numbering
from ingest.readers.word_runs import RunReader, Words
from ingest.readers.word_styles import Style, Styles, W, is_listed, level_of, number_of, value_of

_DOCUMENT = "word/document.xml"
_ID = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"
_AS_THEIR_CONTENT = frozenset(
    {"sdt", "sdtContent", "ins", "moveTo", "customXml", "smartTag", "AlternateContent", "Choice"}
)
_BREAKS = (W + "lastRenderedPageBreak", W + "br", W + "pageBreakBefore", W + "sectPr")
_LONGEST_CELL = 2000
_ENUMERATOR = re.compile(r"\(?(?:\d{1,3}|[a-zA-Z])\)|\d{1,3}\.")
"""The numbers of items; what has others, such as "5.2" or "§ 5", is a paragraph."""


def outline(data: bytes, *, name: str, options: ReadOptions) -> Outline:
    """Reads the document; notes and text boxes follow the paragraph that they belong to.

    Headers and footers stand once, before the text.

    Raises:
        ReadError: A part is too large (`code="too_large"`).
    """
    package = Package(data, name=name)
    reader = _Reader(package, package.tree(_DOCUMENT), options)
    return reader.outline()


class _Reader:
    def __init__(self, package: Package, root: Element, options: ReadOptions) -> None:
        self._package = package
        self._root = root
        self._keep_hidden = options.hidden
        self._related = package.related(_DOCUMENT)
        self._styles = Styles(package, package.of_kind(_DOCUMENT, "styles"))
        self._numbering = Numbering(package, package.of_kind(_DOCUMENT, "numbering"))
        self._laid_out = next(root.iter(W + "lastRenderedPageBreak"), None) is not None
        self._runs = RunReader(self._styles, keep_hidden=options.hidden, laid_out=self._laid_out)
        self._notes = {kind: self._notes_of(kind) for kind in ("footnotes", "endnotes", "comments")}
        self._text = TextBuilder()
        self._hidden = 0
        self._furniture: dict[Element, None] = {}
        """Paragraphs that repeat a header or footer."""
        self._carried = ""
        """The words of a paragraph whose end was deleted: the next one goes on with them."""

    def outline(self) -> Outline:
        running = self._running()
        for body in self._root.iterfind(W + "body"):
            for paragraph, place, line in repeated(body, self._ends_page, self._line):
                self._furniture[paragraph] = None
                running.add(place, line)
        for line in running.lines:
            self._text.paragraph(line)
        if self._ends_page(self._root):
            self._text.turn_to(1)
        for body in self._root.iterfind(W + "body"):
            self._blocks(body)
        self._paragraph_of(self._carried)
        if self._hidden:
            done = "Read although hidden" if self._keep_hidden else "Left out"
            plural = "s" if self._hidden > 1 else ""
            self._text.notes.append(f"{done}: {self._hidden:,} hidden passage{plural} of text.")
        meta = {**self._package.meta(), **running.meta}
        return self._text.outline(title=self._package.title(), meta=meta)

    def _ends_page(self, element: Element) -> bool:
        """Tells whether a page ends within an element."""
        return any(self._breaks_page(each) for each in element.iter(*_BREAKS))

    def _line(self, paragraph: Element) -> str:
        return self._runs.read(paragraph).text

    def _breaks_page(self, element: Element) -> bool:
        """Tells whether an element begins a page, if Word itself did not mark where they begin."""
        tag = local(element)
        if self._laid_out:
            return tag == "lastRenderedPageBreak"
        if tag == "br":
            return bool(element.get(W + "type") == "page")
        if tag == "sectPr":
            inside = local(element.getparent()) == "pPr"
            return inside and value_of(element, "type") not in {"continuous", "nextColumn"}
        return tag == "pageBreakBefore" and is_on(element.get(W + "val", "1"))

    def _blocks(self, parent: Element) -> None:
        for child in parent:
            tag = local(child)
            if tag == "p":
                self._paragraph(child)
            elif tag == "tbl":
                self._table(child)
            elif tag in _AS_THEIR_CONTENT:
                self._blocks(child)

    def _paragraph(self, element: Element) -> None:
        properties = element.find(W + "pPr")
        style = self._styles.of(properties, "pStyle")
        words = self._runs.read(element, hidden=style.is_hidden)
        self._hidden += words.hidden
        section = None if properties is None else properties.find(W + "sectPr")
        forced = None if properties is None else properties.find(W + "pageBreakBefore")
        if not self._laid_out and forced is not None:
            words.breaks_before += self._breaks_page(forced)
        if not self._laid_out and section is not None:
            words.breaks_after += self._breaks_page(section)
        if element in self._furniture:
            words.text = ""
        text, self._carried = self._carried + words.text, ""
        label = "" if words.hidden and not text else self._label(properties, style)
        self._turn(words.breaks_before)
        if _mark_is_deleted(properties):
            self._carried = text
        else:
            self._paragraph_of(text, properties, style, label)
        self._beside(words)
        self._turn(words.breaks_after)

    def _label(self, properties: Element | None, style: Style) -> str:
        """Counts a paragraph; returns the number that Word shows before it."""
        if _mark_is_deleted(properties) or is_listed(properties) is False:
            return ""
        number = number_of(properties) or style.number
        return self._numbering.next(number, style.id) if number else ""

    def _paragraph_of(
        self,
        text: str,
        properties: Element | None = None,
        style: Style | None = None,
        label: str = "",
    ) -> None:
        style = style or Style()
        numbered = f"{label} {text}" if label and text.strip() else text
        if level := level_of(properties) or style.level:
            self._text.heading(numbered, level)
        elif style.is_contents:
            self._text.furniture(text)
        elif _ENUMERATOR.fullmatch(label):
            self._text.item(text, mark=f"{label} ")
        elif label:
            self._text.paragraph(numbered)
        elif is_listed(properties) or (is_listed(properties) is None and style.is_list):
            self._text.item(text)
        else:
            self._text.paragraph(text)

    def _turn(self, pages: int) -> None:
        if pages:
            self._text.turn_to(self._text.page + pages)

    def _beside(self, words: Words) -> None:
        """Appends text boxes, charts, notes and comments of a paragraph or a table."""
        for box in words.boxes:
            self._blocks(box)
        for chart in words.charts:
            relation = self._related.get(chart)
            if relation and relation.target in self._package:
                title, rows = chart_rows(self._package.tree(relation.target))
                self._text.paragraph(title)
                self._text.table(rows, header_rows=1)
        for kind, number in words.notes:
            self._text.paragraph(self._notes[kind].pop(number, ""))

    def _table(self, element: Element) -> None:
        rows = [row for row in _rows(element) if not self._leaves_out(row)]
        cells = [[cell for cell in row if local(cell) == "tc"] for row in map(_cells, rows)]
        if _is_layout(cells):
            for row in cells:
                for cell in row:
                    self._blocks(cell)
            return
        beside = Words()
        declared = sum(1 for _ in element.iterfind(f"{W}tblGrid/{W}gridCol"))
        grid = fitted(_grid(rows, lambda cell: self._cell(cell, beside)), columns=declared)
        if any(len(cell.text) > _LONGEST_CELL for row in grid for cell in row):
            for cell in (cell for row in cells for cell in row):
                self._blocks(cell)
            return
        expanded = spread(grid)
        marked = _marked_headers(rows)
        self._text.table(expanded.rows, header_rows=marked or header_rows(grid))
        self._text.notes += expanded.notes
        self._hidden += beside.hidden
        self._beside(beside)
        self._turn(beside.breaks_before + beside.breaks_after)

    def _leaves_out(self, row: Element) -> bool:
        hidden = is_on(value_of(row.find(W + "trPr"), "hidden"))
        self._hidden += hidden
        return hidden and not self._keep_hidden

    def _cell(self, cell: Element, beside: Words) -> str:
        """Returns the text of a cell, and keeps what stands beside it for after the table."""
        parts = []
        for paragraph in _paragraphs(cell):
            style = self._styles.of(paragraph.find(W + "pPr"), "pStyle")
            words = self._runs.read(paragraph, hidden=style.is_hidden)
            parts.append(words.text)
            beside.boxes += words.boxes
            beside.notes += words.notes
            beside.charts += words.charts
            beside.hidden += words.hidden
            beside.breaks_after += words.breaks_before + words.breaks_after
        return " ".join(part for part in parts if part.strip())

    def _notes_of(self, kind: str) -> dict[str, str]:
        """Returns notes or comments by their ids, without the lines that separate notes."""
        return {
            note.get(W + "id", ""): self._note(note, kind)
            for path in self._package.of_kind(_DOCUMENT, kind)
            for note in self._package.tree(path)
            if note.get(W + "type", "normal") == "normal"
        }

    def _note(self, note: Element, kind: str) -> str:
        read = (self._runs.read(paragraph).text for paragraph in _paragraphs(note))
        text = "\n".join(" ".join(line.split()) for line in read if line.strip())
        if kind == "comments" and text:
            author = note.get(W + "author", "").strip()
            return f"Comment by {author}: {text}" if author else f"Comment: {text}"
        return text

    def _running(self) -> Running:
        """Returns the headers and footers that the sections show."""
        running = Running()
        for section in self._root.iter(W + "sectPr"):
            for each in section:
                place = local(each).removesuffix("Reference")
                if place not in {"header", "footer"}:
                    continue
                first_page = value_of(section, "titlePg")
                relation = self._related.get(each.get(_ID, ""))
                is_first = each.get(W + "type") == "first"
                if (
                    relation
                    and relation.target in self._package
                    and (not is_first or is_on(first_page))
                ):
                    root = self._package.tree(relation.target)
                    for line in self._lines(root):
                        running.add(place, line)
        return running

    def _lines(self, parent: Element) -> Iterator[str]:
        """Yields the lines of a header: its paragraphs, the rows of its tables, its text boxes."""
        for child in parent:
            tag = local(child)
            if tag == "p":
                words = self._runs.read(child)
                yield words.text
                for box in words.boxes:
                    yield from self._lines(box)
            elif tag == "tbl":
                for row in _rows(child):
                    cells = (self._cell(cell, Words()) for cell in _cells(row))
                    yield " | ".join(dict.fromkeys(filter(None, cells)))
            elif tag in _AS_THEIR_CONTENT:
                yield from self._lines(child)


def _mark_is_deleted(properties: Element | None) -> bool:
    """Tells whether the end of a paragraph was deleted, so that the next one goes on with it."""
    mark = None if properties is None else properties.find(W + "rPr")
    return mark is not None and mark.find(W + "del") is not None


def _paragraphs(parent: Element) -> Iterator[Element]:
    for child in parent:
        tag = local(child)
        if tag == "p":
            yield child
        elif tag in _AS_THEIR_CONTENT or tag in {"tbl", "tr", "tc"}:
            yield from _paragraphs(child)


def _rows(parent: Element) -> Iterator[Element]:
    """Yields the rows of a table that were not deleted."""
    for child in parent:
        tag = local(child)
        if tag == "tr":
            properties = child.find(W + "trPr")
            if properties is None or properties.find(W + "del") is None:
                yield child
        elif tag in _AS_THEIR_CONTENT:
            yield from _rows(child)


def _cells(parent: Element) -> Iterator[Element]:
    for child in parent:
        tag = local(child)
        if tag == "tc":
            yield child
        elif tag in _AS_THEIR_CONTENT:
            yield from _cells(child)


def _is_layout(rows: list[list[Element]]) -> bool:
    """Tells whether a table only places text: it has one column, or tables within."""
    if all(len(row) <= 1 for row in rows):
        return True
    return any(next(cell.iter(W + "tbl"), None) is not None for row in rows for cell in row)


def _marked_headers(rows: list[Element]) -> int:
    """Returns how many rows at the top are repeated on each page."""
    count = 0
    for row in rows:
        if not is_on(value_of(row.find(W + "trPr"), "tblHeader")):
            break
        count += 1
    return count if count < len(rows) else 0


def _grid(rows: list[Element], text_of: Callable[[Element], str]) -> list[list[Cell]]:
    """Returns the cells of a table with what they span."""
    grid: list[list[Cell]] = []
    above: dict[int, tuple[int, int]] = {}
    for number, row in enumerate(rows):
        before = int(value_of(row.find(W + "trPr"), "gridBefore") or 0)
        line = [Cell("", before)] if before else []
        column, merged = before, {}
        for cell in _cells(row):
            properties = cell.find(W + "tcPr")
            span = max(1, int(value_of(properties, "gridSpan") or 1))
            merge = value_of(properties, "vMerge")
            if merge not in {None, "restart"} and column in above:
                first, place = merged[column] = above[column]
                grid[first][place] = grid[first][place]._replace(rows=number - first + 1)
            else:
                line.append(Cell(text_of(cell), span))
                if merge == "restart":
                    merged[column] = number, len(line) - 1
            column += span
        grid.append(line)
        above = merged
    return grid
