"""`rag config`."""

from __future__ import annotations

from rag.cli import output
from rag.settings.tree import Settings, printable


def config(settings: Settings, *, as_json: bool) -> int:
    """Prints the settings in force."""
    output.show(printable(settings), output.toml, as_json=as_json)
    return 0
