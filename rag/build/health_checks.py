"""The dependencies of a service, and the questions that they are asked."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator

import sqlalchemy as sa

from rag.build.service import Service
from rag.errors import UpstreamError
from rag.operations.gpu.watching import GpuWatch
from rag.operations.slo.error_budgets import read_budgets
from rag.settings.answer_cache import RedisAnswerCacheSettings
from rag.settings.generation import GeneratorSettings, OpenAISettings
from rag.settings.storage import CeleryQueueSettings
from rag.telemetry import metrics
from rag.telemetry.conditions import Dependency, Health
from rag.types import Message, Scope

_NOWHERE = Scope(tenant="health", collection="health")
_ANYTHING = (Message(role="user", content="ready?"),)
_ALONE = sa.select(1)


def open_health(
    service: Service, stack: contextlib.AsyncExitStack, gpus: GpuWatch | None = None
) -> Health:
    """Returns what asks all that a service depends on; connections are closed by the stack."""
    return Health([*_dependencies(service, stack), *_gpus(gpus)])


def _gpus(watch: GpuWatch | None) -> Iterator[Dependency]:
    if watch is not None:
        yield Dependency(name="gpus", needed=True, ask=watch.check_health)
        yield Dependency(name="nvml", ask=watch.check_known)


def _dependencies(service: Service, stack: contextlib.AsyncExitStack) -> Iterator[Dependency]:
    settings, index = service.settings, service.index
    yield Dependency(name="catalog", needed=True, ask=lambda: service.database.rows(_ALONE))
    yield Dependency(name="index", needed=True, ask=lambda: index.fetch(_NOWHERE, ["health"]))
    embedder = service.embedder
    yield Dependency(name="embedder", ask=lambda: embedder.embed(["ready?"], kind="query"))
    yield from _engines(service, stack)
    if isinstance(settings.queue, CeleryQueueSettings):
        yield from _queue(settings.queue)
    if url := settings.gateway.enabled and settings.gateway.limits.redis_url:
        yield Dependency(name="limits", ask=_redis(url.get_secret_value(), stack))
    if isinstance(cache := settings.answer_cache, RedisAnswerCacheSettings):
        yield Dependency(name="answer cache", ask=_redis(cache.url.get_secret_value(), stack))
    if url := settings.model_cache.url:
        yield Dependency(name="model cache", ask=_redis(url.get_secret_value(), stack))
    if settings.slo.prometheus_url:
        yield Dependency(name="prometheus", ask=lambda: read_budgets(settings.slo))
    if settings.traces.langfuse_url or settings.traces.otlp_url:
        yield Dependency(name="traces", ask=_no_more_lost())


def _engines(service: Service, stack: contextlib.AsyncExitStack) -> Iterator[Dependency]:
    """Yields the language models: the first of the chain is needed if there is no other."""
    settings = service.settings
    chain = (settings.generator, *settings.fallbacks)
    others = tuple(route.generator for route in settings.routes)
    seen: list[OpenAISettings] = []  # settings with a mapping have no hash
    for generator in (*chain, *others):
        if isinstance(generator, OpenAISettings) and generator not in seen:
            seen.append(generator)
            name = f"model {generator.model}"
            needed = chain == (generator,)
            yield Dependency(name=name, needed=needed, ask=_model_server(generator, stack))
    if service.model is not None and any(each.kind == "vllm" for each in chain):
        model = service.model
        yield Dependency(
            name=f"engine {model.name}",
            needed=len(chain) == 1,
            ask=lambda: model.count_tokens(_ANYTHING),
        )


def _model_server(
    settings: GeneratorSettings, stack: contextlib.AsyncExitStack
) -> Callable[[], Awaitable[None]]:
    from rag.build.generation import probe_of

    answers = probe_of(settings, stack)
    assert answers is not None  # noqa: S101 - it has a server

    async def ask() -> None:
        if not await answers():
            raise UpstreamError("Its server does not answer.")

    return ask


def _queue(settings: CeleryQueueSettings) -> Iterator[Dependency]:
    from workers.celery_app import celery_app, check_broker, check_workers

    app = celery_app(settings)
    yield Dependency(name="broker", ask=lambda: asyncio.to_thread(check_broker, app))
    yield Dependency(name="workers", ask=lambda: asyncio.to_thread(check_workers, app))


def _redis(url: str, stack: contextlib.AsyncExitStack) -> Callable[[], Awaitable[None]]:
    from redis.asyncio import Redis
    from redis.exceptions import RedisError

    redis = Redis.from_url(url)
    stack.push_async_callback(redis.aclose)

    async def ask() -> None:
        try:
            await redis.ping()
        except (RedisError, OSError) as error:
            raise UpstreamError("Redis does not answer.") from error

    return ask


def _no_more_lost() -> Callable[[], Awaitable[None]]:
    """Returns the question whether traces were lost since it was asked last."""
    before = metrics.traces_lost()

    async def ask() -> None:
        nonlocal before
        lost, before = metrics.traces_lost() - before, metrics.traces_lost()
        if lost:
            raise UpstreamError(f"{lost:.0f} traces were lost lately; the log has the cause.")

    return ask
