"""The folder with the state of a user of the terminal, which only that user may read.

It is where the XDG Base Directory Specification puts it: $XDG_STATE_HOME, or ~/.local/state.
"""

from __future__ import annotations

import os
from pathlib import Path


def state_file(name: str) -> Path:
    """Returns a file of the folder, which may be missing."""
    home = os.environ.get("XDG_STATE_HOME", "")
    base = Path(home) if Path(home).is_absolute() else Path.home() / ".local" / "state"
    return base / "plumbline" / name


def write_private(file: Path, text: str) -> None:
    """Writes a file that no other user may read, and makes its folder.

    Raises:
        OSError: It cannot be written.
    """
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    opened = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(opened, "w", encoding="utf-8") as written:
        os.fchmod(opened, 0o600)  # it may have been there
        written.write(text)
