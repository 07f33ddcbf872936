"""`rag worker --batches`: answers lines of batches with the whole service, and listens nowhere."""

from __future__ import annotations

import asyncio
import logging
import signal
from functools import partial

from rag.api.app import app_without_lifespan
from rag.api.batch_calls import answering_batches
from rag.api.deps import Running
from rag.build.gateway import open_gateway
from rag.build.running import start
from rag.errors import ConfigError
from rag.operations.notices.looking import watching
from rag.settings.storage import CeleryQueueSettings
from rag.settings.tree import Settings
from rag.telemetry import logs, metrics

_log = logging.getLogger(__name__)


def work(settings: Settings) -> int:
    """Works until SIGTERM, Ctrl-C or a notice; lines under way are then left to others.

    Raises:
        ConfigError: `batches.at_once` is 0, the port for metrics is taken, or another process owns
            the data folder.
    """
    if not settings.batches.at_once:
        raise ConfigError(
            "This process would answer no line: batches.at_once is 0. Set it for this one, for"
            " example with RAG_BATCHES__AT_ONCE=4."
        )
    logs.configure(settings.log.format)
    asyncio.run(_work(settings))
    return 0


async def _work(settings: Settings) -> None:
    stopped = asyncio.Event()
    for signal_ in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signal_, stopped.set)
    running = Running()
    app = app_without_lifespan(settings, running)
    async with start(settings) as (service, queue), open_gateway(service) as gateway:
        running.opened, running.queue, running.gateway = service, queue, gateway
        running.audit = gateway.audit if gateway else None
        async with answering_batches(app, service):
            _serve_metrics(settings)  # probes look there for a worker that is loaded
            _log.warning("Lines of batches are answered here: ready.")
            loop = asyncio.get_running_loop()
            with watching(settings.server, partial(loop.call_soon_threadsafe, stopped.set)):
                await stopped.wait()


def _serve_metrics(settings: Settings) -> None:
    queue = settings.queue
    if isinstance(queue, CeleryQueueSettings) and queue.metrics_port:
        metrics.serve(queue.metrics_host, queue.metrics_port)
