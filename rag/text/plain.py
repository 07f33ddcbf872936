"""Normalized text for search, language models and terminals."""

from __future__ import annotations

import re

_ODD = re.compile(r"\r\n|[\x00-\x08\x0b-\x1f\x7f\x85\u2028\u2029]")
_LINE_ENDS = frozenset("\r\x0b\x0c\x85\u2028\u2029")
_REPLACEMENT = "\ufffd"


def plain(text: str) -> str:
    r"""Returns the text with `\n` for every line end, and without control characters.

    The result has the same length, and white space at the same places, so that spans of one are
    spans of the other. The original text is what is stored and cited.
    """
    return _ODD.sub(_plain, text)


def _plain(found: re.Match[str]) -> str:
    odd = found[0]
    if odd == "\r\n":
        return " \n"
    if odd in _LINE_ENDS:
        return "\n"
    return " " if odd.isspace() else _REPLACEMENT
