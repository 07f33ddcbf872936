"""`rag worker`: takes tasks from the broker until it is stopped."""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections.abc import Sequence
from functools import partial
from uuid import uuid4

from celery import Celery
from celery.signals import after_setup_logger, after_setup_task_logger

from rag.operations.gpu.watching import GpuWatch, watching
from rag.operations.notices.looking import watching as watching_notices
from rag.settings.storage import CeleryQueueSettings
from rag.settings.tree import Settings
from rag.telemetry import logs, metrics
from rag.types import Stage
from workers.celery_app import (
    ASK,
    ASK_QUEUE,
    INGEST,
    SCORE,
    SCORE_QUEUE,
    STAGES,
    QueuePriority,
    celery_app,
    queues_of,
)
from workers.consumer import PromptConsumer
from workers.resting import resting
from workers.runtime import Runtime
from workers.tasks import all_or_embed, parse_alone

_log = logging.getLogger(__name__)


def work(
    settings: Settings,
    queue: CeleryQueueSettings,
    *,
    stage: Stage | None = None,
    priority: QueuePriority | None = None,
) -> int:
    """Works until SIGTERM, Ctrl-C or a notice; tasks under way are finished first.

    Takes documents through all stages, or with `stage` through that one alone; with `priority`
    only those of this priority. Serves metrics as soon as all is loaded.

    Raises:
        ConfigError: The port for metrics is taken, or a model cannot be loaded.
    """
    name = f"plumbline-{uuid4().hex[:8]}@{socket.gethostname()}"  # several may be on one host
    if settings.log.format == "json":
        logs.configure("json", worker=name)  # otherwise Celery does
    after_setup_logger.connect(_mask_logs)
    after_setup_task_logger.connect(_mask_logs)
    app = celery_app(queue)
    app.conf.worker_log_format = f"[%(asctime)s: %(levelname)s/{name}] %(message)s"
    queues = queues_of([stage] if stage else STAGES, priority)
    if stage != "parse":
        queues += [SCORE_QUEUE, ASK_QUEUE]  # last: documents come first
    runtime = Runtime(parse_alone(settings, app) if stage == "parse" else all_or_embed(settings))
    app.task(runtime.ingest, name=INGEST)
    app.task(runtime.score, name=SCORE)
    app.task(runtime.answer, name=ASK)
    try:
        with (
            watching(settings.gpu) as gpus,
            watching_notices(settings.server, partial(os.kill, os.getpid(), signal.SIGTERM)),
        ):
            if queue.metrics_port:  # probes look there for a worker that is loaded
                metrics.serve(queue.metrics_host, queue.metrics_port)
            while _consume(app, name, queues, queue.concurrency, gpus):
                _log.warning("The broker is gone: connecting again.")
    finally:
        runtime.close()
    return 0


def _mask_logs(logger: logging.Logger, **_: object) -> None:
    """Masks URLs in the output of the handlers that Celery has made."""
    for handler in logger.handlers:
        logs.mask(handler)


def _consume(
    app: Celery, name: str, queues: Sequence[str], concurrency: int, gpus: GpuWatch | None
) -> bool:
    """Takes tasks until it is stopped; returns True if it ended because of a lost connection."""
    worker = app.Worker(
        hostname=name,
        consumer_cls=PromptConsumer,
        pool="threads",  # the model is in a separate process; threads only wait
        concurrency=concurrency,
        queues=queues,
        loglevel="INFO",
        without_mingle=True,
        without_gossip=True,
    )
    with resting(app, name, queues, gpus):
        worker.start()
    return bool(worker.exitcode)
