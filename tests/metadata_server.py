"""The metadata service of a virtual machine, as three clouds document theirs, on loopback."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

AWS = "/latest/meta-data/spot/instance-action"
GOOGLE = "/computeMetadata/v1/instance/preempted"
AZURE = "/metadata/scheduledevents?api-version=2020-07-01"
MACHINE = "rag_3"
Answer = tuple[int, str]


@dataclass
class Metadata:
    """The answers of the service; `requests` has the method and the path of each request.

    Attributes:
        noticed: of AWS and Google, if the machine is about to be taken away.
        events: Azure's.
        token: AWS's that is valid.
        pages: what other paths answer.
        busy: paths whose next request is refused.
    """

    url: str = ""
    noticed: bool = False
    events: list[dict[str, object]] = field(default_factory=list)
    token: str = "token-1"
    pages: dict[str, Answer] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    busy: set[str] = field(default_factory=set)

    def answer(self, method: str, path: str, headers: dict[str, str]) -> Answer:
        self.requests.append(f"{method} {path}")
        if path in self.busy:
            self.busy.remove(path)
            return 500, "Too many requests.\nTry again."
        if path.startswith("/latest/"):
            return self._aws(method, path, headers)
        if path == GOOGLE:
            return self._google(headers)
        if path.startswith("/metadata/"):
            return self._azure(path, headers)
        return self.pages.get(path, (404, "Not Found"))

    def _aws(self, method: str, path: str, headers: dict[str, str]) -> Answer:
        if (method, path) == ("PUT", "/latest/api/token"):
            seconds = headers.get("x-aws-ec2-metadata-token-ttl-seconds", "")
            fits = seconds.isdigit() and 1 <= int(seconds) <= 21600
            return (200, self.token) if fits else (400, "Bad Request")
        if headers.get("x-aws-ec2-metadata-token") != self.token:
            return 401, "Unauthorized"
        action = {"action": "terminate", "time": "2026-11-30T12:00:00Z"}
        return (200, json.dumps(action)) if self.noticed and path == AWS else (404, "Not Found")

    def _google(self, headers: dict[str, str]) -> Answer:
        if headers.get("metadata-flavor") != "Google":
            return 403, "Missing Metadata-Flavor:Google header."
        return 200, "TRUE" if self.noticed else "FALSE"

    def _azure(self, path: str, headers: dict[str, str]) -> Answer:
        if headers.get("metadata") != "true":
            return 400, "Bad request. Required metadata header not specified"
        if path.startswith("/metadata/instance/compute/name?"):
            return 200, MACHINE
        return 200, json.dumps({"DocumentIncarnation": 1, "Events": self.events})


@contextlib.contextmanager
def metadata_server() -> Iterator[Metadata]:
    metadata = Metadata()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, text = metadata.answer(self.command, self.path, headers)
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", text)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def do_PUT(self) -> None:
            self.do_GET()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its signature
            """Tests are quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    metadata.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield metadata
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
