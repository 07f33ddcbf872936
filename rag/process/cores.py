"""The cores of the machine."""

from __future__ import annotations

import os


def core_count() -> int:
    """Returns the number of cores that this process may use.

    macOS and Windows do not tell: there it is the number of all cores.
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
