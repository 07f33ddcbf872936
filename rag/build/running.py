"""A running service: its queue takes tasks, and its answers are scored."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from eval.online.scorer import open_scorer
from rag.build.service import AS_IT_IS, Between, Ingesting, Service, open_service
from rag.protocols import Queue
from rag.settings.storage import CeleryQueueSettings, LocalQueueSettings
from rag.settings.tree import Settings
from workers.local_queue import LocalQueue
from workers.scoring_queue import GiveOut, ScoringQueue

if TYPE_CHECKING:
    from retrieval.embedders.embedder import ModelEmbedder


@contextlib.asynccontextmanager
async def start(
    settings: Settings, between: Between = AS_IT_IS, embedder: ModelEmbedder | None = None
) -> AsyncIterator[tuple[Service, Queue]]:
    """Yields an open service and its queue; tasks that an earlier process left are resumed.

    See `open_service` and `open_ingesting`.
    """
    async with open_service(settings, between, embedder) as service:
        yield service, build_queue(settings, service)


@contextlib.asynccontextmanager
async def scoring(service: Service) -> AsyncIterator[None]:
    """Scores live answers until the end of the block."""
    settings, observing = service.settings, service.observing
    if observing.keeper is None:
        yield
        return
    async with contextlib.AsyncExitStack() as stack:
        match settings.queue:
            case LocalQueueSettings():
                opening = open_scorer(
                    service, model=service.model, support=service.support, tokens=service.tokens
                )
                scorer = await stack.enter_async_context(opening)
                give_out: GiveOut = scorer.score
            case CeleryQueueSettings():
                from workers.celery_app import celery_app
                from workers.celery_queue import to_workers

                give_out = to_workers(celery_app(settings.queue))
        queue = ScoringQueue(observing.answers, give_out, due=observing.keeper.kept)
        await stack.enter_async_context(queue.started())
        yield


def build_queue(settings: Settings, opened: Ingesting) -> Queue:
    """Returns the queue that the settings name; nothing runs yet."""
    match settings.queue:
        case LocalQueueSettings():
            return LocalQueue(
                catalog=opened.catalog,
                ingest=opened.ingest.ingest,
                maintain=opened.index.maintain,
            )
        case CeleryQueueSettings():
            from workers.celery_app import celery_app
            from workers.celery_queue import CeleryQueue

            return CeleryQueue(catalog=opened.catalog, app=celery_app(settings.queue))
