"""The person who runs a command, for the audit log."""

from __future__ import annotations

import getpass
import os

HERE = "host"
"""The address of commands that are run on this host."""


def operator() -> str:
    """Returns the name that the system has for the user; the number where it has none."""
    try:
        return f"os:{getpass.getuser()}"
    except (KeyError, OSError):  # the errors of Python 3.11, and of later versions
        return f"os:{os.getuid()}"
