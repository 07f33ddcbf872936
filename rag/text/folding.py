"""One form of a text for index and question: what looks or reads the same becomes the same."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

_DROPPED = (
    (0x00AD, 0x00AD),  # soft hyphen
    (0x0307, 0x0307),  # the dot that lower-casing leaves of the Turkish capital I with a dot
    (0x0591, 0x05BD),  # Hebrew accents and points
    (0x05BF, 0x05C2),
    (0x0610, 0x061A),  # Arabic marks and vowels
    (0x061C, 0x061C),
    (0x0640, 0x0640),  # the stroke that stretches Arabic words
    (0x064B, 0x0652),
    (0x0670, 0x0670),
    (0x06D6, 0x06DC),
    (0x180B, 0x180E),
    (0x200B, 0x200F),  # zero width, and marks of direction
    (0x202A, 0x202E),
    (0x2060, 0x2064),
    (0x2066, 0x2069),
    (0xFE00, 0xFE0F),  # variants of glyphs
    (0xFEFF, 0xFEFF),
)
_ACCENTS = re.compile("[\u0300-\u036f]+")
_SAME = {"İ": "i", "ı": "i", "ß": "ss", "ẞ": "ss", "ς": "σ", "’": "'", "‘": "'", "ʼ": "'"}  # noqa: RUF001


def _table() -> Iterator[tuple[int, str | None]]:
    for first, last in _DROPPED:
        for code in range(first, last + 1):
            yield code, None
    for dash in "\u2010\u2011\u2012\u2013\u2014\u2015\u2212":
        yield ord(dash), "-"
    for char, same in _SAME.items():
        yield ord(char), same


_FOLDED = dict(_table())


def folded(text: str) -> str:
    """Returns the text as index and question compare it; case is kept.

    It is in the form NFKC: composed letters, no ligatures, no full width. Without soft hyphens,
    characters of no width, marks of direction, and the vowel marks of Arabic and Hebrew. All
    dashes are hyphens, and the dotted, dotless and plain i are one. Its characters do not stand
    where the original's do: it is for terms, never for spans.
    """
    if text.isascii():
        return text
    return unicodedata.normalize("NFKC", text).translate(_FOLDED)


def without_accents(text: str) -> str:
    """Returns the text with letters of the plain alphabet: "Besançon" is "Besancon"."""
    if text.isascii():
        return text
    return _ACCENTS.sub("", unicodedata.normalize("NFKD", text.replace("ß", "ss")))
