"""Finds the lists in a text, the marks of items, and the words that lead in to what follows."""

from __future__ import annotations

import re

from rag.text.blocks import begins_item, block_spans
from rag.text.dates import MONTHS
from rag.text.units import UNITS
from rag.types import Span

_MARK = re.compile(r"^\s*(?:[^\w\s]|[\w#]{1,3}[.)])\s", re.MULTILINE)
"""The marks with which each item begins, and few other lines do."""
_NO_ITEM = rf"(?!(?i:{'|'.join([*MONTHS, *(re.escape(unit) for unit in UNITS)])})\b)"
_FIRST_MARK = re.compile(rf"\A\s*(?:[-*•–+>]|\d{{1,2}}[.)](?=\s+{_NO_ITEM})|#{{1,6}})\s+")
"""The mark of an item or heading, not a number before a month or a unit: "28. Februar"."""
_LEADS = (":", "\uff1a")


def leads_in(text: str, span: Span) -> bool:
    """Returns True for a sentence that ends with a colon; white space may be behind it."""
    return text[span[0] : span[1]].rstrip().endswith(_LEADS)


def without_mark(text: str) -> str:
    """Returns a text without the mark that it begins with, of a list item, quotation or heading."""
    return _FIRST_MARK.sub("", text)


def lists(text: str) -> list[list[Span]]:
    """Returns the lists of a text, in text order, each as the spans of its adjacent items."""
    found: list[list[Span]] = []
    if not _MARK.search(text):
        return found
    inside = False
    for start, end in block_spans(text):
        item = begins_item(text[start:end])
        if item and inside:
            found[-1].append((start, end))
        elif item:
            found.append([(start, end)])
        inside = item
    return found
