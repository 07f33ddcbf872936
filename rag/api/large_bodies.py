"""Checks large JSON bodies in a thread: FastAPI does it on the event loop, and all others wait."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.responses import Response

from ingest.readers.media_types import essence

Handler = Callable[[Request], Coroutine[Any, Any, Response]]
LARGE_BYTES = 1 << 16
"""Bytes above which a thread costs less than blocking the event loop."""


class OffLoopRoute(APIRoute):
    """A route whose large bodies are read and checked in a thread."""

    def get_route_handler(self) -> Handler:
        """Returns FastAPI's handler, with large bodies checked before it is called."""
        handle = super().get_route_handler()
        if self.body_field is None:
            return handle
        validate = self.body_field.validate

        def check(body: bytes) -> Any:
            checked, faults = validate(json.loads(body), loc=("body",))
            if faults:
                raise RequestValidationError(faults)
            return checked

        async def handle_checked(request: Request) -> Response:
            body = await request.body()
            if len(body) <= LARGE_BYTES or not _is_json(request):
                return await handle(request)
            try:
                checked = await asyncio.to_thread(check, body)
            except RequestValidationError:
                raise
            except (ValueError, RecursionError):  # not JSON: the handler reports it
                return await handle(request)
            return await handle(_Checked(request, checked))

        return handle_checked


class _Checked(Request):
    """A request whose JSON is already a model; FastAPI accepts it unchanged."""

    def __init__(self, request: Request, model: Any) -> None:
        super().__init__(request.scope, request.receive)
        self._model = model

    async def body(self) -> bytes:
        """Returns a placeholder: FastAPI takes an empty body for none."""
        return b"{}"

    async def json(self) -> Any:
        """Returns the model."""
        return self._model


def _is_json(request: Request) -> bool:
    kind = essence(request.headers.get("content-type", ""))
    return kind == "application/json" or (
        kind.startswith("application/") and kind.endswith("+json")
    )
