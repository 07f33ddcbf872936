"""Shared parts of the REST endpoints, which only check, call and write."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator
from pydantic_core import to_json
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Scope

from rag.api import responses
from rag.api.checked_names import sendable
from rag.api.large_bodies import OffLoopRoute

PROBLEMS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": responses.Problem, "description": "A problem (RFC 9457)."},
    "5XX": {"model": responses.Problem, "description": "A problem (RFC 9457)."},
}
Id = Annotated[str, AfterValidator(sendable)]
"""A name in a request; one with characters that no database can take matches nothing."""


class DocumentRoute(OffLoopRoute):
    """A route below a document, whose id may hold slashes.

    A slash that is percent-encoded belongs to the id: `x%2Fchunks` is a document, `x/chunks` are
    the chunks of one.
    """

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Matches an end like `/chunks` only where it stands in the address as such."""
        end = self.path.rpartition("/")[2]
        raw = scope.get("raw_path")
        if raw is not None and "{" not in end and raw.rpartition(b"/")[2] != end.encode():
            return Match.NONE, {}
        return super().matches(scope)


def json_response(
    body: object, *, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """Returns a JSON response without a response model: our own objects need no validation."""
    content = to_json(body, inf_nan_mode="null")
    return Response(content, status_code=status, media_type="application/json", headers=headers)
