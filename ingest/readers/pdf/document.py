"""Reads PDF: what is seen, in the order in which it is read, without page furniture."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from operator import attrgetter

from ingest.readers.decoding import clean
from ingest.readers.outline import Outline
from ingest.readers.pdf import pages as painted
from ingest.readers.pdf import right_to_left
from ingest.readers.pdf.blocks import Block, Style
from ingest.readers.pdf.flow import body_of
from ingest.readers.pdf.furniture import Furniture, PageText, take_out
from ingest.readers.pdf.joining import Part
from ingest.readers.pdf.lines import pieces_by_turn
from ingest.readers.pdf.pages import Page, turned
from ingest.readers.pdf.text import BlockWriter, write_parts
from ingest.readers.running import Running
from ingest.readers.text_builder import TextBuilder
from rag.errors import ReadError
from rag.types import Meta

_MADE_UP = re.compile(r"\W*(?:untitled|anonymous|unspecified|unknown)\W*", re.IGNORECASE)
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
    right = right_to_left.is_right_to_left(pages)
    if right:
        paragraphs, furniture = right_to_left.parts(data)
        text, bare = TextBuilder(), set[int]()
        for parts in paragraphs:
            write_parts(text, parts)
        for each in furniture:
            text.paragraph(each.text)
    else:
        text, furniture, bare = _laid_out(pages)
    text.notes += _notes(found, bare, kept=right)
    read = text.outline(title=_title(meta), meta=_meta(meta, furniture))
    if not read.text and any(page.hidden for page in pages):
        _refuse_unseen(pages, name=name)
    return read


def _laid_out(pages: Sequence[Page]) -> tuple[TextBuilder, list[Furniture], set[int]]:
    """Returns the text, the furniture, and the numbers of the pages that hold only furniture."""
    texts = [_page_text(page) for page in pages]
    style = _style(texts)
    bare = {text.number for text in texts if any(text.groups)}
    furniture = take_out(texts, body=style.size)
    bare -= {text.number for text in texts if any(text.groups)}
    body = body_of(texts, style)
    text = TextBuilder()
    writer = BlockWriter(text, body)
    for each in _with_furniture(body, furniture):
        if isinstance(each, Block):
            writer.write(each)
        else:
            page, words = each
            text.turn_to(page)
            text.paragraph(words)
    return text, furniture, bare


def _refuse_unseen(pages: Sequence[Page], *, name: str) -> None:
    if not any(page.images for page in pages):
        raise ReadError(
            f"{name}: holds only text that nobody sees. Read it with the setting reader.hidden.",
            code="empty_document",
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


def _with_furniture(
    body: Sequence[Block], furniture: Sequence[Furniture]
) -> Iterator[Block | Part]:
    """Yields the blocks, and (page, text) of furniture between them, on the page that has it."""
    waiting = sorted(furniture, key=attrgetter("page"))
    for block in body:
        first, last = block.lines[0].page, block.lines[-1].page
        while waiting and waiting[0].page < last:
            each = waiting.pop(0)
            yield min(each.page, first), each.text
        yield block
    yield from ((each.page, each.text) for each in waiting)


def _title(meta: Mapping[str, str]) -> str:
    title = clean(meta.get("Title", "")).strip()
    return "" if _MADE_UP.fullmatch(title) else title


def _meta(meta: Mapping[str, str], furniture: Sequence[Furniture]) -> Meta:
    """Returns author, day of creation and furniture, as far as the document has them."""
    author = clean(meta.get("Author", "")).strip()
    day = _DATE.match(meta.get("CreationDate", ""))
    running = Running()
    for each in furniture:
        running.add(each.place, each.text)
    found = {
        "author": "" if _MADE_UP.fullmatch(author) else author,
        "created": "-".join(day.groups()) if day else "",
        **running.meta,
    }
    return {key: value for key, value in found.items() if value}


def _notes(found: Sequence[Page | None], bare: set[int], *, kept: bool) -> list[str]:
    """Returns what the record says of what is missing, and why; `kept` if hidden text is not."""
    hidden = sum((Counter(page.hidden) for page in found if page), Counter[str]())
    notes = []
    if hidden:
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(hidden.items()))
        lines = "line" if hidden.total() == 1 else "lines"
        verb = "Not left out" if kept else "Left out"
        notes.append(f"{verb}: {hidden.total()} {lines} of text that nobody sees ({reasons}).")
    damaged = [number for number, page in enumerate(found, start=1) if page is None]
    images = [page.number for page in found if page and page.images]
    for numbers, words in (
        (damaged, "damaged, not read"),
        (images, "images without text, not read"),
        (sorted(bare), "only running headers and footers"),
    ):
        if numbers:
            notes.append(f"{_listed(numbers)}: {words}.")
    return notes


def _listed(numbers: Sequence[int]) -> str:
    """Returns the first of the numbers, as words."""
    words = ", ".join(map(str, numbers[:_MOST_LISTED]))
    more = f" and {len(numbers) - _MOST_LISTED} more" if len(numbers) > _MOST_LISTED else ""
    return f"{'Page' if len(numbers) == 1 else 'Pages'} {words}{more}"
