"""A server's health checks and memory under hostile load."""

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
"""Seconds that a health check may take at most."""
KEPT_BYTES = 64 * MIB
"""The most memory that a process may keep after a request has ended."""
_BETWEEN = 0.05
"""Seconds between two measurements of memory: each reads all of /proc."""
_SETTLED = 20.0
"""Seconds for memory to be released: an allocator releases it at its next use."""


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
        """The most bytes by which one process has grown; processes started since are left out."""
        return max((self.after[pid] - size for pid, size in self._common()), default=0)

    @property
    def grown(self) -> int:
        """The most bytes by which all processes together have grown during the block."""
        return self.peak - sum(self.before.values())

    def _common(self) -> list[tuple[int, int]]:
        return [(pid, size) for pid, size in self.before.items() if pid in self.after]

    def check(self, *, seconds: float = HEALTHY_SECONDS, kept: int = KEPT_BYTES) -> None:
        """Checks that all health checks succeeded in time and no process kept more than `kept`."""
        assert not self.failed, self.failed[:5]
        assert self.slowest <= seconds, f"a health check took {self.slowest:.3f} s"
        assert self.kept <= kept, f"a process has grown by {self.kept / MIB:.0f} MiB"


@contextlib.contextmanager
def watched(server: Server) -> Iterator[Seen]:
    """Requests `/healthz` repeatedly during the block and measures the server's processes.

    After the block `Seen` is complete; `Seen.check` checks it.
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
    """Runs a process that checks a server's health; yields it and its first line."""
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
    """Opens a raw connection to the server."""
    where = urlsplit(server.url)
    return socket.create_connection((where.hostname, where.port), timeout=PATIENCE)


def replied(client: socket.socket) -> bytes:
    """Returns all bytes that a server sends until it closes the connection."""
    reply = b""
    with contextlib.suppress(ConnectionResetError):
        while part := client.recv(MIB):
            reply += part
    return reply
