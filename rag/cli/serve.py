"""`rag serve`: runs uvicorn on one loop, and prints the lines that a person needs to see."""

from __future__ import annotations

import logging
import resource
import socket
import ssl
import sys
from functools import partial
from ipaddress import ip_address

import uvicorn
from fastapi import FastAPI

from rag.api.app import create_app
from rag.api.connections import BoundedProtocol
from rag.build.waiting import drain_seconds
from rag.cli.draining_server import DrainingServer
from rag.cli.handed_server import HandedServer
from rag.cli.server_processes import ServerProcesses, check_shareable
from rag.errors import ConfigError
from rag.privacy.redaction import words
from rag.settings.operations import ServerSettings
from rag.settings.tree import Settings
from rag.telemetry import logs

CUT_SECONDS = 5
"""Seconds for what is still under way when the time for it is over, or after a second signal."""
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
    _check_certificate(settings.server)
    listener = _listen(host, port)
    scheme = "http" if settings.server.tls_cert is None else "https"
    url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
    if not settings.gateway.enabled:
        _check_reach(listener, insists=settings.server.allow_unauthenticated)
    line = f"Plumbline serves {settings.data_dir} at {url} (docs: {url}/docs)"
    line += "" if settings.gateway.enabled else "; callers need no key (gateway.enabled)"
    print(line, file=sys.stderr)  # noqa: T201
    one = partial(_serve_one, settings, host, url)
    if settings.server.processes > 1:
        ServerProcesses(partial(one, HandedServer), listener, settings.server.processes).run()
    else:
        one(DrainingServer, listener)
    return 0


def _serve_one(
    settings: Settings,
    host: str,
    url: str,
    kind: type[DrainingServer],
    connections: socket.socket,
    *,
    waits: bool = False,
) -> None:
    """Serves in this process until stopped.

    Args:
        settings: those of the service.
        host: the address that is listened on.
        url: its own.
        kind: the class of the server.
        connections: a listener, or the line of a `HandedServer`.
        waits: it takes none before its models are loaded, because other processes do.

    Raises:
        RagError: It cannot start.
    """
    logs.configure(settings.log.format)
    app = create_app(
        settings,
        url=url,
        host=host,
        waits=waits,
        on_failure=lambda: setattr(server, "should_exit", True),
    )
    server = kind(
        _config(app, settings.server),
        running=app.state.running,
        seconds=drain_seconds(settings),
        notice=settings.server.stop_notice,
    )
    server.run(sockets=[connections])
    if failure := app.state.running.failure:
        raise failure


def _config(app: FastAPI, settings: ServerSettings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=BoundedProtocol,
        log_config=None,
        access_log=False,
        # Both: uvicorn would believe 127.0.0.1 by default, or FORWARDED_ALLOW_IPS.
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies),
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
        timeout_graceful_shutdown=CUT_SECONDS,
    )


def _raise_descriptors() -> None:
    """Raises the limit of open files, which most systems set low at first, for connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    if resource.RLIM_INFINITY != soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _check_certificate(server: ServerSettings) -> None:
    if server.tls_cert is None:
        return
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        # Without a function, OpenSSL would ask for the passphrase of a key on the terminal.
        context.load_cert_chain(server.tls_cert, server.tls_key, password=lambda: "")
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise ConfigError(
            f"The certificate server.tls_cert ({server.tls_cert}) cannot be used with the key"
            f" server.tls_key ({server.tls_key}): {words(error)}. Both are PEM files, and the key"
            " has no passphrase.",
            code="tls",
        ) from None


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
