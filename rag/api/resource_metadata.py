"""Tells clients of MCP where tokens come from: OAuth 2.0 Protected Resource Metadata, RFC 9728."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Scope

from rag.settings.tree import Settings

RESOURCE = "/mcp"
METADATA = f"/.well-known/oauth-protected-resource{RESOURCE}"
CHALLENGE = "Bearer"


class ResourceMetadata:
    """The issuers whose tokens `/mcp` accepts; there is no metadata without any."""

    def __init__(self, settings: Settings) -> None:
        self._issuers = settings.gateway.issuers if settings.gateway.enabled else ()
        self._public_url = settings.server.public_url

    def route(self) -> Route:
        """Returns the route of the metadata."""
        return Route(METADATA, self._respond, include_in_schema=False)

    def challenge(self, scope: Scope) -> str:
        """Returns `WWW-Authenticate` of a 401."""
        if not self._issuers or scope["path"] != RESOURCE:
            return CHALLENGE
        return f'{CHALLENGE} resource_metadata="{self._base(scope)}{METADATA}"'

    async def _respond(self, request: Request) -> Response:
        if not self._issuers:
            raise HTTPException(HTTPStatus.NOT_FOUND)
        return JSONResponse(self._document(request.scope))

    def _document(self, scope: Scope) -> dict[str, Any]:
        document: dict[str, Any] = {
            "resource": f"{self._base(scope)}{RESOURCE}",
            "authorization_servers": [issuer.url for issuer in self._issuers],
            "bearer_methods_supported": ["header"],
        }
        by_scope = (each.scopes for each in self._issuers if "scope" in each.scopes_claims)
        if scopes := sorted({name for mapping in by_scope for name in mapping}):
            document["scopes_supported"] = scopes
        return document

    def _base(self, scope: Scope) -> str:
        return (self._public_url or str(Request(scope).base_url)).rstrip("/")
