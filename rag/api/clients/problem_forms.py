"""Problems in the forms that the clients of other services read, by path."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel

Problem = Mapping[str, Any]
_DIFY_REFUSED = 1002
"""Dify's code for a failed authorization."""
_DIFY_UNKNOWN = 2001
"""Dify's code for a knowledge base that does not exist."""

_INVALID_REQUEST = -32600
"""JSON-RPC's code for a request that is refused as a whole."""


class CohereError(BaseModel):
    """An error in Cohere's form."""

    message: str
    id: str


class TeiError(BaseModel):
    """An error in TEI's form."""

    error: str
    error_type: str


class DifyError(BaseModel):
    """An error in Dify's form; 1002: no valid key; 2001: no such collection."""

    error_code: int
    error_msg: str


class OllamaError(BaseModel):
    """An error in Ollama's form."""

    error: str


def documented(model: type[BaseModel], name: str) -> dict[int | str, dict[str, Any]]:
    """Returns the errors of a route for the OpenAPI document."""
    described = {"model": model, "description": f"As {name}'s."}
    return {"4XX": described, "5XX": described}


def _cohere(problem: Problem) -> dict[str, Any]:
    return {"message": problem["detail"], "id": problem["request_id"]}


def _tei(problem: Problem) -> dict[str, Any]:
    kinds = {413: "validation", 422: "validation", 503: "overloaded"}
    return {"error": problem["detail"], "error_type": kinds.get(problem["status"], "backend")}


def _dify(problem: Problem) -> dict[str, Any]:
    codes = {"unknown_collection": _DIFY_UNKNOWN, "unauthenticated": _DIFY_REFUSED}
    code = codes.get(problem["code"], problem["status"])
    return {"error_code": code, "error_msg": problem["detail"]}


def _ollama(problem: Problem) -> dict[str, Any]:
    return {"error": problem["detail"]}


def _mcp(problem: Problem) -> dict[str, Any]:
    error = {"code": _INVALID_REQUEST, "message": problem["detail"], "data": dict(problem)}
    return {"jsonrpc": "2.0", "id": None, "error": error}


_FORMS: Mapping[str, Callable[[Problem], dict[str, Any]]] = {
    "/v2/rerank": _cohere,
    "/rerank": _tei,
    "/embed": _tei,
    "/retrieval": _dify,
    "/api/tags": _ollama,
    "/api/version": _ollama,
    "/api/chat": _ollama,
    "/mcp": _mcp,
}


def applies_to(path: str) -> bool:
    """True if the callers of this path expect errors in a form of their own."""
    return path in _FORMS


def error_json(path: str, problem: Problem) -> dict[str, Any]:
    """Returns a problem in the form that the callers of the path expect."""
    return _FORMS[path](problem)


def status_of(path: str, problem: Problem) -> int:
    """Returns the status; an invalid request is 400 to all of these clients but TEI's."""
    status: int = problem["status"]
    is_invalid = status == HTTPStatus.UNPROCESSABLE_ENTITY and _FORMS[path] is not _tei
    return HTTPStatus.BAD_REQUEST if is_invalid else status
