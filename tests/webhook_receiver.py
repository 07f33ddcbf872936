"""A real receiver of webhooks, which checks signatures with the package of Standard Webhooks."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks import Webhook

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@dataclass(slots=True)
class Receiver:
    """A receiver that keeps the messages in their order; it answers `statuses`, and then 204."""

    port: int = 0
    statuses: list[int] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    events: list[Any] = field(default_factory=list)
    faults: list[Exception] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook/secret-path"

    def take(self, headers: Mapping[str, str], body: bytes) -> int:
        try:
            self.events.append(Webhook(SECRET).verify(body, dict(headers)))
        except Exception as error:  # noqa: BLE001 - the test looks at it
            self.faults.append(error)
            return 401
        self.ids.append(headers["webhook-id"])
        self.bodies.append(body)
        return self.statuses.pop(0) if self.statuses else 204


@contextlib.contextmanager
def receiving(*statuses: int, port: int = 0) -> Iterator[Receiver]:
    receiver = Receiver(statuses=list(statuses))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            assert headers["content-type"] == "application/json"
            self.send_response(receiver.take(headers, body))
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        receiver.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join()
    assert receiver.faults == []


def setting(url: str, **others: Any) -> str:
    """Returns a value of `RAG_WEBHOOKS` with one receiver."""
    return json.dumps({"n8n": {"url": url, "secret": SECRET, "private_addresses": True} | others})
