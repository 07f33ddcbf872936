"""The errors of the client.

PlumblineError              base; `code` is stable, and is what a program decides by
├── InputError              4xx: the caller can correct it
│   ├── UnauthenticatedError  401: no valid key or token
│   ├── QuotaExceededError    402: a budget is spent
│   ├── ForbiddenError        403: the key lacks a scope
│   ├── NotFoundError         404: no such document, job, collection
│   ├── ConflictError         409: parts of a request contradict each other
│   ├── TooLargeError         413: over a limit that a setting of the server names
│   └── RateLimitedError      429: too much in too short a time
├── ServerError             5xx: the server failed
│   └── UnavailableError      503: loading, busy, or something that it needs is away
├── UnreachableError        no answer came, or it was cut off
└── UnexpectedAnswerError   the answer is none of Plumbline's
"""

from __future__ import annotations

import json
import time
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

LOADING = "loading"
"""The code of a server that loads its models: it has not looked at the request yet."""


class PlumblineError(Exception):
    """Base class of the client's errors.

    Attributes:
        code: says what failed, as in the server's documentation.
        status: the HTTP status; None if no answer came.
        request_id: the id of the request in the server's log; empty if no answer came.
        retry_after: seconds after which the same call may succeed; None if the server names none.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str,
        status: int | None = None,
        request_id: str = "",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.status = status
        self.request_id = request_id
        self.retry_after = retry_after


class InputError(PlumblineError):
    """The server refuses the request: the caller can correct it."""


class UnauthenticatedError(InputError):
    """No valid key or token came with the request."""


class QuotaExceededError(InputError):
    """A budget is spent; `retry_after` is the time until it begins anew."""


class ForbiddenError(InputError):
    """The key or token lacks a scope."""


class NotFoundError(InputError):
    """The requested object does not exist, or the caller may not know of it."""


class ConflictError(InputError):
    """Parts of the request contradict each other or what is stored."""


class TooLargeError(InputError):
    """The request is over a limit of the server."""


class RateLimitedError(InputError):
    """Too much came in too short a time. Without `retry_after`, to wait is no help."""


class ServerError(PlumblineError):
    """The server failed."""


class UnavailableError(ServerError):
    """The server is loading or busy, or something that it needs is away."""


class UnreachableError(PlumblineError):
    """No answer came, or it was cut off. The error of httpx is the `__cause__`."""


class UnexpectedAnswerError(PlumblineError):
    """The answer is none of Plumbline's: another service listens there."""


_BY_STATUS: dict[int, type[PlumblineError]] = {
    401: UnauthenticatedError,
    402: QuotaExceededError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    413: TooLargeError,
    429: RateLimitedError,
    503: UnavailableError,
}
_SERVER_ERRORS = 500


def error_of(response: httpx.Response) -> PlumblineError:
    """Returns the error that an unsuccessful response reports."""
    try:
        found = json.loads(response.content)
        return problem_error(_in_openai_form(found, response) or found, _retry_after(response))
    except (ValueError, KeyError, TypeError):
        return unexpected(response)


def _in_openai_form(found: dict[str, Any], response: httpx.Response) -> dict[str, Any] | None:
    """Returns the problem of an error in OpenAI's form; None for what has another form."""
    if "error" not in found:
        return None
    return {
        "status": response.status_code,
        "detail": found["error"]["message"],
        "code": found["error"]["code"],
        "request_id": response.headers.get("x-request-id", ""),
    }


def problem_error(problem: dict[str, Any], retry_after: float | None = None) -> PlumblineError:
    """Returns the error that a problem (RFC 9457) describes.

    Raises:
        KeyError, TypeError, ValueError: It is none of Plumbline's.
    """
    status = int(problem["status"])
    kind = _BY_STATUS.get(status, ServerError if status >= _SERVER_ERRORS else InputError)
    return kind(
        str(problem["detail"]),
        code=str(problem["code"]),
        status=status,
        request_id=str(problem["request_id"]),
        retry_after=retry_after,
    )


def unexpected(response: httpx.Response, fault: str = "") -> UnexpectedAnswerError:
    """Returns the error for a response that Plumbline does not give, or an older one gives."""
    says = f" ({fault})" if fault else ""
    return UnexpectedAnswerError(
        f"{place(response.request.url)} answered {response.status_code}, and not as Plumbline"
        f" does{says}. Is another service listening there, or an older one?",
        code="unexpected_answer",
        status=response.status_code,
        request_id=response.headers.get("x-request-id", ""),
    )


def unreachable(request: httpx.Request, error: httpx.RequestError) -> UnreachableError:
    """Returns the error for a request to which no answer came."""
    says = " ".join(str(error).split()) or type(error).__name__
    return UnreachableError(
        f"{place(request.url.join('/'))} does not answer: {says}. Is the server running (`rag"
        " serve`), and is its URL right?",
        code="unreachable",
    )


def place(url: httpx.URL) -> str:
    """Returns a URL for messages: without a user, a password and a query, which may be secret."""
    return str(url.copy_with(userinfo=b"", query=None, fragment=None))


def _retry_after(response: httpx.Response) -> float | None:
    """Returns the seconds of `Retry-After`, which may be a date (RFC 9110, 10.2.3)."""
    given = response.headers.get("retry-after", "").strip()
    if not given:
        return None
    if given.isdecimal():
        return float(given)
    try:
        return max(0.0, parsedate_to_datetime(given).timestamp() - time.time())
    except ValueError:
        return None
