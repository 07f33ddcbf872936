"""The OpenAPI document, with the limits of the settings and everything that a response may have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from rag.api.deps import Running, needs_key, permission_of
from rag.build.ingest import Ingesting
from rag.settings.generation import ExtractiveSettings
from rag.settings.tree import Settings

_PROBLEM = {"$ref": "#/components/schemas/Problem"}
_REQUEST_ID = {
    "description": "The caller's own, or a new one.",
    "required": True,
    "schema": {"type": "string", "minLength": 1, "maxLength": 128},
}
_ALLOW = {"description": "With 405: the methods of this path.", "schema": {"type": "string"}}
_AUTHENTICATE = {"description": "With 401: `Bearer`.", "schema": {"type": "string"}}
_RETRY_AFTER = {
    "description": "With 429 and 503: seconds after which to come again.",
    "schema": {"type": "integer", "minimum": 1},
}
_LOCATION = {"description": "The job.", "required": True, "schema": {"type": "string"}}
_HEADERS = {
    "4XX": {"Allow": _ALLOW, "WWW-Authenticate": _AUTHENTICATE, "Retry-After": _RETRY_AFTER},
    "5XX": {"Retry-After": _RETRY_AFTER},
}
_METHODS = ("get", "post", "put", "delete")
_SCHEMES = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key of `rag keys create`, `Authorization: Bearer pl_…`, or a token"
        " (JWT) of an issuer in `gateway.issuers`. The names beside an operation are the scopes"
        " that the key or token needs, all of them.",
    },
    "apiKey": {
        "type": "apiKey",
        "in": "header",
        "name": "api-key",
        "description": "The same key, as Azure's clients send it: `api-key: pl_…`.",
    },
}


def document(app: FastAPI, settings: Settings, running: Running) -> dict[str, Any]:
    """Returns the document of `app` as it serves now; it has less until the models are loaded."""
    made = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    for operations in made["paths"].values():
        for method in _METHODS:
            if method in operations:
                _complete(operations[method])
    if settings.gateway.enabled:
        _secure(made, app)
    filled: dict[str, Any] = _filled(made, _in_force(settings, running))
    return filled


def _secure(made: dict[str, Any], app: FastAPI) -> None:
    """Adds the ways to send a key, and to each operation the scope that the key needs."""
    made["components"]["securitySchemes"] = _SCHEMES
    for route in app.routes:
        if isinstance(route, APIRoute) and needs_key(route):
            permission = permission_of(route)
            scopes = [permission] if permission else []
            for method in route.methods:
                operation = made["paths"][route.path_format][method.lower()]
                operation["security"] = [{name: scopes} for name in _SCHEMES]


def _complete(operation: dict[str, Any]) -> None:
    """Adds headers, and the media type of problems, to the responses."""
    for status, response in operation["responses"].items():
        headers = {"X-Request-ID": _REQUEST_ID} | _HEADERS.get(status, {})
        if status == "202" and "requestBody" in operation:
            headers["Location"] = _LOCATION
        response["headers"] = headers
        content = response.get("content", {})
        if content.get("application/json", {}).get("schema") == _PROBLEM:
            content["application/problem+json"] = content.pop("application/json")


def _in_force(settings: Settings, running: Running) -> Mapping[str, Any]:
    """Returns values by the names that `rag.api.shapes` uses for them; None for unknown values."""
    opened = running.opened
    generators = (settings.generator, *settings.fallbacks)
    writes = not all(isinstance(each, ExtractiveSettings) for each in generators)
    return {
        "limits.top_k": settings.limits.top_k,
        "least_seed": -(1 << 63),  # FastAPI would turn both into floats
        "seed": (1 << 63) - 1,
        "embedder.dim": opened.embedder.dim if isinstance(opened, Ingesting) else None,
        "response_formats": ["text", "json_object", "json_schema"] if writes else ["text"],
    }


def _filled(part: Any, values: Mapping[str, Any]) -> Any:
    """Returns the part with a value for each `x-` keyword, without those of unknown value."""
    if isinstance(part, list):
        return [_filled(item, values) for item in part]
    if not isinstance(part, dict):
        return part
    plain = {name: _filled(item, values) for name, item in part.items() if name[:2] != "x-"}
    named = {name[2:]: values[item] for name, item in part.items() if name[:2] == "x-"}
    return plain | {name: value for name, value in named.items() if value is not None}
