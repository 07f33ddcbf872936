"""The errors that Plumbline raises.

RagError                  base; `code` is stable and goes out over HTTP
├── InputError            the caller can correct it                      4xx, exit code 2
│   ├── NotFoundError     no such document, job, collection              404
│   ├── UnknownFieldError no document has the field of a filter          404
│   ├── ConflictError     parts of a request contradict each other       409
│   ├── TooLargeError     over a limit that a setting names              413
│   ├── UnauthenticatedError  no valid key or token                      401
│   │   └── TokenExpiredError the token was valid until now              401
│   ├── ForbiddenError    the caller lacks a permission                  403
│   ├── RateLimitedError  too much in too short a time                   429 with Retry-After
│   ├── QuotaExceededError  a budget is spent                            402 with Retry-After
│   └── ReadError         a document's bytes cannot be read              only the document fails
├── UpstreamError         something outside failed; a retry may succeed  503 with Retry-After
│   └── BusyError         a bounded queue is full                        503 with Retry-After
├── ConfigError           settings or data folder; stops the start       exit code 2
└── StorageError          disk full, or stored data damaged              507

Messages say what failed, why, and how to correct it. Callers receive them unchanged, so they name
no host, user or database. `detail` names these, without credentials; `in_full` shows it to
operators alone.
"""

from __future__ import annotations

from collections.abc import Mapping


class RagError(Exception):
    """Base class of Plumbline's own errors."""

    code = "internal"
    status = 500
    retry_after: float | None = None
    """Seconds after which to try again; None: the same call fails again."""

    def __init__(self, message: str, *, code: str | None = None, detail: str = "") -> None:
        super().__init__(message)
        if code is not None:
            self.code = code
        self.detail = detail

    def in_full(self) -> str:
        """Returns message and detail, for the log and for the terminal of a local command."""
        return f"{self} {self.detail}".rstrip()


def code_of(error: Exception) -> str:
    """Returns the code to report instead of an error's message; `RagError.code` for a bug."""
    return error.code if isinstance(error, RagError) else RagError.code


def for_log(error: Exception) -> tuple[str, Exception | None]:
    """Returns the text of a log line, and the error if its traceback should be logged, too.

    For an unexpected error the text is the name of its type: its message may quote a document.
    """
    if isinstance(error, RagError):
        return error.in_full(), None
    return f"{type(error).__name__}.", error


class InputError(RagError):
    """The caller sent a request that cannot be served."""

    code = "invalid_input"
    status = 422


class NotFoundError(InputError):
    """The requested object does not exist."""

    code = "not_found"
    status = 404


class UnknownFieldError(InputError):
    """A filter names a field that no document of the collection has."""

    code = "unknown_field"
    status = 404


class ConflictError(InputError):
    """Each part of a request is well-formed, but they contradict each other."""

    code = "conflict"
    status = 409


class TooLargeError(InputError):
    """The input exceeds a limit; the message names the limit's setting."""

    code = "too_large"
    status = 413


class UnauthenticatedError(InputError):
    """The caller has no valid credential; the message is the same for every reason but expiry."""

    code = "unauthenticated"
    status = 401
    message = (
        "No valid API key or token came with this request. Send one as `Authorization: Bearer …`;"
        " a key may also come as `api-key: KEY`."
    )

    def __init__(self) -> None:
        super().__init__(self.message)


class TokenExpiredError(UnauthenticatedError):
    """The caller's token was valid, and has expired."""

    code = "token_expired"
    message = "The token has expired. Get a new one where this one came from."


class ForbiddenError(InputError):
    """The caller lacks a permission for something that the caller may know of."""

    code = "forbidden"
    status = 403


class RateLimitedError(InputError):
    """The caller has sent too much in too short a time.

    Attributes:
        retry_after: seconds after which the same call is served; None if it never is.
        fields: header fields with the limits.
    """

    code = "rate_limited"
    status = 429

    def __init__(
        self,
        message: str,
        *,
        retry_after: float | None,
        code: str | None = None,
        fields: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, code=code)
        self.retry_after = retry_after
        self.fields = fields or {}


class QuotaExceededError(InputError):
    """The caller has spent a budget.

    Attributes:
        retry_after: seconds until the budget begins anew.
    """

    code = "quota_exceeded"
    status = 402

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ReadError(InputError):
    """A document's bytes cannot be turned into text."""

    code = "unreadable"


class UpstreamError(RagError):
    """A model, a server or a device failed; the same call may succeed later.

    Attributes:
        retry_after: seconds after which to try again; by default the time that a restart or a
            switch to another machine takes.
    """

    code = "upstream"
    status = 503
    retry_after: float = 5.0

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        detail: str = "",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, code=code, detail=detail)
        if retry_after is not None:
            self.retry_after = retry_after


class BusyError(UpstreamError):
    """A bounded queue is full; there is room as soon as an item is done."""

    code = "busy"
    retry_after = 1.0


class ConfigError(RagError):
    """The settings or the data folder are invalid; detected at start."""

    code = "config"


class StorageError(RagError):
    """Stored data cannot be written or read."""

    code = "storage"
    status = 507
