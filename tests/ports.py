"""Free ports of the loopback interface."""

from __future__ import annotations

import itertools
import os
import random
import socket

FIRST, EACH = 16_000, 1_000
"""Below the ports that systems give to clients, from 32,768 on: while a server is away, no
connection takes its port. Each process of pytest-xdist has ports of its own."""


def free_port() -> int:
    """Returns a port that nothing listens at, another one with each call."""
    for port in _PORTS:
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return port
    raise AssertionError("no port is free")


def _ports() -> itertools.cycle[int]:
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw15").removeprefix("gw"))
    first, start = FIRST + EACH * worker, random.randrange(EACH)
    return itertools.cycle(first + (start + n) % EACH for n in range(EACH))


_PORTS = _ports()
