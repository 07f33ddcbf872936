"""The queue back ends. The choice between them is made here alone."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from eval.offline.plan import Plan
from eval.offline.run import Progress, Put, ingest, put
from eval.offline.scoring import scoring
from eval.offline.stage_cache import LocalStages
from eval.online.scorer import open_scorer
from rag.build.ingest import Ingesting, open_ingesting
from rag.build.service import Service, open_service
from rag.build.telemetry import open_traces
from rag.errors import ConfigError
from rag.feedback.observer import Traces
from rag.process.extras import needing
from rag.protocols import Queue
from rag.settings.storage import CeleryQueueSettings, LocalQueueSettings
from workers.local_queue import LocalQueue
from workers.scoring_queue import Dispatch

if TYPE_CHECKING:
    from rag.settings.tree import Settings


class QueueBackend(Protocol):
    """Decides where documents are ingested, answers scored and questions of offline runs asked."""

    def queue(self, opened: Ingesting) -> Queue:
        """Returns the queue of documents; nothing runs yet."""

    def scorer(self, service: Service) -> contextlib.AbstractAsyncContextManager[Dispatch]:
        """Opens the function that scores live answers, or sends them to workers."""

    def question_dispatcher(
        self, plan: Plan, cache: Path, progress: Progress
    ) -> contextlib.AbstractAsyncContextManager[tuple[Put, Traces]]:
        """Ingests the documents of an offline run; opens the function that asks a question."""


class InProcess:
    """Everything runs in the process that accepts it."""

    def queue(self, opened: Ingesting) -> Queue:
        """Returns the queue of documents; nothing runs yet."""
        return LocalQueue(
            catalog=opened.catalog, ingest=opened.ingest.ingest, maintain=opened.index.maintain
        )

    @contextlib.asynccontextmanager
    async def scorer(self, service: Service) -> AsyncIterator[Dispatch]:
        """Opens the function that scores live answers."""
        opening = open_scorer(
            service, model=service.model, support=service.support, tokens=service.tokens
        )
        async with opening as scorer:
            yield scorer.score

    @contextlib.asynccontextmanager
    async def question_dispatcher(
        self, plan: Plan, cache: Path, progress: Progress
    ) -> AsyncIterator[tuple[Put, Traces]]:
        """Ingests the documents of an offline run; opens the function that asks a question."""
        with LocalStages.opened(cache) as stages:
            async with open_service(plan.settings, plan.stage_caches(stages)) as service:
                await ingest(service, plan, self.queue(service).drain, progress)
                async with scoring(service, wanted=plan.scores) as scorer:
                    yield partial(put, service, plan, scorer=scorer), service.observer.traces


class Workers:
    """`rag worker` processes take everything from a broker, by Celery."""

    def __init__(self, settings: CeleryQueueSettings) -> None:
        with needing("cluster", for_="`queue.kind = 'celery'`"):
            from workers.celery_app import celery_app

        self._settings = settings
        self._app = partial(celery_app, settings)

    def queue(self, opened: Ingesting) -> Queue:
        """Returns the queue of documents; nothing runs yet."""
        from workers.celery_queue import CeleryQueue

        return CeleryQueue(catalog=opened.catalog, app=self._app())

    @contextlib.asynccontextmanager
    async def scorer(self, _service: Service) -> AsyncIterator[Dispatch]:
        """Opens the function that sends live answers to workers."""
        from workers.celery_queue import dispatch_to_workers

        yield dispatch_to_workers(self._app())

    @contextlib.asynccontextmanager
    async def question_dispatcher(
        self, plan: Plan, cache: Path, progress: Progress
    ) -> AsyncIterator[tuple[Put, Traces]]:
        """Ingests the documents of an offline run; opens the function that asks a worker."""
        from workers.eval_dispatch import open_dispatcher

        async with open_ingesting(plan.settings) as opened:
            await ingest(opened, plan, queue_backend(plan.settings).queue(opened).drain, progress)
        async with contextlib.AsyncExitStack() as stack:
            traces = open_traces(plan.settings, stack)
            opening = open_dispatcher(plan, cache, self._settings)
            yield await stack.enter_async_context(opening), traces


def queue_backend(settings: Settings) -> QueueBackend:
    """Returns the back end that the settings name."""
    match settings.queue:
        case LocalQueueSettings():
            return InProcess()
        case CeleryQueueSettings():
            return Workers(settings.queue)


def broker_settings(settings: Settings) -> CeleryQueueSettings:
    """Returns the settings of the broker that a worker takes its tasks from.

    Raises:
        ConfigError: The settings name none.
    """
    if not isinstance(settings.queue, CeleryQueueSettings):
        raise ConfigError(
            'There is no broker to work for: queue.kind is "local", and `rag serve` ingests itself.'
            ' Set queue.kind = "celery" and queue.broker_url.'
        )
    return settings.queue
