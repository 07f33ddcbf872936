"""Makes a model's text safe to render as Markdown or HTML."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet

from rag.types import Hit

REMOVED = "(link removed)"
"""Replaces an address that is in no source: a made-up one may send the question to a stranger."""
_LONGEST_URL = 2000
_URL = rf"(?:https?://|ftp://|www\.)[^\s<>\[\]`]{{0,{_LONGEST_URL}}}"
_URLS = re.compile(_URL, re.IGNORECASE)
_LIVE = re.compile(rf"(?P<tag><(?=[a-z/!?]))|(?P<target>(?<=\])[(:])|{_URL}", re.IGNORECASE)
_BEGUN = r"h(?:t(?:t(?:ps?(?::/?)?)?)?)?|f(?:t(?:p(?::/?)?)?)?|w{1,3}"
_HELD = re.compile(rf"(?:<|<?(?:{_BEGUN}|{_URL}))\Z", re.IGNORECASE)
"""The end of a text that may still become a tag or a longer address."""
_AFTER_URL = ".,;:!?)}*_~'\"`\\"


class SafeText:
    """Neutralises tags, images and links while a text is being written.

    - `<` before a tag becomes `&lt;`;
    - a space separates `]` from `(` and `:`, so that no Markdown link, image or link definition is
      made; its address stays, as text;
    - an address (`http://`, `https://`, `ftp://`, `www.`) stays if a source contains it, and
      else becomes "(link removed)".
    """

    def __init__(self, known: AbstractSet[str]) -> None:
        """Make a filter for one text; `known` are the addresses of its sources."""
        self._known = known
        self._unread = ""
        self._last = ""

    def feed(self, piece: str) -> str:
        """Returns the text to send after the next piece; how it is cut makes no difference."""
        self._unread += piece
        held = _HELD.search(self._unread)
        return self._send(held.start() if held else len(self._unread))

    def finish(self) -> str:
        """Returns the text held back, once it is complete."""
        return self._send(len(self._unread))

    def _send(self, end: int) -> str:
        text, self._unread = self._last + self._unread[:end], self._unread[end:]
        safe = _LIVE.sub(self._neutral, text)[len(self._last) :]
        self._last = "]" if text.endswith("]") else ""
        return safe

    def _neutral(self, found: re.Match[str]) -> str:
        if found["tag"]:
            return "&lt;"
        if found["target"]:
            return f" {found[0]}"
        url = found[0].rstrip(_AFTER_URL)
        if url in self._known:
            return found[0]
        gap = " " if found.string[: found.start()].endswith("]") else ""
        return gap + REMOVED + found[0][len(url) :]


def addresses(hits: Sequence[Hit]) -> frozenset[str]:
    """Returns the addresses in the texts and uris of the hits."""
    return frozenset(url for hit in hits for url in _urls(f"{hit.chunk.uri} {hit.chunk.text}"))


def without_halves(text: str) -> str:
    """Returns the text with `?` for half a character (a lone surrogate), which UTF-8 lacks."""
    return text.encode(errors="replace").decode()


def _urls(text: str) -> Iterator[str]:
    return (found[0].rstrip(_AFTER_URL) for found in _URLS.finditer(text))
