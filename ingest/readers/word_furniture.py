"""Finds the lines that a Word document without headers repeats at its page breaks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from ingest.readers.package import Element, local
from ingest.readers.running import without_page

_LEAST_PAGES = 3
_LONGEST = 200


class Repeated(NamedTuple):
    """A paragraph that repeats a "header" or "footer", and its text without a page number."""

    paragraph: Element
    place: str
    text: str


def repeated(
    body: Element, breaks_page: Callable[[Element], bool], text_of: Callable[[Element], str]
) -> list[Repeated]:
    """Returns the paragraphs beside page breaks whose text stands at most of them."""
    paragraphs = [child for child in body if local(child) == "p"]
    breaks = [n for n, each in enumerate(paragraphs) if breaks_page(each)]
    if len(breaks) + 1 < _LEAST_PAGES:
        return []
    places: dict[int, str] = {}
    for edge in (-1, *breaks, len(paragraphs)):
        for number in _filled(paragraphs, range(edge - 1, edge - 3, -1), text_of):
            places[number] = "footer"
        for number in _filled(paragraphs, range(max(0, edge), edge + 3), text_of):
            places[number] = "header"
    found = [
        Repeated(paragraphs[number], place, without_page(" ".join(text.split())))
        for number, place in sorted(places.items())
        if len(text := text_of(paragraphs[number])) <= _LONGEST
    ]
    counts = Counter((each.place, each.text) for each in found)
    most = max(_LEAST_PAGES, (len(breaks) + 1) / 2)
    return [each for each in found if counts[each.place, each.text] >= most]


def _filled(
    paragraphs: Sequence[Element], numbers: Sequence[int], text_of: Callable[[Element], str]
) -> Iterator[int]:
    """Yields the first of these paragraphs that is not empty."""
    for number in numbers:
        if 0 <= number < len(paragraphs) and text_of(paragraphs[number]).strip():
            yield number
            return
