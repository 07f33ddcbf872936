"""Failures of a Qdrant server: the errors that the client raises, and what each amounts to."""

from __future__ import annotations

import contextlib
import re
from json import JSONDecodeError

import httpx
from grpc import StatusCode
from grpc.aio import AioRpcError
from qdrant_client.common.client_exceptions import QdrantException, ResourceExhaustedResponse
from qdrant_client.http.exceptions import (
    ApiException,
    ResponseHandlingException,
    UnexpectedResponse,
)

from rag.errors import (
    BusyError,
    ConfigError,
    NotFoundError,
    RagError,
    StorageError,
    UpstreamError,
)
from rag.privacy.redaction import scrubbed
from retrieval.indexes.qdrant_nodes import NO_QDRANT, Node

EXISTS, MOVED, STRICT = "exists", "shard_moved", "strict_mode"
FAILURES = (ApiException, QdrantException, AioRpcError, TimeoutError, ValueError, KeyError)
"""Exceptions of the client: of HTTP, of both protocols, of gRPC, of waiting, and two of local
mode."""
_HTTP = {
    StatusCode.INVALID_ARGUMENT: 400,
    StatusCode.FAILED_PRECONDITION: 400,
    StatusCode.OUT_OF_RANGE: 400,
    StatusCode.UNAUTHENTICATED: 401,
    StatusCode.PERMISSION_DENIED: 403,
    StatusCode.NOT_FOUND: 404,
    StatusCode.ALREADY_EXISTS: 409,
    StatusCode.RESOURCE_EXHAUSTED: 429,
    StatusCode.UNIMPLEMENTED: 501,
    StatusCode.UNAVAILABLE: 503,
    StatusCode.DEADLINE_EXCEEDED: 504,
}
_KEY = "The Qdrant server refuses the API key. Mend `index.api_key`."
_MEANING: dict[int, tuple[type[RagError], str | None, str]] = {
    401: (ConfigError, None, _KEY),
    403: (ConfigError, None, _KEY),
    404: (NotFoundError, None, "The Qdrant server does not hold it."),
    405: (
        ConfigError,
        "standalone_server",
        "The Qdrant server runs alone, and shards with keys need one in cluster mode: set"
        " `index.shards` to 1, or start it with `QDRANT__CLUSTER__ENABLED=true`.",
    ),
    409: (StorageError, EXISTS, "The Qdrant server has it already."),
    421: (StorageError, MOVED, "The shards of the collection are not those that were known."),
    422: (
        StorageError,
        STRICT,
        "The collection on the Qdrant server is in strict mode, which forbids the request."
        " Raise that limit or switch strict mode off.",
    ),
    429: (
        BusyError,
        None,
        "The Qdrant server is at its limit. Try again later.",
    ),
    501: (ConfigError, None, NO_QDRANT),
    503: (
        UpstreamError,
        None,
        "The Qdrant server cannot be reached. Start it, or mend `index.url` and"
        " `index.grpc_port` (`index.prefer_grpc = false` does without gRPC).",
    ),
    504: (
        UpstreamError,
        None,
        "The Qdrant server did not answer within {timeout:g} s. Try again later,"
        " or raise `index.timeout`.",
    ),
    507: (
        StorageError,
        "disk_full",
        "The Qdrant server has no disk space left. Free some and run it again;"
        " what was stored before is kept.",
    ),
}
"""By HTTP status: the error, its code if that is not the class's, and its message."""
_FAILED = (
    UpstreamError,
    None,
    "The Qdrant server failed. Its log says more; try again later.",
)
_REFUSED = (StorageError, None, "The Qdrant server refuses the request.")
_BY_WORDS = (
    (re.compile(r"no space left|out of disk", re.IGNORECASE), (), 507),
    (re.compile("already exists"), (), 409),
    (re.compile("Failed parsing HTTP/2"), (), 501),
    (re.compile(r"standalone mode", re.IGNORECASE), (), 405),
    (
        re.compile(r"shard key .*(not found|not specified|nor fallback .* exist)", re.IGNORECASE),
        (400, 404),
        421,
    ),
    (re.compile(r"\. Help: "), (400,), 422),  # the end of refusals by strict mode
)
"""Words of the server, the statuses they apply to (any if empty), and the status they mean."""
_UNKNOWN = re.compile(r"collection|no point with id", re.IGNORECASE)
"""A 404 with these words is about a collection or a point; any other is about the API."""
UNAVAILABLE = (501, 502, 503, 504)
"""Statuses that do not come from the node itself: another one may answer."""
_SERVER_ERRORS = 500
_MAX_CAUSE_CHARS = 300
"""Characters of a cause in a message."""


def failure_of(node: Node, error: Exception, *, timeout: float) -> tuple[int, RagError]:
    """Converts a failure to the HTTP status that it amounts to and the error to report.

    Raises:
        ValueError, KeyError: The error is not the client's, but a bug in this package.
    """
    status, cause = _failure(error)
    kind, code, text = _MEANING.get(status) or (_FAILED if status >= _SERVER_ERRORS else _REFUSED)
    detail = f"{node.place}: {scrubbed(cause.strip(), node.url)[:_MAX_CAUSE_CHARS]}."
    return status, kind(text.format(timeout=timeout), code=code, detail=detail)


def _failure(error: Exception) -> tuple[int, str]:
    """Returns the HTTP status that a failure amounts to, and its cause.

    Raises:
        ValueError, KeyError: The error is not the client's, but a bug in this package.
    """
    match error:
        case TimeoutError():
            status, cause = 504, "no answer"
        case ResourceExhaustedResponse():
            status, cause = 429, str(error)
        case ResponseHandlingException(source=httpx.TimeoutException()):
            status, cause = 504, "no answer"
        case ResponseHandlingException(source=httpx.TransportError() as source):
            status, cause = 503, str(source) or type(source).__name__
        case ResponseHandlingException() | JSONDecodeError():
            status, cause = 501, "its answer cannot be read"
        case UnexpectedResponse():
            status, cause = error.status_code or _SERVER_ERRORS, _server_words(error)
        case AioRpcError():
            status = _HTTP.get(error.code(), _SERVER_ERRORS)
            cause = error.details() or error.code().name
        case KeyError():
            status, cause = 404, f"no point with id {error}"
        case _:
            status, cause = _local_failure(error)
    return _status(status, cause), cause


def _local_failure(error: Exception) -> tuple[int, str]:
    if not re.search("already exists|not found", str(error)):
        raise error
    return 404, str(error)


def _status(status: int, cause: str) -> int:
    """Corrects the status by the server's words: it uses one status for several cases."""
    for pattern, statuses, meaning in _BY_WORDS:
        if (not statuses or status in statuses) and pattern.search(cause):
            return meaning
    return 501 if status == 404 and not _UNKNOWN.search(cause) else status  # noqa: PLR2004


def _server_words(error: UnexpectedResponse) -> str:
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return str(error.structured()["status"]["error"])
    return error.content.decode(errors="replace")[:200] or error.reason_phrase
