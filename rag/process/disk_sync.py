"""Has the kernel write what it holds of a disk."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)
_BEGIN = 2
"""`SYNC_FILE_RANGE_WRITE` of Linux: begins to write, and does not wait."""
_STEP = 64 << 10
"""Bytes of one write. For larger ones Linux looks for pages of megabytes; where memory is
fragmented, that takes several times the CPU time of the copy itself."""


def write_at(file: int, data: bytes | memoryview, at: int = 0) -> None:
    """Writes data at an offset of an open file, and has the kernel begin to bring it to the disk.

    A later `sync_disk` waits less: the disk writes while the next data is prepared.

    Raises:
        OSError: The disk is full, or fails.
    """
    left, place = memoryview(data), at
    while left:
        written = os.pwrite(file, left[:_STEP], place)
        left, place = left[written:], place + written
    if hasattr(_LIBC, "sync_file_range"):  # only a hint: an error is one of `sync_disk`, too
        _LIBC.sync_file_range(file, ctypes.c_int64(at), ctypes.c_int64(place - at), _BEGIN)


def sync_disk(folder: Path) -> None:
    """Returns once all files on the disk of a folder are safe from a power cut.

    One call is cheaper than an `fsync` for each of many small files. Linux's `syncfs` waits for
    that disk alone; elsewhere all disks are written.

    Raises:
        OSError: Something could not be written.
    """
    if not hasattr(_LIBC, "syncfs"):
        os.sync()
        return
    opened = os.open(folder, os.O_RDONLY)
    try:
        if _LIBC.syncfs(opened) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(folder))
    finally:
        os.close(opened)
