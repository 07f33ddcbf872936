"""Reads PDF: what is seen, in the order in which it is read, without page furniture."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from operator import attrgetter

from ingest.readers.csv_rows import written
from ingest.readers.decoding import clean
from ingest.readers.outline import Outline
from ingest.readers.pdf import pages as painted
from ingest.readers.pdf.blocks import BULLET, Block, Kind, Style, blocks, ends_sentence, is_wrapped
from ingest.readers.pdf.columns import regions
from ingest.readers.pdf.furniture import ASIDE, BOTTOM, TOP, Furniture, PageText, take_out
from ingest.readers.pdf.grids import Grid
from ingest.readers.pdf.joining import Joiner, Part
from ingest.readers.pdf.lines import pieces_by_turn
from ingest.readers.pdf.pages import Page, turned
from rag.types import Heading, Meta, Table

_MADE_UP = re.compile(r"\W*(?:untitled|anonymous|unspecified|unknown)\W*|microsoft \w+ - .*", re.I)
_MOST_FURNITURE, _LONGEST_FURNITURE = 20, 200
_LEVELS = 6
_SAME_SIZE = 0.05
_MOST_LISTED = 10
_DATE = re.compile(r"D:(\d{4})(\d\d)(\d\d)")


def outline(data: bytes, *, name: str, hidden: bool) -> Outline:
    """Reads a PDF's text layer; the text is empty if it has none.

    Args:
        data: The file.
        name: Its name, for messages.
        hidden: Whether text that nobody sees is read too.

    Raises:
        ReadError: It needs a password (`code="encrypted"`), or is damaged.
    """
    with painted.opened(data, name=name) as document:
        found = list(painted.pages(document, hidden=hidden))
        meta = document.get_metadata_dict()
    pages = [page for page in found if page]
    texts = [_page_text(page) for page in pages]
    style = _style(texts)
    bare = {text.number for text in texts if any(text.groups)}
    furniture = take_out(texts, body=style.size)
    bare -= {text.number for text in texts if any(text.groups)}
    body = _body(texts, style)
    text = _Text(Joiner([line for block in body for line in block.lines]), _levels(body))
    for block in _with_furniture(body, furniture):
        text.add(block)
    return text.outline(
        len(found), title=_title(meta), meta=_meta(meta, furniture), notes=_notes(found, bare)
    )


def _page_text(page: Page) -> PageText:
    groups = pieces_by_turn(page.runs)
    letters = Counter[int]()
    for run in page.runs:
        letters[run.turn] += len(run.text)
    turn = letters.most_common(1)[0][0] if letters else 0
    box = page.box
    ends = [turned(x, y, turn)[1] for x in (box.left, box.right) for y in (box.bottom, box.top)]
    return PageText(page.number, groups, min(ends), max(ends))


def _style(texts: Sequence[PageText]) -> Style:
    sizes: Counter[float] = Counter()
    bold = 0
    for piece in (piece for text in texts for group in text.groups[:1] for piece in group):
        sizes[round(piece.size, 1)] += len(piece.text)
        bold += len(piece.text) if piece.bold else 0
    size = sizes.most_common(1)[0][0] if sizes else 0.0
    return Style(size, bold > sizes.total() / 2)


def _body(texts: Sequence[PageText], style: Style) -> list[Block]:
    """Returns the blocks of all pages; a paragraph that goes on across a page is one."""
    body: list[Block] = []
    for text in texts:
        for group in text.groups:
            for lines in regions(group, text.number):
                for block in blocks(lines, style):
                    _append(body, block)
    return body


def _append(body: list[Block], block: Block) -> None:
    """Adds a block, or its lines to the paragraph that was cut at the end of a page or column."""
    cut = len(body)
    while cut and _is_footnote(body[cut - 1], block):
        cut -= 1
    above = body[cut - 1] if cut else None
    if above and _goes_on(above, block):
        above.lines += block.lines
        body[cut - 1 :] = [*body[cut:], above]
    else:
        body.append(block)


def _is_footnote(block: Block, below: Block) -> bool:
    """Checks for smaller letters between the parts of a paragraph."""
    smaller = block.size < (1 - _SAME_SIZE) * below.size
    return smaller and block.kind is Kind.TEXT and _is_moved(block, below)


def _goes_on(above: Block, below: Block) -> bool:
    last, first = above.lines[-1], below.lines[0]
    return (
        _is_moved(above, below)
        and below.kind is Kind.TEXT
        and above.kind in {Kind.TEXT, Kind.ITEM}
        and abs(above.size - below.size) <= _SAME_SIZE * below.size
        and not ends_sentence(last.text)
        and (first.text[0].islower() or is_wrapped(last, first, above.right))
    )


def _is_moved(above: Block, below: Block) -> bool:
    """Checks that `below` stands on another page, or at the top of the next column."""
    last, first = above.lines[-1], below.lines[0]
    return last.page != first.page or first.base < last.base


def _with_furniture(
    body: Sequence[Block], furniture: Sequence[Furniture]
) -> Iterator[Block | tuple[int, str]]:
    """Yields the blocks, and (page, text) of furniture between them, on the page that has it."""
    waiting = sorted(furniture, key=attrgetter("page"))
    for block in body:
        first, last = block.lines[0].page, block.lines[-1].page
        while waiting and waiting[0].page < last:
            each = waiting.pop(0)
            yield min(each.page, first), each.text
        yield block
    yield from ((each.page, each.text) for each in waiting)


def _levels(body: Sequence[Block]) -> Mapping[tuple[float, bool], int]:
    """Returns the level of the headings of each style: the largest letters are level 1."""
    styles = {_look(block) for block in body if block.kind is Kind.HEADING}
    ranked = sorted(styles, reverse=True)
    return {look: min(rank, _LEVELS) for rank, look in enumerate(ranked, start=1)}


def _look(block: Block) -> tuple[float, bool]:
    return round(block.size * 2) / 2, all(line.bold for line in block.lines)


class _Text:
    """Builds the document's text from its blocks."""

    def __init__(self, joiner: Joiner, levels: Mapping[tuple[float, bool], int]) -> None:
        self._joiner = joiner
        self._levels = levels
        self._parts: list[str] = []
        self._length = 0
        self._pages: dict[int, int] = {}
        self._headings: list[Heading] = []
        self._tables: list[Table] = []
        self._last: Kind | None = None

    def add(self, block: Block | tuple[int, str]) -> None:
        """Adds a block, or furniture as a paragraph of its own."""
        if isinstance(block, tuple):
            self._write([block])
            self._last = None
            return
        if block.grid:
            self._tabulate(block.lines[0].page, block.grid)
        else:
            parts = self._joiner.parts(block)
            if block.kind is Kind.HEADING:
                [*before, (page, text)] = parts
                heading = " ".join([*(each for _, each in before), text]).replace("\n", " ")
                start = self._write([(parts[0][0], heading)])
                text = clean(heading)
                level = self._levels[_look(block)]
                self._headings.append(Heading(start=start, level=level, text=text))
            else:
                near = block.near and block.kind is self._last is Kind.ITEM
                page, text = parts[0]
                self._write([(page, BULLET.sub("- ", text, count=1)), *parts[1:]], near=near)
        self._last = block.kind

    def outline(self, count: int, *, title: str, meta: Meta, notes: tuple[str, ...]) -> Outline:
        """Returns the text with its structure; `count` is the number of pages."""
        starts = []
        start = self._length
        for number in range(count, 0, -1):
            start = self._pages.get(number, start)  # one without text begins where the next does
            starts.append(start if number > 1 else 0)
        return Outline(
            text="".join(self._parts),
            title=title,
            pages=tuple(reversed(starts)),
            headings=tuple(self._headings),
            furniture=tuple((head.start, head.start + len(head.text)) for head in self._headings),
            tables=tuple(self._tables),
            meta=meta,
            notes=notes,
        )

    def _tabulate(self, page: int, grid: Grid) -> None:
        """Writes a table: cells are told apart if each column has a name, else guessed."""
        lines, table = written(grid.rows, between=" | " if grid.named else " ")
        start = self._write([(page, lines)])
        if table and grid.named:
            moved = replace(table, start=start + table.start, end=start + table.end)
            self._tables.append(moved)

    def _write(self, parts: Sequence[Part], *, near: bool = False) -> int:
        """Appends a paragraph, or a line if `near`; returns its offset."""
        start = self._length
        if self._parts:
            self._append("\n" if near else "\n\n")
            start = self._length
        for page, text in parts:
            self._pages.setdefault(page, self._length)
            self._append(clean(text))
        return start

    def _append(self, text: str) -> None:
        self._parts.append(text)
        self._length += len(text)


def _title(meta: Mapping[str, str]) -> str:
    title = clean(meta.get("Title", "")).strip()
    return "" if _MADE_UP.fullmatch(title) else title


def _meta(meta: Mapping[str, str], furniture: Sequence[Furniture]) -> Meta:
    """Returns author, day of creation and furniture, as far as the document has them."""
    author = clean(meta.get("Author", "")).strip()
    day = _DATE.match(meta.get("CreationDate", ""))
    found: dict[str, str | tuple[str, ...]] = {
        "author": "" if _MADE_UP.fullmatch(author) else author,
        "created": "-".join(day.groups()) if day else "",
    }
    for place in (TOP, BOTTOM, ASIDE):
        texts = [each.text[:_LONGEST_FURNITURE] for each in furniture if each.place == place]
        found[f"page_{place}"] = tuple(texts[:_MOST_FURNITURE])
    return {key: value for key, value in found.items() if value}


def _notes(found: Sequence[Page | None], bare: set[int]) -> tuple[str, ...]:
    """Returns what the record says of what is missing, and why."""
    hidden = sum((Counter(page.hidden) for page in found if page), Counter[str]())
    notes = []
    if hidden:
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(hidden.items()))
        lines = "line" if hidden.total() == 1 else "lines"
        notes.append(f"Left out: {hidden.total()} {lines} of text that nobody sees ({reasons}).")
    damaged = [number for number, page in enumerate(found, start=1) if page is None]
    images = [page.number for page in found if page and page.images]
    for numbers, words in (
        (damaged, "damaged, not read"),
        (images, "images without text, not read"),
        (sorted(bare), "only running headers and footers"),
    ):
        if numbers:
            notes.append(f"{_listed(numbers)}: {words}.")
    return tuple(notes)


def _listed(numbers: Sequence[int]) -> str:
    """Returns the first of the numbers, as words."""
    words = ", ".join(map(str, numbers[:_MOST_LISTED]))
    more = f" and {len(numbers) - _MOST_LISTED} more" if len(numbers) > _MOST_LISTED else ""
    return f"{'Page' if len(numbers) == 1 else 'Pages'} {words}{more}"
