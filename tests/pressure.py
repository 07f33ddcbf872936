"""How a server fares while something hostile happens to it: its health checks and its memory."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httpx
import psutil

from tests.servers import PATIENCE, Server

MIB = 1 << 20
HEALTHY_SECONDS = 0.3
"""A health check takes no longer, whatever else happens."""
KEPT_BYTES = 64 * MIB
"""A process may keep so much of what it took for a request that has ended."""
_BETWEEN = 0.05
"""Seconds between two looks at the memory: each reads all of /proc."""
_SETTLED = 20.0
"""Seconds in which memory is given back: an allocator does so when it next has to do."""


@dataclass(slots=True)
class Seen:
    """Measurements of a server during a block: bytes by process id, seconds of each check."""

    before: dict[int, int]
    health: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    after: dict[int, int] = field(default_factory=dict)
    peak: int = 0

    @property
    def slowest(self) -> float:
        return max(self.health)

    @property
    def kept(self) -> int:
        """The most that one process has grown; one that was started meanwhile is new."""
        return max((self.after[pid] - size for pid, size in self._common()), default=0)

    @property
    def grown(self) -> int:
        """The most that all processes together have grown meanwhile."""
        return self.peak - sum(self.before.values())

    def _common(self) -> list[tuple[int, int]]:
        return [(pid, size) for pid, size in self.before.items() if pid in self.after]

    def check(self, *, seconds: float = HEALTHY_SECONDS, kept: int = KEPT_BYTES) -> None:
        """It answered its health checks in time, and holds no more memory than before."""
        assert not self.failed, self.failed[:5]
        assert self.slowest <= seconds, f"a health check took {self.slowest:.3f} s"
        assert self.kept <= kept, f"a process has grown by {self.kept / MIB:.0f} MiB"


@contextlib.contextmanager
def watched(server: Server) -> Iterator[Seen]:
    """Asks `/healthz` over and over while the block runs, and measures the server's processes.

    After the block `Seen` is complete, and `Seen.check` says whether the server fared well.
    """
    seen = Seen(before=resident(server))
    done = threading.Event()
    measuring = threading.Thread(target=_measure, args=(server, seen, done))
    with _asking(server.url) as (asking, first):
        measuring.start()
        try:
            yield seen
        finally:
            done.set()
            measuring.join()
            lines = [first, *asking.communicate()[0].splitlines()]
    for status, seconds in (line.split() for line in lines):
        if status == str(httpx.codes.OK):
            seen.health.append(float(seconds))
        else:
            seen.failed.append(status)
    deadline = time.monotonic() + _SETTLED
    while True:
        seen.after = resident(server)
        if seen.kept <= KEPT_BYTES or time.monotonic() > deadline:
            return
        time.sleep(0.2)


@contextlib.contextmanager
def _asking(url: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process that asks for a server's health, and the first line that it wrote."""
    where = urlsplit(url)
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.health", str(where.hostname), str(where.port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        yield process, process.stdout.readline()


def resident(server: Server) -> dict[int, int]:
    """Bytes in memory of a server and of each of its children, by process id."""
    sizes = {}
    with contextlib.suppress(psutil.NoSuchProcess):
        top = psutil.Process(server.process.pid)
        for process in (top, *top.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                sizes[process.pid] = process.memory_info().rss
    return sizes


def _measure(server: Server, seen: Seen, done: threading.Event) -> None:
    while not done.is_set():
        seen.peak = max(seen.peak, sum(resident(server).values()))
        done.wait(_BETWEEN)


def connected(server: Server) -> socket.socket:
    """A connection whose every byte is the caller's own."""
    where = urlsplit(server.url)
    return socket.create_connection((where.hostname, where.port), timeout=PATIENCE)


def replied(client: socket.socket) -> bytes:
    """All that a server says until it hangs up."""
    reply = b""
    with contextlib.suppress(ConnectionResetError):
        while part := client.recv(MIB):
            reply += part
    return reply
