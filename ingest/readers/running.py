"""Running headers and footers: what stands on every page, kept once and without its number."""

from __future__ import annotations

import re
from collections.abc import Mapping

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

    def add(self, place: str, line: str) -> str:
        """Adds a line of a "header" or "footer"; one that only counts pages is left out.

        Returns:
            The line without a page number; "" if it was added before or is left out.
        """
        words = " ".join(clean(line).split())
        if not words or counts_pages(words):
            return ""
        words = without_page(words)
        is_new = words not in self.lines
        self._lines[place][words] = None
        return words if is_new else ""

    @property
    def lines(self) -> list[str]:
        """Returns the lines; one that is in header and footer comes once."""
        return list(dict.fromkeys(line for lines in self._lines.values() for line in lines))

    @property
    def meta(self) -> Mapping[str, str]:
        """Returns the lines of each place as metadata: `header` and `footer`."""
        joined = {place: " | ".join(lines)[:_LONGEST] for place, lines in self._lines.items()}
        return {place: text for place, text in joined.items() if text}


def counts_pages(line: str) -> bool:
    """Checks that a line is a page number and no more."""
    return bool(_ONLY_NUMBER.fullmatch(line))


def without_page(line: str) -> str:
    """Returns a line without the page number at its end, if a word such as "page" names it.

    A line that only counts pages is "".
    """
    if counts_pages(line):
        return ""
    found = _AT_END.search(line)
    return line[: found.start()] if found and found.start() else line
