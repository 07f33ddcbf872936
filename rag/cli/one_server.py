"""Runs uvicorn on one loop."""

from __future__ import annotations

import socket
from contextlib import nullcontext

import uvicorn
from fastapi import FastAPI

from rag.api.app import create_app
from rag.api.connections import BoundedProtocol
from rag.api.forwarded import behind_proxies
from rag.build.waiting import drain_seconds
from rag.cli.draining_server import DrainingServer
from rag.cli.handed_server import HandedServer
from rag.operations.notices.looking import watching
from rag.settings.operations import ServerSettings
from rag.settings.tree import Settings
from rag.telemetry import logs

CUT_SECONDS = 5
"""Seconds for what is still under way when the time for it is over, or after a second signal."""


def serve_one(
    settings: Settings, host: str, url: str, connections: socket.socket, *, waits: bool | None
) -> None:
    """Serves in this process until stopped.

    Args:
        settings: those of the service.
        host: the address that is listened on.
        url: its own.
        connections: a listener; in one of several processes the line of a `HandedServer`.
        waits: of one of several processes: True if it takes no connections before its models are
            loaded, because others do; None: it is the only one, and looks for notices itself.

    Raises:
        RagError: It cannot start.
    """
    logs.configure(settings.log.format)
    app = create_app(
        settings,
        url=url,
        host=host,
        waits=bool(waits),
        on_failure=lambda: setattr(server, "should_exit", True),
    )
    kind = DrainingServer if waits is None else HandedServer
    server = kind(
        _config(app, settings.server),
        running=app.state.running,
        seconds=drain_seconds(settings),
    )
    with watching(settings.server, server.take_notice) if waits is None else nullcontext():
        server.run(sockets=[connections])
    if failure := app.state.running.failure:
        raise failure


def _config(app: FastAPI, settings: ServerSettings) -> uvicorn.Config:
    return uvicorn.Config(
        behind_proxies(app, settings),
        http=BoundedProtocol,
        log_config=None,
        access_log=False,
        proxy_headers=False,  # uvicorn would believe 127.0.0.1, or FORWARDED_ALLOW_IPS
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
        timeout_graceful_shutdown=CUT_SECONDS,
    )
