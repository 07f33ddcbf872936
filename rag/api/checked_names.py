"""Checks of texts that are stored, and of names."""

from __future__ import annotations

import re

_UNSTORABLE = re.compile("[\ud800-\udfff\0]")
"""Lone surrogates, which UTF-8 cannot encode, and NUL, which PostgreSQL cannot store."""
_CONTROL = re.compile("[\0-\x1f\x7f-\x9f\u2028\u2029]")
"""Control characters and line ends: no address, log or terminal holds a name with one."""


def storable(text: str) -> str:
    """Returns the text unchanged.

    Raises:
        ValueError: A database cannot store one of its characters.
    """
    if _UNSTORABLE.search(text):
        raise ValueError("it holds a NUL or half a character (a lone surrogate)")
    return text


def checked_name(text: str) -> str:
    """Returns an id, a uri or the name of a reader unchanged.

    Raises:
        ValueError: It holds a line end or another control character, or cannot be stored.
    """
    if found := _CONTROL.search(text):
        raise ValueError(f"it holds the control character {found[0]!r}, which no name may")
    return storable(text)


def sendable(text: str) -> str:
    """Replaces the characters that no model and no database can take."""
    return _UNSTORABLE.sub("\ufffd", text)
