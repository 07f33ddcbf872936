"""A web server on a free port of this machine, in a thread."""

from __future__ import annotations

import contextlib
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Page:
    """An answer; `write`, if given, writes the body instead."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    write: Callable[[BaseHTTPRequestHandler], None] | None = None


@dataclass
class Web:
    """Pages by path, and the requests that came."""

    url: str
    pages: dict[str, Page]
    requests: list[tuple[str, dict[str, str]]]


@contextlib.contextmanager
def web(pages: dict[str, Page], *, tls: ssl.SSLContext | None = None) -> Iterator[Web]:
    """Serves pages; any other path is not found."""
    requests: list[tuple[str, dict[str, str]]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append((self.path, {k.lower(): v for k, v in self.headers.items()}))
            page = pages.get(self.path, Page(b"nothing here", 404))
            self.send_response(page.status)
            if page.write is None:
                self.send_header("Content-Length", str(len(page.body)))
            for name, value in page.headers.items():
                self.send_header(name, value)
            self.end_headers()
            with contextlib.suppress(ConnectionError):  # the client closed the connection
                if page.write is None:
                    self.wfile.write(page.body)
                else:
                    page.write(self)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its signature
            """Tests are quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield Web(f"http://127.0.0.1:{server.server_address[1]}", pages, requests)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
