"""A server on a free port of this machine that takes traces over OTLP, and scores, as Langfuse."""

from __future__ import annotations

import contextlib
import gzip
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.servers import wait_for


@dataclass
class Received:
    """A received span."""

    name: str
    trace_id: str
    id: str
    parent: str
    attributes: dict[str, Any]
    start: int
    end: int
    error: str


@dataclass(frozen=True)
class Response:
    """An HTTP response."""

    status: int = 200
    media_type: str = "application/x-protobuf"
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class OtlpServer:
    """The spans and scores that the server received, and its answers."""

    url: str
    spans: list[Received] = field(default_factory=list)
    paths: set[str] = field(default_factory=set)
    authorization: set[str | None] = field(default_factory=set)
    bodies: list[bytes] = field(default_factory=list)
    seconds: float = 0.0
    answer: Response = Response()
    """The answer to spans; spans are kept only if it is a 2xx."""
    scores_answer: Response = Response(202, "application/json", b'{"message": "Accepted"}')
    scores: list[dict[str, Any]] = field(default_factory=list)

    def scores_of(self, trace_id: str, *names: str) -> dict[str, dict[str, Any]]:
        """Waits for these scores of a trace; returns the last score of each name."""

        def find() -> dict[str, dict[str, Any]] | None:
            found = {s["name"]: s for s in list(self.scores) if s["traceId"] == trace_id}
            return found if found.keys() >= set(names) else None

        return wait_for(find)

    def trace(self, trace_id: str, *ended: str) -> dict[str, Received]:
        """Returns the spans of a trace by name, as `spans_of` does; names must be unique."""
        return {span.name: span for span in self.spans_of(trace_id, *ended)}

    def spans_of(self, trace_id: str, *ended: str) -> list[Received]:
        """Waits for spans of these names, by default `query`; returns all spans of the trace."""

        def find() -> list[Received] | None:
            found = [span for span in list(self.spans) if span.trace_id == trace_id]
            missing = Counter(ended or ["query"]) - Counter(span.name for span in found)
            return None if missing else found

        return wait_for(find)


@contextlib.contextmanager
def otlp_server() -> Iterator[OtlpServer]:
    """Serves until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            time.sleep(server.seconds)
            server.paths.add(self.path)
            server.authorization.add(self.headers.get("Authorization"))
            server.bodies.append(body)
            if self.path == "/api/public/scores":
                server.scores += json.loads(body)
                self._answer(server.scores_answer)
            else:
                if server.answer.status < 300:
                    server.spans += list(_spans(ExportTraceServiceRequest.FromString(body)))
                self._answer(server.answer)

        def do_GET(self) -> None:
            """Answers a client that follows a redirect with a list, as Langfuse does."""
            self._answer(Response(200, "application/json", b'{"data": [], "meta": {}}'))

        def _answer(self, answer: Response) -> None:
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Type", answer.media_type)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its signature
            """Tests are quiet."""

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listener.daemon_threads = True
    server = OtlpServer(f"http://127.0.0.1:{listener.server_address[1]}")
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join()


def _spans(request: Any) -> Iterator[Received]:
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield Received(
                    name=span.name,
                    trace_id=span.trace_id.hex(),
                    id=span.span_id.hex(),
                    parent=span.parent_span_id.hex(),
                    attributes={a.key: _value(a.value) for a in span.attributes},
                    start=span.start_time_unix_nano,
                    end=span.end_time_unix_nano,
                    error=span.status.message,
                )


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    return getattr(value, kind)
