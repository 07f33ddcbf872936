"""A running service: its queue takes tasks, and its answers are scored."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from functools import partial
from typing import TYPE_CHECKING

from eval.online.scorer import open_scorer
from rag.build import variants
from rag.build.queue_backends import queue_backend
from rag.build.service import Service, open_service
from rag.build.stage_wrappers import UNWRAPPED, StageWrappers
from rag.catalog.answers import quality
from rag.client import NEVER, AsyncClient
from rag.errors import ConfigError
from rag.operations.gpu.watching import GpuWatch
from rag.operations.slo.freeze import Freeze
from rag.operations.synthetic import loop
from rag.process.background import running
from rag.protocols import Queue
from rag.settings.storage import LocalQueueSettings
from rag.settings.tree import Settings
from rag.types import Answer, Query
from workers.scoring_queue import ScoringQueue
from workers.webhooks import WebhookQueue

if TYPE_CHECKING:
    from retrieval.embedders.embedder import ModelEmbedder

LOOK_SECONDS = 1.0
"""Seconds between looks at the health of the GPUs."""
_log = logging.getLogger(__name__)


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
async def ingesting(service: Service, queue: Queue, gpus: GpuWatch | None) -> AsyncIterator[None]:
    """Runs the queue until the end of the block.

    Where this process ingests itself, nothing is ingested while a GPU of it has a fault: documents
    under way start over later.
    """
    if gpus is None or not isinstance(service.settings.queue, LocalQueueSettings):
        async with queue.started():
            yield
        return
    async with running(_ingest_while_healthy(queue, gpus)):
        yield


async def _ingest_while_healthy(queue: Queue, gpus: GpuWatch) -> None:
    while True:
        async with queue.started():
            while not gpus.faults:  # noqa: ASYNC110 - a thread finds them
                await asyncio.sleep(LOOK_SECONDS)
        _log.warning("No document is ingested until the GPUs are healthy.")
        while gpus.faults:  # noqa: ASYNC110 - the same
            await asyncio.sleep(LOOK_SECONDS)


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
async def rolling_out(service: Service, freeze: Freeze | None) -> AsyncIterator[None]:
    """Routes questions to variants until the end of the block, if the settings name any.

    While `freeze` says so, no canary grows.

    Answers of shadows are scored as live ones are, without a judge, and so are those beside them.
    """
    if not service.settings.variants:
        yield
        return
    opening = open_scorer(service, support=service.support, tokens=service.tokens, judged=False)
    async with opening as scorer:

        async def score(query: Query, answer: Answer) -> float | None:
            scores = await scorer.measure(
                answer.question,
                answer.text,
                [hit.chunk for hit in answer.passages],
                is_json=query.sampling.schema is not None,
                unsupported=len(answer.unsupported),
                uncited=len(answer.uncited),
            )
            return quality(scores)

        async with variants.rolling_out(service, score, freeze):
            yield


@contextlib.asynccontextmanager
async def announcing(service: Service) -> AsyncIterator[None]:
    """Tells the receivers of webhooks of ended jobs, until the end of the block."""
    if not service.settings.webhooks:
        yield
        return
    async with WebhookQueue(service.catalog, service.settings.webhooks).started():
        yield


@contextlib.asynccontextmanager
async def synthetic_canary(service: Service, url: str) -> AsyncIterator[None]:
    """Runs the synthetic canary until the end of the block, if the settings say how often.

    It calls the service at `url`, unless the settings name another address.

    Raises:
        ConfigError: It has no key, or nobody is authenticated, so it cannot have a tenant of its
            own.
    """
    settings = service.settings.synthetic
    if not settings.every_minutes:
        yield
        return
    if settings.key is None:
        raise ConfigError(
            "synthetic.every_minutes needs synthetic.key: `rag keys create synthetic --tenant"
            f" {settings.tenant} --scopes ask,read,write` makes one."
        )
    if not service.settings.gateway.enabled:
        raise ConfigError(
            "The synthetic canary has a tenant of its own, which it gets by its key: set"
            " gateway.enabled = true, or synthetic.every_minutes = 0."
        )
    key = settings.key.get_secret_value()
    async with AsyncClient(settings.url or url, key=key, retries=NEVER) as client:
        work = loop.repeat(
            partial(loop.watch, client, tenant=settings.tenant),
            alone=partial(service.catalog.alone, loop.LOCK, wait=False),
            seconds=60 * settings.every_minutes,
        )
        async with running(work):
            yield
