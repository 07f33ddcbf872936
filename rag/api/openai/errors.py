"""Problems in the form that OpenAI's clients read.

https://platform.openai.com/docs/guides/error-codes
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

PATHS = (
    *("/v1/models", "/v1/chat/", "/v1/embeddings", "/v1/rerank"),
    *("/v1/files", "/v1/batches"),
)
UNSERVED = (
    *("/v1/completions", "/v1/responses", "/v1/audio/", "/v1/images/", "/v1/moderations"),
    *("/v1/assistants", "/v1/threads", "/v1/vector_stores"),
)
"""Paths of OpenAI's API that Plumbline does not have."""
_CODES = {
    "unknown_collection": "model_not_found",
    "rate_limited": "rate_limit_exceeded",
    "quota_exceeded": "insufficient_quota",
}
_TYPES = {"rate_limited": "rate_limit_exceeded", "quota_exceeded": "insufficient_quota"}
_PARAMS = {"unknown_collection": "model"}


def applies_to(path: str) -> bool:
    """True if the callers of this path expect errors in OpenAI's form."""
    return path.startswith((*PATHS, *UNSERVED))


def instead_of(path: str) -> str:
    """Returns what to call in place of a path of OpenAI's API that is not served; else nothing."""
    return " Ask by POST /v1/chat/completions instead." if path.startswith(UNSERVED[:2]) else ""


def status_of(problem: dict[str, Any]) -> int:
    """Returns the problem's status; these clients expect 400 instead of 422."""
    status: int = problem["status"]
    return HTTPStatus.BAD_REQUEST if status == HTTPStatus.UNPROCESSABLE_ENTITY else status


def error_json(problem: dict[str, Any], param: str | None = None) -> dict[str, Any]:
    """Returns a problem's message and code in OpenAI's form; `param` is the faulty field."""
    code = problem["code"]
    kind = "server_error" if problem["status"] >= 500 else "invalid_request_error"  # noqa: PLR2004
    return {
        "error": {
            "message": problem["detail"],
            "type": _TYPES.get(code, kind),
            "param": _PARAMS.get(code, param),
            "code": _CODES.get(code, code),
        }
    }
