"""Who may use which route."""

from __future__ import annotations

import re
from pathlib import Path

from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Mount, Route

import rag.api
from rag.api.app import app_without_lifespan
from rag.api.deps import Running, permission_of
from rag.api.docs_pages import ASSETS
from rag.api.gate import OPEN, is_open
from rag.settings.tree import load_settings

ROUTES = app_without_lifespan(load_settings(), Running()).routes


def needed(route: BaseRoute) -> str:
    """Returns the permission that a route needs; "open" if it is served without a key."""
    assert isinstance(route, Route | Mount), f"{route} declares no permission"
    if is_open(f"{route.path}/" if isinstance(route, Mount) else route.path):
        return "open"
    permission = permission_of(route) if isinstance(route, APIRoute) else None
    assert permission, f"{route.path} declares no permission: dependencies=[needs(…)]"
    return permission


def test_every_route_declares_the_permission_that_it_needs() -> None:
    found = {
        f"{method} {route.path}": needed(route)
        for route in ROUTES
        if isinstance(route, APIRoute) or needed(route)
        for method in sorted(getattr(route, "methods", None) or {"*"} - {"HEAD"})
    }
    assert {path for path, permission in found.items() if permission == "open"} == {
        "GET /healthz", "GET /readyz", "GET /openapi.json", "HEAD /openapi.json", f"* {ASSETS}",
        "GET /docs", "HEAD /docs", "GET /redoc", "HEAD /redoc",
    }  # fmt: skip
    assert found["GET /metrics"] == "metrics"
    assert found["POST /v1/query"] == found["POST /v1/chat/completions"] == "ask"
    assert found["GET /v1/documents/{document_id:path}/content"] == "read"
    assert found["POST /v1/documents"] == found["DELETE /v1/jobs/{job_id}"] == "write"


def test_a_route_that_needs_a_permission_is_not_open() -> None:
    for route in ROUTES:
        if isinstance(route, APIRoute) and permission_of(route):
            assert not is_open(route.path)
    assert not any(map(is_open, ("/", "/healthz/", "/docs/", "/v1/query", f"{ASSETS}x", "//docs")))
    assert set(OPEN) <= {getattr(route, "path", "") for route in ROUTES}


def test_scopes_of_requests_are_made_in_one_place() -> None:
    folder = Path(rag.api.__file__).parent
    makers = {
        str(file.relative_to(folder))
        for file in folder.rglob("*.py")
        if re.search(r"\bScope\((tenant|\w+\.tenant)", file.read_text())
    }
    assert makers == {"deps.py"}
