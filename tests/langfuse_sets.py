"""A server on a free port of this machine that gives data sets page by page, as Langfuse does."""

from __future__ import annotations

import base64
import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

KEYS = ("pk-1", "sk-hunter2")
_AUTHORIZATION = f"Basic {base64.b64encode(':'.join(KEYS).encode()).decode()}"
_STAMP = "2026-01-21T14:35:42.000Z"


@dataclass
class LangfuseSets:
    """The server's data sets, the requests it received as (name, page), and its answer."""

    url: str
    sets: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    asked: list[tuple[str, int]] = field(default_factory=list)
    status: int = 200
    body: bytes | None = None

    def answer(self, path: str, authorization: str | None) -> tuple[int, Any]:
        parts = urlsplit(path)
        if authorization != _AUTHORIZATION:
            return 401, {"message": "Invalid credentials."}
        assert parts.path == "/api/public/dataset-items"
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        name, page, limit = query["datasetName"], int(query["page"]), int(query["limit"])
        assert limit <= 100
        self.asked.append((name, page))
        if name not in self.sets:
            return 404, {"message": "Dataset not found", "error": "LangfuseNotFoundError"}
        items = self.sets[name]
        meta = {
            "page": page, "limit": limit,
            "totalItems": len(items), "totalPages": -(-len(items) // limit),
        }  # fmt: skip
        listed = [_item(name, item) for item in items[(page - 1) * limit : page * limit]]
        return self.status, {"data": listed, "meta": meta}


def _item(name: str, fields: dict[str, Any]) -> dict[str, Any]:
    return {
        "status": "ACTIVE", "expectedOutput": None, "metadata": None, "sourceTraceId": None,
        "sourceObservationId": None, "datasetId": "set-1", "datasetName": name,
        "createdAt": _STAMP, "updatedAt": _STAMP, **fields,
    }  # fmt: skip


@contextlib.contextmanager
def langfuse_sets() -> Iterator[LangfuseSets]:
    """Serves until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, content = server.answer(self.path, self.headers.get("Authorization"))
            body = server.body or json.dumps(content).encode()
            self.send_response(server.status if server.status != 200 else status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its signature
            """Tests are quiet."""

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listener.daemon_threads = True
    server = LangfuseSets(f"http://127.0.0.1:{listener.server_address[1]}")
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join()
