"""JSON in the replies of language models."""

from __future__ import annotations

import re

_JSON = re.compile(r"\{.*\}", re.DOTALL)


def json_in(text: str) -> str:
    """Returns the JSON object in a model's reply, which many models put between fences."""
    found = _JSON.search(text)
    return found[0] if found else text
