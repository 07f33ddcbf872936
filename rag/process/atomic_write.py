"""Writes files atomically: other readers and writers of the folder see a whole file or none."""

from __future__ import annotations

import uuid
from pathlib import Path


def write_atomically(path: Path, text: str) -> None:
    """Writes a file in one atomic step; if it fails, the file is as it was before.

    Raises:
        OSError: It cannot be written.
    """
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
