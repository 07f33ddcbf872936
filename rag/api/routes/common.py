"""Shared parts of the REST endpoints, which only check, call and write."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator
from pydantic_core import to_json
from starlette.responses import Response

from rag.api import responses, schemas

PROBLEMS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": responses.Problem, "description": "A problem (RFC 9457)."},
    "5XX": {"model": responses.Problem, "description": "A problem (RFC 9457)."},
}
Id = Annotated[str, AfterValidator(schemas.sendable)]
"""A name in a request; one with characters that no database can take matches nothing."""


def json_response(
    body: object, *, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """Returns a JSON response without a response model: our own objects need no validation."""
    content = to_json(body, inf_nan_mode="null")
    return Response(content, status_code=status, media_type="application/json", headers=headers)
