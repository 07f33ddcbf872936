"""A lock that processes take in turn, each for a moment."""

from __future__ import annotations

import contextlib
import fcntl
import time
from collections.abc import Iterator
from pathlib import Path

_PAUSE = 0.01


@contextlib.contextmanager
def locked(file: Path, *, seconds: float) -> Iterator[None]:
    """Holds the lock of a file until the end of the block; the kernel releases a dead process's.

    Raises:
        TimeoutError: Others held it for so many seconds.
        OSError: The file cannot be opened.
    """
    deadline = time.monotonic() + seconds
    with file.open("a") as opened:
        while True:
            try:
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{file} was locked for {seconds:g} s") from None
                time.sleep(_PAUSE)
        yield
