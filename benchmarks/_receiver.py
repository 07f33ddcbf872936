"""`python -m benchmarks._receiver`: takes what is sent to it and says yes, as Langfuse would.

It prints its URL, and decodes nothing: a real one works on a machine of its own.
"""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    """Reads and answers."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Takes a batch of spans or scores."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its signature
        """It is quiet."""


def main() -> None:
    """Serves until it is ended."""
    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listener.daemon_threads = True
    print(f"http://127.0.0.1:{listener.server_address[1]}", flush=True)
    listener.serve_forever()


if __name__ == "__main__":
    main()
