"""Running headers and footers: what stands on every page, kept once and without its number."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from ingest.readers.decoding import clean

_PAGE = r"(?:page|seite|slide|folie|p[áa]gina|pag\.|p\.|s\.|blatt|sivu|sida|side|strona|стр\.?)"
_OF = r"(?:of|von|de|sur|di|van|av|af|z|из|/|\|)"
_AT_END = re.compile(rf"[\s|,;·•–—-]*\b{_PAGE}\s*(?:\d+\s*)?(?:{_OF}\s*\d*)?\s*$", re.IGNORECASE)
_ONLY_NUMBER = re.compile(
    rf"[\s|,;·•–—\-()\[\]]*{_PAGE}?\s*\d*\s*(?:{_OF}\s*\d*)?[\s|–—\-()\[\]]*", re.IGNORECASE
)
_LONGEST = 500


class Running:
    """The lines of headers and footers in the order in which they were added, each once."""

    def __init__(self) -> None:
        self._lines: dict[str, dict[str, None]] = {"header": {}, "footer": {}}

    def add(self, place: str, line: str) -> None:
        """Adds a line of a "header" or "footer"; one that only counts pages is left out."""
        words = " ".join(clean(line).split())
        if words and not _ONLY_NUMBER.fullmatch(words):
            self._lines[place][without_page(words)] = None

    @property
    def lines(self) -> Iterator[str]:
        """Yields the lines; one that is in header and footer comes once."""
        yield from dict.fromkeys(line for lines in self._lines.values() for line in lines)

    @property
    def meta(self) -> Mapping[str, str]:
        """Returns the lines of each place as metadata."""
        joined = {place: " | ".join(lines)[:_LONGEST] for place, lines in self._lines.items()}
        return {place: text for place, text in joined.items() if text}


def without_page(line: str) -> str:
    """Returns a line without the page number at its end, if a word such as "page" names it."""
    found = _AT_END.search(line)
    return line[: found.start()] if found and found.start() else line
