"""Writes the text of a page: paragraphs, lists, headings, tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, replace

from selectolax.lexbor import LexborNode

from ingest.readers import html_hidden
from ingest.readers.decoding import clean
from ingest.readers.html_rows import Rows
from rag.types import Heading, Table


def _words(listed: str) -> frozenset[str]:
    return frozenset(listed.split())


_HEADINGS = _words("h1 h2 h3 h4 h5 h6")
_CELLS = _words("td th")
_PARTS = _CELLS | _words("tr tbody thead tfoot")
_LINES = _CELLS | _words("li tr dt dd div section article main header figcaption address")
_PARAGRAPHS = _HEADINGS | _words(
    "p ul ol dl table blockquote pre figure hr details summary caption body form fieldset aside"
)
# Tables also lay out pages. Without header cells, a cell longer than this is a column of text.
_LONGEST_CELL = 400


@dataclass(frozen=True, slots=True)
class Skipped:
    """The elements that are not read: by tag, and by `mem_id`.

    `hidden` says of each element that nobody sees whether it keeps its place in a table.
    """

    tags: Set[str]
    around: Set[int]
    hidden: Mapping[int, bool]


def extract(body: LexborNode, skipped: Skipped, *, comments: bool) -> Page:
    """Reads a page but for the skipped elements, and with its comments if they are wanted."""
    spans = {node.mem_id for node in body.css("[colspan], [rowspan]")}
    page = Page(_layout_tables(body, skipped), spans, skipped, comments=comments)
    for node, entering in _walk(body, skipped):
        if entering:
            page.enter(node)
        else:
            page.leave(node)
    return page


def _walk(root: LexborNode, skipped: Skipped) -> Iterator[tuple[LexborNode, bool]]:
    """Yields every node twice: (node, True) before its children, (node, False) after them.

    It does not recurse, since pages nest deeper than Python can. Of skipped elements it yields
    hidden ones alone, without their children.
    """
    tags, hidden = skipped.tags, skipped.hidden
    ids = skipped.around | hidden.keys()
    path: list[LexborNode] = []
    node: LexborNode | None = root
    while node is not None:
        passed = node.tag in tags or (bool(ids) and node.mem_id in ids)
        yielded = not passed or node.mem_id in hidden
        if yielded:
            yield node, True
        child = None if passed else node.child
        if child is not None:
            path.append(node)
            node = child
            continue
        if yielded:
            yield node, False
        while node.next is None and path:
            node = path.pop()
            yield node, False
        node = node.next if path else None


def _layout_tables(body: LexborNode, skipped: Skipped) -> set[int]:
    """Returns the `mem_id`s of tables for layout: they hold headings, tables or columns of text."""
    if body.css_first("table") is None:
        return set()
    layout: set[int] = set()
    lengthy: set[int] = set()
    headed: set[int] = set()
    tables: list[int] = []
    length = 0
    for node, entering in _walk(body, skipped):
        tag = node.tag
        if tables and entering and (tag in _HEADINGS or tag in {"table", "pre"}):
            layout.add(tables[-1])
        if tag == "table":
            tables.append(node.mem_id) if entering else tables.pop()
        elif tag in _CELLS:
            length = 0
            if tag == "th" and tables:
                headed.add(tables[-1])
        elif tag == "-text" and entering and tables:
            length += len(node.text_content or "")
            if length > _LONGEST_CELL:
                lengthy.add(tables[-1])
    return layout | (lengthy - headed)


class Page:
    """The text of a page as it grows. White space is written with the next word."""

    def __init__(
        self, layout: Set[int], spans: Set[int], skipped: Skipped, *, comments: bool
    ) -> None:
        """Make an empty text; `layout` and `spans` are the `mem_id`s of tables and cells."""
        self.headings: list[Heading] = []
        self.tables: list[Table] = []
        self._layout = layout
        self._spans = spans
        self._hidden = skipped.hidden
        self._comments = comments
        self._left_out = 0, 0  # hidden elements, comments
        self._cut: list[str] = []
        self._parts: list[str] = []
        self._length = 0
        self._gap = ""
        self._bullet = ""
        self._verbatim = False
        self._rows: Rows | None = None
        self._outside: tuple[list[str], int, str] | None = None  # of the open cell
        self._heading: tuple[int, int] | None = None  # its offset, its place in parts

    @property
    def text(self) -> str:
        """Returns what was written."""
        return "".join(self._parts)

    @property
    def notes(self) -> tuple[str, ...]:
        """Returns sentences on what was left out."""
        return (*html_hidden.note(*self._left_out), *self._cut)

    def enter(self, node: LexborNode) -> None:
        """Takes in a node before its children."""
        tag = node.tag or ""
        if tag == "-text":
            self._write_text(clean(node.text_content or ""))
        elif tag == "-comment":
            self._comment(node)
        elif self._hidden and node.mem_id in self._hidden:
            self._hide(node)
        else:
            self._break(tag)
            self._open(node, tag)

    def _open(self, node: LexborNode, tag: str) -> None:
        if tag == "table":
            if node.mem_id not in self._layout and self._heading is None:
                self._rows = Rows(self._spans)
        elif tag == "tr" and self._rows:
            self._rows.open(node)
        elif tag in _CELLS and self._rows:
            self._open_cell()
        elif tag == "pre":
            self._verbatim = True
        elif tag == "li" and not self._inline:
            self._bullet = "- "
        elif tag in _HEADINGS and not self._inline:
            self._open_heading()

    def leave(self, node: LexborNode) -> None:
        """Closes a node after its children."""
        tag = node.tag or ""
        if tag[:1] == "-" or (self._hidden and node.mem_id in self._hidden):
            return
        if tag in _CELLS and self._rows:
            self._close_cell(node)
        elif tag == "table":
            self._close_table()
        elif tag == "pre":
            self._verbatim = False
        elif tag == "li":
            self._bullet = ""
        elif tag in _HEADINGS:
            self._close_heading(int(tag[1]))
        if tag != "br":
            self._break(tag)

    @property
    def _inline(self) -> bool:
        """True if the text has to stay on one line."""
        return self._outside is not None or self._heading is not None

    def _break(self, tag: str) -> None:
        if self._rows and tag in _PARTS:
            return
        breaks = 2 if tag in _PARAGRAPHS else 1 if tag in _LINES else 0
        if tag == "br":
            breaks = self._gap.count("\n") + 1
        if breaks and self._inline:
            self._gap = self._gap or " "
        elif breaks:
            self._gap = "\n" * min(2, max(breaks, self._gap.count("\n")))

    def _comment(self, node: LexborNode) -> None:
        words = (node.comment_content or "").split()
        if words and self._comments:
            self._break("div")
            self._write_text(clean(" ".join(words)))
            self._break("div")
        elif words:
            self._left_out = self._left_out[0], self._left_out[1] + 1

    def _hide(self, node: LexborNode) -> None:
        if node.text().strip():
            self._left_out = self._left_out[0] + 1, self._left_out[1]
        if node.tag in _CELLS and self._rows and self._hidden[node.mem_id]:
            self._rows.add(node, "")

    def _open_heading(self) -> None:
        self._bullet = ""
        self._write("")
        self._heading = self._length, len(self._parts)

    def _close_heading(self, level: int) -> None:
        if self._heading is None:
            return
        start, part = self._heading
        text = "".join(self._parts[part:])
        self._heading = None
        if text:
            self.headings.append(Heading(start=start, level=level, text=text))

    def _open_cell(self) -> None:
        self._outside = self._parts, self._length, self._gap
        self._parts, self._length, self._gap = [], 0, ""

    def _close_cell(self, node: LexborNode) -> None:
        if self._rows and self._outside:
            self._rows.add(node, self.text)
            self._parts, self._length, self._gap = self._outside
            self._outside = None

    def _close_table(self) -> None:
        rows, self._rows = self._rows, None
        if rows is None:
            return
        text, table, notes = rows.written()
        self._cut += notes
        if text:
            self._write(text)
        if table:
            start = self._length - len(text)
            moved = replace(table, start=start + table.start, end=start + table.end)
            self.tables.append(moved)

    def _write_text(self, text: str) -> None:
        if self._verbatim and not self._inline:
            if text.strip() or self._parts:
                self._write(text)
            return
        words = " ".join(text.split())
        if text[:1].isspace():
            self._gap = self._gap or " "
        if words:
            self._write(words)
            self._gap = " " if text[-1].isspace() else ""

    def _write(self, text: str) -> None:
        """Appends the pending white space, a list item's bullet, and the text."""
        owed = self._gap if self._parts else ""
        if self._heading and len(self._parts) == self._heading[1]:
            owed = ""
        for part in filter(None, (owed, self._bullet, text)):
            self._parts.append(part)
            self._length += len(part)
        self._gap = self._bullet = ""
