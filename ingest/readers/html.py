"""Extracts the text of an HTML page, without the parts that surround it on every page of a site."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from selectolax.lexbor import LexborHTMLParser, LexborNode

from ingest.readers.decoding import clean, decode
from ingest.readers.outline import Outline, parse_fields
from rag.errors import ReadError
from rag.types import Heading, Table


def _words(listed: str) -> frozenset[str]:
    return frozenset(listed.split())


_DECLARATION = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([\w-]{2,20})", re.IGNORECASE)
_DECLARED_WITHIN = 4096
_UNSEEN = _words(
    "script style template noscript head title svg math iframe object canvas audio video "
    "button select textarea datalist"
)
_BOILERPLATE = _words("nav footer aside")
_HEADINGS = _words("h1 h2 h3 h4 h5 h6")
_LINES = _words("li tr dt dd div section article main header figcaption address td th")
_PARAGRAPHS = _HEADINGS | _words(
    "p ul ol dl table blockquote pre figure hr details caption body form fieldset"
)
_TAG = re.compile(r"<(/?)([a-z][^\s/>]{0,40})")
# Without an end tag, or closed by the next of their kind.
_NEVER_DEEP = _words(
    "area base br col embed hr img input link meta param source track wbr p li dt dd tr td th "
    "tbody thead tfoot option"
)
_DEEPEST = 10_000
_META_NAMES = _words("author description date keywords")
# Tables also lay out pages. A cell longer than this is a column of text, not a value.
_LONGEST_CELL = 400


def outline(data: bytes, *, name: str) -> Outline:
    """Reads a page: its main text, title, headings and `<meta>`.

    Raises:
        ReadError: The bytes are no text, or nest deeper than a page does.
    """
    declared = _DECLARATION.search(data, 0, _DECLARED_WITHIN)
    html = decode(data, name=name, declared=_label(declared))
    _refuse_depth(html, name=name)
    tree = LexborHTMLParser(html)
    body = tree.body
    if body is None:
        return Outline(text="")
    page = _extract(body, _UNSEEN | _surroundings(body))
    if not page.text:
        page = _extract(body, _UNSEEN)
    title = tree.css_first("head title")
    return Outline(
        text=page.text,
        title=" ".join(clean(title.text()).split()) if title else "",
        headings=tuple(page.headings),
        tables=tuple(page.tables),
        furniture=tuple((head.start, head.start + len(head.text)) for head in page.headings),
        meta=_meta(tree),
    )


def _label(declared: re.Match[bytes] | None) -> str | None:
    return declared[1].decode("ascii", "ignore") if declared else None


def _refuse_depth(html: str, *, name: str) -> None:
    """Refuses the deep nesting of an attack: parsing takes time quadratic in the depth."""
    unclosed: Counter[str] = Counter()
    depth = 0
    for slash, tag in _TAG.findall(html.lower()):
        if tag in _NEVER_DEEP:
            continue
        step = 1 if not slash else -bool(unclosed[tag])
        unclosed[tag] += step
        depth += step
        if depth > _DEEPEST:
            raise ReadError(f"{name}: over {_DEEPEST} elements are open at once; not a real page.")


def _surroundings(body: LexborNode) -> frozenset[str]:
    """Returns the tags around the main text. Some sites put the whole page into a form."""
    in_forms = sum(len(form.text()) for form in body.css("form"))
    return _BOILERPLATE | ({"form"} if 2 * in_forms < len(body.text()) else set())


def _meta(tree: LexborHTMLParser) -> dict[str, str]:
    fields = {}
    for node in tree.css("meta[name][content]"):
        name = (node.attributes["name"] or "").lower()
        if name in _META_NAMES:
            content = " ".join(clean(node.attributes["content"] or "").split())
            fields.update(parse_fields([f"{name}: {content}"]) or {})
    return fields


def _walk(root: LexborNode, skip: frozenset[str]) -> Iterator[tuple[LexborNode, bool]]:
    """Yields every node twice: (node, True) before its children, (node, False) after them.

    It does not recurse, since pages nest deeper than Python can.
    """
    path: list[LexborNode] = []
    node: LexborNode | None = root
    while node is not None:
        skipped = node.tag in skip or _is_hidden(node)
        if not skipped:
            yield node, True
        child = None if skipped else node.child
        if child is not None:
            path.append(node)
            node = child
            continue
        if not skipped:
            yield node, False
        while node.next is None and path:
            node = path.pop()
            yield node, False
        node = node.next if path else None


def _is_hidden(node: LexborNode) -> bool:
    attributes = node.attributes if node.is_element_node else {}
    return "hidden" in attributes or attributes.get("role") == "navigation"


def _layout_tables(body: LexborNode, skip: frozenset[str]) -> set[int]:
    """Returns the `mem_id`s of tables for layout: they hold headings, tables or columns of text."""
    layout: set[int] = set()
    tables: list[int] = []
    length = 0
    for node, entering in _walk(body, skip):
        tag = node.tag
        if tables and entering and (tag in _HEADINGS or tag in {"table", "pre"}):
            layout.add(tables[-1])
        if tag == "table":
            tables.append(node.mem_id) if entering else tables.pop()
        elif tag in {"td", "th"}:
            length = 0
        elif tag == "-text" and entering and tables:
            length += len(node.text_content or "")
            if length > _LONGEST_CELL:
                layout.add(tables[-1])
    return layout


def _extract(body: LexborNode, skip: frozenset[str]) -> _Page:
    page = _Page(_layout_tables(body, skip))
    for node, entering in _walk(body, skip):
        if entering:
            page.enter(node)
        else:
            page.leave(node)
    return page


class _Page:
    """The text of a page as it grows. White space is written with the next word."""

    def __init__(self, layout: set[int]) -> None:
        self.headings: list[Heading] = []
        self.tables: list[Table] = []
        self._layout = layout
        self._parts: list[str] = []
        self._length = 0
        self._gap = ""
        self._bullet = ""
        self._verbatim = False
        self._tabular = False
        self._cell: int | None = None  # its place in its row
        self._table = 0, 0  # its offset, its place in parts
        self._heading: tuple[int, int] | None = None  # the same

    @property
    def text(self) -> str:
        return "".join(self._parts)

    def enter(self, node: LexborNode) -> None:
        tag = node.tag or ""
        if tag == "-text":
            self._write_text(clean(node.text_content or ""))
            return
        self._break(tag)
        if tag == "table":
            self._tabular = node.mem_id not in self._layout
            self._table = self._length, len(self._parts)
        elif tag == "tr" and self._tabular:
            self._cell = 0
        elif tag in {"td", "th"} and self._cell is not None:
            self._separate(self._cell)
            self._cell += 1
        elif tag == "pre":
            self._verbatim = True
        elif tag == "li" and not self._inline:
            self._bullet = "- "
        elif tag in _HEADINGS and not self._inline:
            self._open_heading()

    def leave(self, node: LexborNode) -> None:
        tag = node.tag or ""
        if tag == "tr":
            self._cell = None
        elif tag == "table":
            if self._tabular:
                self._close_table()
            self._tabular = False
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
        return self._cell is not None or self._heading is not None

    def _break(self, tag: str) -> None:
        breaks = 2 if tag in _PARAGRAPHS else 1 if tag in _LINES else 0
        if tag == "br":
            breaks = self._gap.count("\n") + 1
        if breaks and self._inline:
            self._gap = self._gap or " "
        elif breaks:
            self._gap = "\n" * min(2, max(breaks, self._gap.count("\n")))

    def _separate(self, cell: int) -> None:
        if cell:
            self._gap = self._gap.rstrip(" ") + ("| " if self._gap.endswith("\n") else " | ")

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

    def _close_table(self) -> None:
        start, part = self._table
        text = "".join(self._parts[part:])
        header, line_end, rest = text.strip().partition("\n")
        if line_end and " | " in header and rest:
            start += len(text) - len(text.lstrip())
            self.tables.append(Table(start=start, end=self._length, header=header))

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
