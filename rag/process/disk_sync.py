"""Has the kernel write what it holds of a disk."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path


def sync_disk(folder: Path) -> None:
    """Returns once all files on the disk of a folder are safe from a power cut.

    One call is cheaper than an `fsync` for each of many small files. Linux's `syncfs` waits for
    that disk alone; elsewhere all disks are written.

    Raises:
        OSError: Something could not be written.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "syncfs"):
        os.sync()
        return
    opened = os.open(folder, os.O_RDONLY)
    try:
        if libc.syncfs(opened) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(folder))
    finally:
        os.close(opened)
