"""Errors as RFC 9457 problem details."""

from __future__ import annotations

import logging
import math
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Scope

from rag.api.clients import problem_forms
from rag.api.openai import errors
from rag.errors import ConfigError, QuotaExceededError, RagError, RateLimitedError
from rag.gateway.limit_fields import retry_fields
from rag.text.validation_errors import first, shortened

DETAIL_CHARS = 4000
"""Most characters of an error's detail, which may contain the caller's input."""
_FAULT_CHARS = 300
CRASHED = HTTPStatus.INTERNAL_SERVER_ERROR.value
_log = logging.getLogger(__name__)


def problem_json(error: RagError, request_id: str) -> dict[str, Any]:
    """Returns the body for one of our own errors."""
    if error.detail:
        # The message is left out: a server may repeat the question in it.
        _log.warning("Request %s failed: %s. %s", request_id, error.code, error.detail)
    # Settings that do not fit a collection are fixed on the server; the request gets a conflict.
    status = HTTPStatus.CONFLICT if isinstance(error, ConfigError) else HTTPStatus(error.status)
    return _body(status, error.code, str(error), request_id)


def crash_json(error: Exception, request_id: str) -> dict[str, Any]:
    """Returns the body for an unexpected error; its traceback goes to the log."""
    _log.error("Request %s crashed", request_id, exc_info=error)
    detail = "Something went wrong that should not have; the server's log has the trace."
    return _body(HTTPStatus.INTERNAL_SERVER_ERROR, "internal", detail, request_id)


def amid_stream(scope: Scope, error: Exception) -> dict[str, Any]:
    """Returns the body for an error after the status was sent; notes its code for the metrics."""
    id_ = scope.get("request_id", "")
    body = problem_json(error, id_) if isinstance(error, RagError) else crash_json(error, id_)
    scope["problem"] = body["code"]
    return body


def install(app: FastAPI) -> None:
    """Turns every error that leaves a route into a problem."""
    app.add_exception_handler(RagError, _on_rag_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(Exception, _on_crash)


def response(
    scope: Scope,
    body: dict[str, Any],
    headers: dict[str, str] | None = None,
    *,
    param: str | None = None,
) -> Response:
    """Returns a problem as a response for an ASGI `scope`; `param` is the field at fault."""
    scope["problem"] = body["code"]
    if problem_forms.applies_to(scope["path"]):
        return Response(
            to_json(problem_forms.error_json(scope["path"], body)),
            status_code=problem_forms.status_of(scope["path"], body),
            media_type="application/json",
            headers=headers,
        )
    if errors.applies_to(scope["path"]):
        return Response(
            to_json(errors.error_json(body, param)),
            status_code=errors.status_of(body),
            media_type="application/json",
            headers=headers,
        )
    return Response(
        to_json(body),
        status_code=body["status"],
        media_type="application/problem+json",
        headers=headers,
    )


def request_id(request: Request) -> str:
    """Returns the id that `RequestId` gave this request."""
    return str(request.scope.get("request_id", ""))


def retry_after(error: RagError) -> dict[str, str]:
    """Returns headers with the seconds until a retry may succeed; empty for other errors.

    Those of a limit have the limit, too, and say so if waiting does not help.
    """
    if isinstance(error, RateLimitedError):
        return {**error.fields, **retry_fields(error.retry_after)}
    if error.retry_after is None:
        return {}
    found = {"Retry-After": str(max(1, math.ceil(error.retry_after)))}
    if isinstance(error, QuotaExceededError):  # a client that retries would wait for hours
        found["x-should-retry"] = "false"
    return found


async def _on_rag_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RagError)  # noqa: S101 - registered for it
    return response(request.scope, problem_json(error, request_id(request)), retry_after(error))


async def _on_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for it
    faults = error.errors()
    detail = first(map(_sentence, faults), len(faults), between=" ")
    code = "malformed_json" if faults[0]["type"] == "json_invalid" else "invalid_input"
    body = _body(HTTPStatus.UNPROCESSABLE_ENTITY, code, detail, request_id(request))
    param = _place(faults[0]) if code == "invalid_input" else None
    return response(request.scope, body, param=param or None)


async def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for it
    if isinstance(error.__cause__, RagError):  # from a body that was read past its limit
        return await _on_rag_error(request, error.__cause__)
    if isinstance(error.__cause__, ValueError | RecursionError):  # from a body that is not JSON
        detail = f"The body is not valid JSON: {error.__cause__}."
        status = HTTPStatus.UNPROCESSABLE_ENTITY
        body = _body(status, "malformed_json", detail, request_id(request))
        return response(request.scope, body)
    status = HTTPStatus(error.status_code)
    code = {404: "no_such_route", 405: "method_not_allowed"}.get(status, "http_error")
    detail = str(error.detail)
    if status in (404, 405):
        path = request.url.path
        detail = f"{request.method} {path} is not served here; GET /docs lists what is."
        detail += errors.instead_of(path)
    headers = dict(error.headers or {})
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(_methods(request))
    body = _body(status, code, detail, request_id(request))
    return response(request.scope, body, headers)


def _methods(request: Request) -> list[str]:
    """Returns all methods of the requested path, over the routes that have it."""
    routes = [route for route in request.app.routes if isinstance(route, Route)]
    found = (route.path for route in routes if route.matches(request.scope)[0] != Match.NONE)
    path = next(found, None)
    return sorted({m for route in routes if route.path == path for m in route.methods or ()})


async def _on_crash(request: Request, error: Exception) -> Response:
    body = crash_json(error, request_id(request))
    # Starlette answers crashes outside all middleware, so outside `RequestId` too.
    return response(request.scope, body, {"X-Request-ID": body["request_id"]})


def _body(status: HTTPStatus, code: str, detail: str, request_id_: str) -> dict[str, Any]:
    return {
        "type": f"urn:plumbline:problem:{code}",
        "title": status.phrase,
        "status": int(status),
        "detail": shortened(detail, DETAIL_CHARS),
        "code": code,
        "request_id": request_id_,
    }


def _sentence(error: dict[str, Any]) -> str:
    place = _place(error)
    if error["type"] == "json_invalid":
        where = f" at character {place}" if place else ""  # pydantic says it in the message
        return f"The body is not valid JSON: {error['ctx']['error']}{where}."
    says = shortened(error["msg"].removeprefix("Value error, "), _FAULT_CHARS)
    return f"{place or 'The body'}: {says}."


def _place(error: dict[str, Any]) -> str:
    return ".".join(shortened(str(part)) for part in error["loc"][1:])
