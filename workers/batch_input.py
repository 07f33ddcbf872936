"""Reads the lines of a batch's file: each is a request, or an error that says what is wrong."""

from __future__ import annotations

import json
from typing import Any

from rag.errors import InputError
from rag.records import BatchEndpoint, BatchLine
from rag.text.validation_errors import shortened

MAX_LINES = 50_000
ID_CHARS = 512
BODY_BYTES = 1 << 20
"""Most bytes of a body; a request of its own may have no more, either."""
Json = dict[str, Any]


def lines_of(content: bytes, endpoint: BatchEndpoint) -> list[BatchLine]:
    """Returns the lines of a file, which count from 1; blank ones are left out.

    A line that is no request to `endpoint` has failed, and the others have not.

    Raises:
        InputError: There is none, or there are too many.
    """
    sent = [(n, line) for n, line in enumerate(content.split(b"\n"), start=1) if line.strip()]
    if not sent:
        raise InputError("The file has no lines.", code="empty_file")
    if len(sent) > MAX_LINES:
        raise InputError(
            f"The file has {len(sent):,} lines, and {MAX_LINES:,} are allowed: split it.",
            code="too_many_lines",
        )
    seen: dict[str, int] = {}
    return [_line(number, text, endpoint, seen) for number, text in sent]


def _line(number: int, text: bytes, endpoint: BatchEndpoint, seen: dict[str, int]) -> BatchLine:
    custom_id = None
    try:
        request = _object_of(text)
        custom_id = _id_of(request)
        _note(custom_id, number, seen)
        body = _body_of(request, endpoint)
    except ValueError as error:
        message = f"Line {number}: {error}."
        wrong = {"code": "invalid_line", "message": message}
        return BatchLine(line=number, custom_id=custom_id, state="failed", error=wrong)
    return BatchLine(line=number, custom_id=custom_id, body=body)


def _object_of(text: bytes) -> Json:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is not valid JSON: {shortened(str(error))}") from None
    if not isinstance(found, dict):
        raise ValueError("it is no JSON object")  # noqa: TRY004 - a fault of the line, as others
    return found


def _id_of(request: Json) -> str:
    found = request.get("custom_id")
    if not isinstance(found, str) or not 0 < len(found) <= ID_CHARS or not found.isprintable():
        raise ValueError(f"its custom_id is no printable text of 1 to {ID_CHARS} characters")
    return found


def _note(custom_id: str, number: int, seen: dict[str, int]) -> None:
    if custom_id in seen:
        raise ValueError(f"its custom_id is that of line {seen[custom_id]}, too")
    seen[custom_id] = number


def _body_of(request: Json, endpoint: BatchEndpoint) -> str:
    """Returns the body that is sent: that of the line, in the class `batch`."""
    if request.get("method", "POST") != "POST":
        raise ValueError("its method is not POST")
    if request.get("url") != endpoint:
        raise ValueError(f"its url is not {endpoint}, the endpoint of the batch")
    body = request.get("body")
    if not isinstance(body, dict):
        raise ValueError("its body is no JSON object")  # noqa: TRY004 - a fault of the line
    if body.get("stream"):
        raise ValueError("its body asks for a stream, and a batch has none")
    if endpoint == "/v1/chat/completions":
        own = body.get("plumbline", {})
        if not isinstance(own, dict):
            raise ValueError("its `plumbline` is no JSON object")
        body["plumbline"] = own | {"priority": "batch"}
    elif endpoint != "/v1/embeddings":
        body["priority"] = "batch"
    sent = json.dumps(body, separators=(",", ":"), allow_nan=False)
    if len(sent) > BODY_BYTES:
        raise ValueError(f"its body has {len(sent):,} bytes, and {BODY_BYTES:,} are allowed")
    return sent
