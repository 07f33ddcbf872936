"""A text as search, language models and terminals read it."""

from __future__ import annotations

import re

_ODD = re.compile(r"\r\n|[\x00-\x08\x0b-\x1f\x7f\x85\u2028\u2029]")
_LINE_ENDS = frozenset("\r\x0b\x0c\x85\u2028\u2029")
_REPLACEMENT = "\ufffd"


def plain(text: str) -> str:
    r"""The text with `\n` for every line end, and without control characters.

    It is as long as the text, and has white space where the text has it: a span of the one is a
    span of the other. What is stored and cited is the text itself.
    """
    return _ODD.sub(_plain, text)


def _plain(found: re.Match[str]) -> str:
    odd = found[0]
    if odd == "\r\n":
        return " \n"
    if odd in _LINE_ENDS:
        return "\n"
    return " " if odd.isspace() else _REPLACEMENT
