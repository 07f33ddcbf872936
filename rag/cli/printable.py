"""Text as it may be printed on a terminal."""

from __future__ import annotations

import re

_CONTROLS = r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]"
_UNSAFE = re.compile(rf"(\x1b\[[012]m)|{_CONTROLS}")
_C1 = re.compile(r"[\x7f-\x9f]")


def printable(text: str) -> str:
    """Returns text with `�` for characters that command a terminal, or turn the direction of text.

    Documents and servers choose much of what is printed. Bold and dim, which the CLI writes itself,
    stay: nobody is harmed by them.
    """
    return _UNSAFE.sub(lambda found: found[1] or "\ufffd", text)


def printable_json(text: str) -> str:
    """Returns JSON with the same values whose control characters are all escaped."""
    return _C1.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
