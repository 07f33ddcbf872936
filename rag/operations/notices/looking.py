"""Looks for notices, each on a thread of its own: files and servers may block."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from rag.errors import UpstreamError
from rag.operations.notices.http_notice import HttpNotice
from rag.privacy.redaction import words
from rag.settings.operations import ServerSettings
from rag.telemetry import notice_metrics

FILE_SECONDS = 1.0
"""Seconds between looks for a file."""
URL_SECONDS = 5.0
"""The same for an address, as AWS recommends; the shortest notice, of 30 s, leaves time."""
_Read = Callable[[], str]
_log = logging.getLogger(__name__)


@contextlib.contextmanager
def watching(
    settings: ServerSettings,
    stop: Callable[[], object],
    *,
    failed: Callable[[], object] = notice_metrics.failed,
) -> Iterator[None]:
    """Calls `stop`, on a thread, when there is a notice; each source of notices does so once.

    The sources are `stop_notice` and `stop_notice_url`; `failed` counts their failures.
    """
    ended = threading.Event()
    follow = partial(_follow, stop=stop, failed=failed, ended=ended)
    if settings.stop_notice is not None:
        _start(_follow_file, settings.stop_notice, follow)
    if settings.stop_notice_url is not None:
        _start(_follow_url, settings.stop_notice_url, follow)
    try:
        yield
    finally:
        ended.set()  # without waiting: a request may be under way


def _start(source: Callable[..., None], *arguments: object) -> None:
    threading.Thread(target=source, args=arguments, name="notice", daemon=True).start()


def _follow_file(path: Path, follow: Callable[[_Read, float], None]) -> None:
    def read() -> str:
        try:
            return f"{path} is there" if path.exists() else ""
        except OSError as error:
            raise UpstreamError(f"server.stop_notice cannot be read: {words(error)}") from error

    follow(read, FILE_SECONDS)


def _follow_url(url: str, follow: Callable[[_Read, float], None]) -> None:
    with contextlib.closing(HttpNotice(url)) as notice:
        follow(notice.read, URL_SECONDS)


def _follow(
    read: _Read,
    seconds: float,
    *,
    stop: Callable[[], object],
    failed: Callable[[], object],
    ended: threading.Event,
) -> None:
    """Reads until there is a notice; the first of several failures in a row is logged."""
    failing = False
    while not ended.is_set():
        try:
            text = read()
        except UpstreamError as error:
            failed()
            if not failing:
                _log.error("No notice would be seen: %s. It is tried again.", error)
            failing = True
        else:
            if failing:
                _log.warning("Notices are looked for again.")
            failing = False
            if text:
                _log.warning("This machine is about to be taken away: %s.", text)
                stop()
                return
        ended.wait(seconds)
