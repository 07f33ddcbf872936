"""Arguments as text."""

from __future__ import annotations

import os


def text_of(argument: str) -> str:
    """Returns an argument that can be sent and shown: bytes that are not UTF-8 are replaced."""
    return os.fsencode(argument).decode(errors="replace")
