"""A server on a free port with OpenAI's chat completions, correct or faulty."""

from __future__ import annotations

import contextlib
import json
import re
import select
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Json = dict[str, Any]
Script = Callable[[BaseHTTPRequestHandler], None]
PATIENCE = 30.0


@dataclass
class ModelServer:
    """The server's script for requests, the requests received, and events of its clients.

    `pages` are the bodies of what is fetched from it, by path; others are not found.
    """

    url: str
    script: Script
    requests: list[Json] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    begun: threading.Event = field(default_factory=threading.Event)
    hung_up: threading.Event = field(default_factory=threading.Event)
    closing: threading.Event = field(default_factory=threading.Event)
    stop: Callable[[], None] = lambda: None
    pages: dict[str, str] = field(
        default_factory=lambda: {"/health": "", "/v1/models": '{"data": [{"id": "tiny"}]}'}
    )

    @property
    def base_url(self) -> str:
        return f"{self.url}/v1"


class Listener(ThreadingHTTPServer):
    request_queue_size = 256  # clients may come all at once


@contextlib.contextmanager
def model_server(script: Script, *, at: int = 0) -> Iterator[ModelServer]:
    """Serves until the block ends, even if a request hangs. `at` is the port; 0: a free one."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.asked = json.loads(body)
            server.requests.append(self.asked)
            server.headers.append({k.lower(): v for k, v in self.headers.items()})
            self.server_state = server
            self.close_connection = True
            try:
                server.script(self)
            except ConnectionError:
                server.hung_up.set()

        def do_GET(self) -> None:
            page = server.pages.get(self.path)
            body = (page or "").encode()
            self.send_response(404 if page is None else 200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its signature
            """Tests are quiet."""

    listener = Listener(("127.0.0.1", at), Handler)
    listener.daemon_threads = True
    server = ModelServer(f"http://127.0.0.1:{listener.server_address[1]}", script)
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()

    def stop() -> None:
        server.closing.set()
        listener.shutdown()
        listener.server_close()
        thread.join()

    server.stop = stop
    try:
        yield server
    finally:
        stop()


def chunk(text: str | None = None, *, end: str | None = None, usage: Json | None = None) -> bytes:
    """One event of a stream."""
    delta = {} if text is None else {"content": text}
    choices = [] if usage else [{"index": 0, "delta": delta, "finish_reason": end}]
    event = {
        "id": "c", "object": "chat.completion.chunk", "created": 1, "model": "tiny",
        "choices": choices, "usage": usage,
    }  # fmt: skip
    return b"data: " + json.dumps(event).encode() + b"\n\n"


USAGE = {"prompt_tokens": 70, "completion_tokens": 7, "total_tokens": 77}


def says(*pieces: str, end: str = "stop") -> Script:
    """Returns a script that streams a whole answer in these pieces."""
    events = [chunk(piece) for piece in pieces] + [chunk(end=end), chunk(usage=USAGE)]
    return sends(*events, b"data: [DONE]\n\n")


def sends(*events: bytes, then: Script | None = None) -> Script:
    """Returns a script that streams these events, then calls `then` or else ends the stream."""

    def script(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for event in events:
            write(handler, event)
        if then:
            then(handler)
        else:
            handler.wfile.write(b"0\r\n\r\n")

    return script


def slowly(script: Script, *, seconds: float) -> Script:
    """Returns a script that pauses and then runs this one, unless its client hangs up."""

    def late(handler: BaseHTTPRequestHandler) -> None:
        hung_up, _, _ = select.select([handler.connection], [], [], seconds)
        if hung_up:
            raise ConnectionError
        script(handler)

    return late


def write(handler: BaseHTTPRequestHandler, event: bytes) -> None:
    handler.wfile.write(f"{len(event):x}\r\n".encode() + event + b"\r\n")
    handler.wfile.flush()


def cut(handler: BaseHTTPRequestHandler) -> None:
    """Ends the connection before the answer is complete."""
    handler.wfile.flush()


def goes_on(handler: BaseHTTPRequestHandler) -> None:
    """Writes until either side hangs up."""
    state: ModelServer = handler.server_state  # type: ignore[attr-defined]
    state.begun.set()
    while not state.closing.wait(0.01):
        write(handler, chunk(" word"))


def silent(handler: BaseHTTPRequestHandler) -> None:
    """Sends nothing and does not end until the server closes."""
    state: ModelServer = handler.server_state  # type: ignore[attr-defined]
    state.begun.set()
    state.closing.wait(PATIENCE)


def refuses(status: int, message: str = "no", **error: Any) -> Script:
    """Returns a script that answers with an error in OpenAI's format."""

    def script(handler: BaseHTTPRequestHandler) -> None:
        body = json.dumps({"error": {"message": message, "type": "t", **error}}).encode()
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return script


def quotes(passage: int = 1) -> Script:
    """Answers with the first sentence of a passage of the prompt, and its marker."""

    def script(handler: BaseHTTPRequestHandler) -> None:
        state: ModelServer = handler.server_state  # type: ignore[attr-defined]
        user = state.requests[-1]["messages"][-1]["content"]
        found = re.search(rf'<passage n="{passage}">\n.*\n(.+?\.)', user)
        sentence = found[1] if found else "There is no such passage."
        says(*pieces_of(f"{sentence} [{passage}]"))(handler)

    return script


def pieces_of(text: str, size: int = 5) -> Sequence[str]:
    return [text[i : i + size] for i in range(0, len(text), size)]
