"""A worker rests while a GPU of it is unhealthy: it ends what it has taken, and takes no more."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator, Sequence

from celery import Celery

from rag.errors import UpstreamError
from rag.operations.gpu.watching import GpuWatch
from workers.celery_app import connected

LOOK_SECONDS = 1.0
"""Seconds between looks at the health."""
_log = logging.getLogger(__name__)


@contextlib.contextmanager
def resting(app: Celery, name: str, queues: Sequence[str], gpus: GpuWatch | None) -> Iterator[None]:
    """Has the worker of this name leave its queues while a GPU has a fault; None: it never does."""
    if gpus is None:
        yield
        return
    ended = threading.Event()
    arguments = (app, name, queues, gpus, ended)
    thread = threading.Thread(target=_follow, args=arguments, name="resting", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _follow(
    app: Celery, name: str, queues: Sequence[str], gpus: GpuWatch, ended: threading.Event
) -> None:
    rests: bool | None = False
    while not ended.wait(LOOK_SECONDS):
        unhealthy = bool(gpus.faults)
        if unhealthy == rests:
            continue
        rests = unhealthy if _told(app, name, queues, leave=unhealthy) else None
        if rests is not None:
            _log.warning(
                "This worker takes no more tasks: a GPU is unhealthy."
                if rests
                else "This worker takes tasks again."
            )


def _told(app: Celery, name: str, queues: Sequence[str], *, leave: bool) -> bool:
    """Has the worker leave its queues, or consume them again; returns True if it obeys.

    If not, it may have left some of them.
    """
    tell = app.control.cancel_consumer if leave else app.control.add_consumer
    try:
        with connected(app) as connection:
            answers = [
                tell(queue, destination=[name], connection=connection, reply=True, limit=1)
                for queue in queues
            ]
    except UpstreamError as error:  # the next look tries again
        _log.error("The worker cannot be told of a GPU's health: %s", error)
        return False
    return all(answers)
