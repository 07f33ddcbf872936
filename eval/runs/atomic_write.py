"""Files that are whole or not there, whoever else reads and writes the folder."""

from __future__ import annotations

import uuid
from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """In one atomic step."""
    beside = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)
