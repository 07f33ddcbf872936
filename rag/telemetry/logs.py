"""What a service writes about itself: lines for people, or JSON for what collects them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Literal

from rag.privacy.redaction import scrubbed

Format = Literal["text", "json"]
_requests = logging.getLogger("rag.requests")


def configure(form: Format, **always: str) -> None:
    """Sends log lines to standard error, with the URLs in them masked.

    `text`: warnings and errors. `json`: those and a line for each request, an object a line, each
    with the fields `always`.
    Nothing that was found is in it, and what was asked only where `log.questions` says so.
    """
    handler = logging.StreamHandler()
    if form == "json":
        handler.setFormatter(_json_formatter(always))
        _requests.setLevel(logging.INFO)
    mask(handler)
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)


def mask(handler: logging.Handler) -> None:
    """Masks the URLs in all that a handler writes, also in messages of libraries and in traces."""
    if not isinstance(handler.formatter, _Masking):
        handler.setFormatter(_Masking(handler.formatter or logging.Formatter()))


class _Masking(logging.Formatter):
    """Formats as another one does, and masks URLs."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        """The line that is written."""
        return scrubbed(self._inner.format(record))


def request(**fields: object) -> None:
    """One request, once it has ended."""
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
