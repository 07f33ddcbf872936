"""A real RabbitMQ for tests, where one is installed (Debian: `apt-get install rabbitmq-server`)."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ports import free_port
from tests.servers import PATIENCE

BINARY = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")


class RabbitServer:
    """A server on a free loopback port; it stores its data in its folder."""

    def __init__(self, folder: Path) -> None:
        if not BINARY.exists():
            pytest.skip("RabbitMQ is not installed")
        folder.mkdir()
        self.port = free_port()
        self._environment = os.environ | {
            "HOME": str(folder),  # its cookie
            "RABBITMQ_NODENAME": f"plumbline{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_MNESIA_BASE": str(folder / "held"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(free_port()),  # Erlang's directory of nodes, of this test alone
        }
        self.start()

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    def start(self) -> None:
        """Starts the server, which accepts connections some seconds later."""
        self._process = subprocess.Popen(
            [str(BINARY)],
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def kill(self) -> None:
        self._process.terminate()  # the process is a script: it ends the server only on SIGTERM
        self._process.wait(PATIENCE)

    def forget(self) -> None:
        """Ends Erlang's port mapper, which outlives the server."""
        subprocess.run(["epmd", "-kill"], env=self._environment, check=True, capture_output=True)


@contextlib.contextmanager
def rabbit_server(folder: Path) -> Iterator[RabbitServer]:
    server = RabbitServer(folder)
    try:
        yield server
    finally:
        server.kill()
        server.forget()
