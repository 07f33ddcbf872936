"""`rag serve`: runs uvicorn on one loop, and prints the lines that a person needs to see."""

from __future__ import annotations

import logging
import resource
import socket
import sys
from ipaddress import ip_address

import uvicorn

from rag.api.app import create_app
from rag.api.connections import BoundedProtocol
from rag.errors import ConfigError
from rag.settings.tree import Settings
from rag.telemetry import logs

DESCRIPTORS = 8192
"""Files that may be open; a connection is one, and takes some 20 KiB of memory."""
_log = logging.getLogger(__name__)


def serve(settings: Settings, *, host: str, port: int) -> int:
    """Serves until stopped; returns 0 then.

    Raises:
        ConfigError: The port is in use, or the data folder is.
    """
    logs.configure(settings.log.format)
    _raise_descriptors()
    listener = _listen(host, port)
    url = f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
    _warn_if_open(listener)
    app = create_app(
        settings, url=url, host=host, on_failure=lambda: setattr(server, "should_exit", True)
    )
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            http=BoundedProtocol,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=5,
        )
    )
    print(f"Plumbline serves {settings.data_dir} at {url} (docs: {url}/docs)", file=sys.stderr)  # noqa: T201
    server.run(sockets=[listener])
    if failure := app.state.running.failure:
        raise failure
    return 0


def _raise_descriptors() -> None:
    """Raises the limit of open files, which most systems set low at first, for connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    if resource.RLIM_INFINITY != soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _warn_if_open(listener: socket.socket) -> None:
    host, port = listener.getsockname()[:2]
    if not ip_address(host).is_loopback:
        _log.warning(
            "The service listens on %s, port %d, beyond this machine, and asks nobody who they are:"
            " whoever reaches it may read, add and delete documents. Listen on 127.0.0.1, or let"
            " only a proxy that authenticates reach it.",
            host,
            port,
        )


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"Cannot listen on {host}:{port}: {error.strerror}. Choose another with"
            " --port (0: any free one) or --host.",
            code="cannot_listen",
        ) from error
    return listener
