"""Reads OpenDocument texts (ODT) in their final state."""

from __future__ import annotations

from collections.abc import Iterator

from ingest.readers.header_rows import fitted, header_rows
from ingest.readers.open_text import (
    CONTENT,
    OFFICE,
    STYLE,
    TABLE,
    TEXT,
    OpenStyles,
    ParagraphReader,
    Words,
    comment_of,
    meta_of,
)
from ingest.readers.options import ReadOptions
from ingest.readers.outline import Outline
from ingest.readers.package import Element, Package, local
from ingest.readers.running import Running
from ingest.readers.tables import Cell, spread
from ingest.readers.text_builder import TextBuilder

_STYLES = "styles.xml"
_INDEXES = frozenset(
    {"table-of-content", "illustration-index", "table-index", "alphabetical-index", "user-index"}
)
_GROUPS = frozenset({"section", "text-box", "list-item", "list-header", "numbered-paragraph"})
_MOST_REPEATED = 1000


def outline(data: bytes, *, name: str, options: ReadOptions) -> Outline:
    """Reads the text; notes and text boxes follow the paragraph that they belong to.

    Raises:
        ReadError: A part is too large (`code="too_large"`).
    """
    package = Package(data, name=name)
    root = package.tree(CONTENT)
    roots = [root, *([package.tree(_STYLES)] if _STYLES in package else [])]
    reader = _Reader(OpenStyles(*roots), options)
    running = Running()
    for each in roots[1:]:
        reader.add_running(each, running)
    text = reader.read(root, running)
    title, meta = meta_of(package)
    return text.outline(title=title, meta={**meta, **running.meta})


class _Reader:
    def __init__(self, styles: OpenStyles, options: ReadOptions) -> None:
        self._styles = styles
        self._keep_hidden = options.hidden
        self._paragraphs = ParagraphReader(styles, keep_hidden=options.hidden)
        self._text = TextBuilder()
        self._hidden = 0

    def add_running(self, styles: Element, running: Running) -> None:
        """Adds the headers and footers of the page styles."""
        for master in styles.iter(STYLE + "master-page"):
            for part in master:
                place = local(part).partition("-")[0]
                if place in {"header", "footer"} and part.get(STYLE + "display") != "false":
                    for paragraph in part.iter(TEXT + "p"):
                        running.add(place, self._paragraphs.read(paragraph).text)

    def read(self, root: Element, running: Running) -> TextBuilder:
        for line in running.lines:
            self._text.paragraph(line)
        if next(root.iter(TEXT + "soft-page-break"), None) is not None:
            self._text.turn_to(1)
        for body in root.iterfind(f"{OFFICE}body/{OFFICE}text"):
            self._blocks(body)
        if self._hidden:
            done = "Read although hidden" if self._keep_hidden else "Left out"
            plural = "s" if self._hidden > 1 else ""
            self._text.notes.append(f"{done}: {self._hidden:,} hidden passage{plural} of text.")
        return self._text

    def _blocks(self, parent: Element, *, listed: bool = False) -> None:
        for child in parent:
            tag = local(child)
            if tag in {"p", "h"}:
                self._paragraph(child, listed=listed)
            elif tag == "table":
                self._table(child)
            elif tag == "list":
                self._blocks(child, listed=True)
            elif tag == "section" and child.get(TEXT + "display") in {"none", "condition"}:
                self._hidden += 1
                if self._keep_hidden:
                    self._blocks(child)
            elif tag in _INDEXES:
                for paragraph in child.iter(TEXT + "p"):
                    self._text.furniture(self._paragraphs.read(paragraph).text)
            elif tag in _GROUPS:
                self._blocks(child, listed=listed and tag.startswith("list"))
            elif tag == "soft-page-break":
                self._text.turn_to(self._text.page + 1)
            elif tag in {"frame", "custom-shape", "g", "rect"}:
                self._blocks(child)

    def _paragraph(self, element: Element, *, listed: bool) -> None:
        words = self._paragraphs.read(element)
        level = int(element.get(TEXT + "outline-level", "1"))
        if local(element) == "h":
            self._text.heading(words.text, level)
        elif listed:
            self._text.item(words.text)
        else:
            self._text.paragraph(words.text)
        self._beside(words)

    def _beside(self, words: Words) -> None:
        """Appends the frames, notes and comments of a paragraph or a table."""
        self._hidden += words.hidden
        for frame in words.frames:
            self._blocks([frame])
        for note in words.notes:
            lines = (self._paragraphs.read(each).text for each in note.iter(TEXT + "p"))
            self._text.paragraph("\n".join(lines))
        for comment in words.comments:
            self._text.paragraph(comment_of(self._paragraphs, comment))
        if words.soft_breaks:
            self._text.turn_to(self._text.page + words.soft_breaks)

    def _table(self, table: Element) -> None:
        beside = Words()
        rows = cells_of(table, self._paragraphs, beside)
        if all(len(row) <= 1 for row in rows):
            for row in rows:
                self._text.paragraph("".join(cell.text for cell in row))
        else:
            grid = spread(rows)
            marked = sum(1 for part in table.iterfind(TABLE + "table-header-rows") for _ in part)
            self._text.table(grid.rows, header_rows=marked or header_rows(rows))
            self._text.notes += grid.notes
        self._beside(beside)


def cells_of(
    table: Element, paragraphs: ParagraphReader, beside: Words | None = None
) -> list[list[Cell]]:
    """Returns the rows of a table; what stands beside the words of its cells goes to `beside`."""
    columns = sum(
        int(each.get(TABLE + "number-columns-repeated", "1"))
        for each in table.iter(TABLE + "table-column")
    )
    return fitted(list(_rows(table, paragraphs, beside)), columns=columns)


def _rows(
    table: Element, paragraphs: ParagraphReader, beside: Words | None
) -> Iterator[list[Cell]]:
    for row in table.iter(TABLE + "table-row"):
        cells: list[Cell] = []
        for cell in row.iterfind(TABLE + "table-cell"):
            parts = []
            for paragraph in cell.iter(TEXT + "p", TEXT + "h"):
                words = paragraphs.read(paragraph)
                parts.append(words.text)
                if beside is not None:
                    beside.notes += words.notes
                    beside.comments += words.comments
                    beside.hidden += words.hidden
                    beside.soft_breaks += words.soft_breaks
            wide = int(cell.get(TABLE + "number-columns-spanned", "1"))
            high = int(cell.get(TABLE + "number-rows-spanned", "1"))
            text = " ".join(part for part in parts if part.strip())
            repeated = int(cell.get(TABLE + "number-columns-repeated", "1"))
            cells += [Cell(text, wide, high)] * min(repeated, _MOST_REPEATED)
        yield cells
