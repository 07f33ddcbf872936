"""Text of others within the tags of a prompt."""

from __future__ import annotations

import re


def tag_pattern(*names: str) -> re.Pattern[str]:
    """Returns the pattern of the `<` that begins or ends one of these tags."""
    return re.compile(rf"<(?=\s*/?\s*(?:{'|'.join(names)})\b)", re.IGNORECASE)


def escape_tags(text: str, tags: re.Pattern[str]) -> str:
    """Returns the text, changed so that it can neither close one of the tags nor open another."""
    return tags.sub("&lt;", text)
