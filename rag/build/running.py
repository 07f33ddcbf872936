"""A running service: its queue takes tasks, and its answers are scored."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from rag.build.queue_backends import queue_backend
from rag.build.service import Service, open_service
from rag.build.stage_wrappers import UNWRAPPED, StageWrappers
from rag.protocols import Queue
from rag.settings.tree import Settings
from workers.scoring_queue import ScoringQueue
from workers.webhooks import WebhookQueue

if TYPE_CHECKING:
    from retrieval.embedders.embedder import ModelEmbedder


@contextlib.asynccontextmanager
async def start(
    settings: Settings, wrappers: StageWrappers = UNWRAPPED, embedder: ModelEmbedder | None = None
) -> AsyncIterator[tuple[Service, Queue]]:
    """Yields an open service and its queue; tasks that an earlier process left are resumed.

    See `open_service` and `open_ingesting`.
    """
    async with open_service(settings, wrappers, embedder) as service:
        yield service, queue_backend(settings).queue(service)


@contextlib.asynccontextmanager
async def scoring(service: Service) -> AsyncIterator[None]:
    """Scores live answers until the end of the block."""
    observer = service.observer
    if observer.recorder is None:
        yield
        return
    async with queue_backend(service.settings).scorer(service) as dispatch:
        queue = ScoringQueue(observer.answers, dispatch, due=observer.recorder.stored)
        async with queue.started():
            yield


@contextlib.asynccontextmanager
async def announcing(service: Service) -> AsyncIterator[None]:
    """Tells the receivers of webhooks of ended jobs, until the end of the block."""
    if not service.settings.webhooks:
        yield
        return
    async with WebhookQueue(service.catalog, service.settings.webhooks).started():
        yield
