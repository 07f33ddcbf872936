"""`rag serve`: listens, and prints the lines that a person needs to see."""

from __future__ import annotations

import logging
import resource
import socket
import sys
from functools import partial
from ipaddress import ip_address

from rag.cli import certificate
from rag.cli.server_processes import ServerProcesses, check_shareable
from rag.errors import ConfigError
from rag.process.imports import importing
from rag.settings.tree import Settings
from rag.telemetry import logs

DESCRIPTORS = 8192
"""Files that may be open; a connection is one, and takes some 20 KiB of memory."""
_log = logging.getLogger(__name__)


def serve(settings: Settings, *, host: str, port: int) -> int:
    """Serves until stopped; returns 0 then.

    Raises:
        ConfigError: The port or the data folder is in use, the certificate cannot be used, or it
            would be open to others than this machine.
    """
    logs.configure(settings.log.format)
    if settings.server.processes > 1:
        check_shareable(settings)
    _raise_descriptors()
    if settings.server.tls_cert and settings.server.tls_key:
        certificate.check(settings.server.tls_cert, settings.server.tls_key)
    listener = _listen(host, port)
    scheme = "http" if settings.server.tls_cert is None else "https"
    url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
    if not settings.gateway.enabled:
        _check_reach(listener, insists=settings.server.allow_unauthenticated)
    line = f"Plumbline serves {settings.data_dir} at {url} (docs: {url}/docs)"
    line += "" if settings.gateway.enabled else "; callers need no key (gateway.enabled)"
    print(line, file=sys.stderr)  # noqa: T201
    if settings.server.processes > 1:
        one = partial(_serve_one, settings, host, url)
        ServerProcesses(one, listener, settings.server).run()
    else:
        _serve_one(settings, host, url, listener, waits=None)
    return 0


def _serve_one(
    settings: Settings, host: str, url: str, connections: socket.socket, *, waits: bool | None
) -> None:
    """Serves in this process until stopped; arguments and errors as those of `serve_one`."""
    with importing():  # here: a process that only hands over connections needs none of it
        from rag.cli.one_server import serve_one

    serve_one(settings, host, url, connections, waits=waits)


def _raise_descriptors() -> None:
    """Raises the limit of open files, which most systems set low at first, for connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    if resource.RLIM_INFINITY != soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _check_reach(listener: socket.socket, *, insists: bool) -> None:
    host, port = listener.getsockname()[:2]
    if ip_address(host).is_loopback:
        return
    if not insists:
        listener.close()
        raise ConfigError(
            f"The service would listen on {host}, beyond this machine, and ask for no key. Set"
            " gateway.enabled = true and make a key (`rag keys create`), or listen on 127.0.0.1."
            " Where only a proxy that authenticates can reach it, set"
            " server.allow_unauthenticated = true.",
            code="unauthenticated",
        )
    _log.warning(
        "The service listens on %s, port %d, beyond this machine, and asks nobody who they are:"
        " whoever reaches it may read, add and delete documents. Let only a proxy that"
        " authenticates reach it.",
        host,
        port,
    )


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(socket.SOMAXCONN)  # connections wait from now on, and are not refused
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"Cannot listen on {host}:{port}: {error.strerror}. Choose another with"
            " --port (0: any free one) or --host.",
            code="cannot_listen",
        ) from error
    return listener
