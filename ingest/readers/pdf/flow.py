"""Follows paragraphs from column to column and from page to page."""

from __future__ import annotations

from collections.abc import Sequence

from ingest.readers.pdf.blocks import Block, Kind, Style, blocks, ends_sentence, is_wrapped
from ingest.readers.pdf.columns import regions
from ingest.readers.pdf.furniture import PageText

_SAME_SIZE = 0.05
_LONG = 0.6
"""Share of the width: the last line of a page that is shorter ends where it was meant to end."""


def body_of(texts: Sequence[PageText], style: Style) -> list[Block]:
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
        and (
            first.text[0].islower()
            or is_wrapped(last, first, above.right)
            or (len(above.lines) > 1 and last.right - last.left > _LONG * (above.right - last.left))
        )
    )


def _is_moved(above: Block, below: Block) -> bool:
    """Checks that `below` stands on another page, or at the top of the next column."""
    last, first = above.lines[-1], below.lines[0]
    return last.page != first.page or first.base < last.base
