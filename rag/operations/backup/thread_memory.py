"""Memory that each thread uses again."""

from __future__ import annotations

import threading


class ThreadMemory(threading.local):
    """A buffer for each thread: new memory for each piece costs a page fault for every 4 KiB."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def take(self, size: int) -> memoryview:
        """Returns so many bytes; the thread's next call returns the same ones again."""
        if len(self._buffer) < size:
            self._buffer = bytearray(size)
        return memoryview(self._buffer)[:size]
