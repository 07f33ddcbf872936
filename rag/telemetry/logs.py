"""The service's log: lines for people, or JSON for log collectors."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Literal

from rag.privacy.redaction import scrubbed

Format = Literal["text", "json"]
_requests = logging.getLogger("rag.requests")


def configure(form: Format, **always: str) -> None:
    """Sends log lines to standard error, with the URLs in them masked.

    `text`: warnings and errors. `json`: also a line for each request; each line is an object with
    the fields `always`.
    The log never contains what was found, and contains questions only if `log.questions` is set.
    """
    handler = logging.StreamHandler()
    if form == "json":
        handler.setFormatter(_json_formatter(always))
        _requests.setLevel(logging.INFO)
    mask(handler)
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)


def mask(handler: logging.Handler) -> None:
    """Masks the URLs in all output of a handler, also in library messages and tracebacks."""
    if not isinstance(handler.formatter, _Masking):
        handler.setFormatter(_Masking(handler.formatter or logging.Formatter()))


class _Masking(logging.Formatter):
    """Formats with another formatter, then masks URLs."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        """Returns the line to write."""
        return scrubbed(self._inner.format(record))


def request(**fields: object) -> None:
    """Logs one request, once it has ended."""
    _requests.info("request", extra=fields)


def _json_formatter(always: Mapping[str, str]) -> logging.Formatter:
    from pythonjsonlogger.json import JsonFormatter

    return JsonFormatter(
        "{levelname}{name}{message}",
        style="{",
        timestamp="time",
        rename_fields={"levelname": "level", "name": "logger", "exc_info": "exception"},
        json_ensure_ascii=False,
        static_fields=dict(always),
    )
