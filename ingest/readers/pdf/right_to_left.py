"""Reads Arabic and Hebrew PDF with pypdf: pdfium turns some of their ligatures around.

pypdf does not tell what nobody sees: that stays in the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from io import BytesIO

from ingest.readers.decoding import clean
from ingest.readers.pdf.blocks import ends_sentence
from ingest.readers.pdf.furniture import Furniture, PageText, take_out
from ingest.readers.pdf.joining import Part
from ingest.readers.pdf.lines import Piece
from ingest.readers.pdf.pages import Page

_LETTERS = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")
_MUCH = 0.1


def is_right_to_left(pages: Sequence[Page]) -> bool:
    """Checks that many of the letters are read from right to left."""
    texts = [run.text for page in pages for run in page.runs]
    return sum(len(_LETTERS.findall(text)) for text in texts) > _MUCH * sum(map(len, texts))


def parts(data: bytes) -> tuple[list[list[Part]], list[Furniture]]:
    """Returns the paragraphs and the furniture; each page is a paragraph, if none goes on."""
    from pypdf import PdfReader

    texts = [
        PageText(number, [list(_pieces(page.extract_text()))], 0, 0)
        for number, page in enumerate(PdfReader(BytesIO(data)).pages, start=1)
    ]
    for text in texts:
        text.bottom = max((piece.base for piece in text.groups[0]), default=0)
    furniture = take_out(texts, body=1)
    paragraphs: list[list[Part]] = []
    for text in texts:
        page = clean("\n".join(piece.text for piece in text.groups[0])).strip()
        if not page:
            continue
        if paragraphs and not ends_sentence(paragraphs[-1][-1][1]):
            paragraphs[-1].append((text.number, f"\n{page}"))
        else:
            paragraphs.append([(text.number, page)])
    return paragraphs, furniture


def _pieces(text: str) -> Iterator[Piece]:
    """Yields the lines, one below the other: their places are not known."""
    for number, line in enumerate(text.split("\n")):
        if line.strip():
            yield Piece(line, 0, len(line), number, 1, bold=False, order=number)
