"""Everything Plumbline raises on purpose.

RagError                  base; `code` is stable and goes out over HTTP
├── InputError            the caller can mend it                         4xx, exit code 2
│   ├── NotFoundError     no such document, job, collection              404
│   ├── UnknownFieldError no document has the field of a filter          404
│   ├── ConflictError     parts of a request contradict each other       409
│   ├── TooLargeError     over a limit that a setting names              413
│   └── ReadError         a document's bytes cannot be read              the document fails alone
├── UpstreamError         something outside failed; trying again helps   503 with Retry-After
│   └── BusyError         a bounded queue is full                        503 with Retry-After
├── ConfigError           settings or data folder; stops the start       exit code 2
└── StorageError          disk full, or stored data damaged              507

Messages say what failed, why, and what mends it; they go to callers as they are, and name no host,
user or database. `detail` does, without credentials; it goes to operators alone, by `in_full`.
"""

from __future__ import annotations


class RagError(Exception):
    """Base of all errors that are Plumbline's own."""

    code = "internal"
    status = 500

    def __init__(self, message: str, *, code: str | None = None, detail: str = "") -> None:
        super().__init__(message)
        if code is not None:
            self.code = code
        self.detail = detail

    def in_full(self) -> str:
        """The message and the detail: for the log, and for the terminal of a local command."""
        return f"{self} {self.detail}".rstrip()


def code_of(error: Exception) -> str:
    """What is told of an error where its message is not: a bug's is that of the base."""
    return error.code if isinstance(error, RagError) else RagError.code


def for_log(error: Exception) -> tuple[str, Exception | None]:
    """The words for a line of the log, and the error itself if its trace belongs below them.

    Of an error that nobody foresaw the words are its name: its message may quote a document.
    """
    if isinstance(error, RagError):
        return error.in_full(), None
    return f"{type(error).__name__}.", error


class InputError(RagError):
    """The caller sent something that cannot be served as it is."""

    code = "invalid_input"
    status = 422


class NotFoundError(InputError):
    """What was asked for does not exist."""

    code = "not_found"
    status = 404


class UnknownFieldError(InputError):
    """A filter names a field that no document of the collection has."""

    code = "unknown_field"
    status = 404


class ConflictError(InputError):
    """Each part of a request is well-formed, and they contradict each other."""

    code = "conflict"
    status = 409


class TooLargeError(InputError):
    """Over a limit; the message names the setting that holds it."""

    code = "too_large"
    status = 413


class ReadError(InputError):
    """A document's bytes cannot be turned into text."""

    code = "unreadable"


class UpstreamError(RagError):
    """A model, a server or a device failed; the same call may go through later.

    Attributes:
        retry_after: seconds after which to try; by default what a restart or a switch to another
            machine takes.
    """

    code = "upstream"
    status = 503
    retry_after = 5.0

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
    """A bounded queue is full; there is room as soon as something ends."""

    code = "busy"
    retry_after = 1.0


class ConfigError(RagError):
    """The settings or the data folder do not fit; found at start."""

    code = "config"


class StorageError(RagError):
    """What is stored cannot be written or read."""

    code = "storage"
    status = 507
