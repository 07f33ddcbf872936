"""Builds the variants of a service's pipeline; they share what is equal in both."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from rag.build.answer_cache import open_repeater
from rag.build.answer_parts import (
    Answering,
    build_answering,
    build_pipeline,
    open_answering,
)
from rag.build.embedding import build_embedder, build_question_embedder, build_token_embedder
from rag.build.generation import build_chat, same_model
from rag.build.model_cache import open_model_cache
from rag.build.model_folders import with_model_folders
from rag.build.retrieval import STAGE_SHARE, Searching, build_retriever, open_reranker
from rag.build.service import Service
from rag.build.storage import build_index
from rag.errors import RagError
from rag.gateway.charges import charge_of
from rag.operations.slo.freeze import Freeze
from rag.process.private_folder import INDEX
from rag.rollouts.controller import Controller, Frozen
from rag.rollouts.router import Variant
from rag.rollouts.shadow import Score, Shadows, unscored
from rag.settings.tree import Settings
from rag.settings.variants import PARTS, VariantSettings
from rag.telemetry import rollout_metrics

if TYPE_CHECKING:
    from rag.pipeline.search import Ended
    from rag.settings.retrieval import EmbedderSettings

_log = logging.getLogger(__name__)


@contextlib.asynccontextmanager
async def rolling_out(
    service: Service, score: Score = unscored, freeze: Freeze | None = None
) -> AsyncIterator[None]:
    """Routes questions to variants until the end of the block; nothing if the settings name none.

    Of shadows, `score` scores the share of `online.rate`.

    A variant that cannot be built is not available: it is logged, and nobody is routed to it.

    Raises:
        RagError: The catalog cannot be used.
    """
    named = service.settings.variants
    if not named:
        yield
        return
    router, observations = service.router, service.observations
    async with contextlib.AsyncExitStack() as stack:
        router.variants, router.unavailable = await _open_all(service, named, stack)
        rollout_metrics.variants({name: name in router.variants for name in named})
        meter = partial(charge_of, service.ledger)
        rate = service.settings.online.rate
        shadows = Shadows(router.variants, observations, meter=meter, score=score, rate=rate)
        router.mirror = shadows.mirror
        await stack.enter_async_context(observations.told(service.catalog.rollouts))
        await stack.enter_async_context(shadows.started())
        controller = Controller(service.catalog, router, _frozen(freeze))
        await stack.enter_async_context(controller.started())
        yield


def _frozen(freeze: Freeze | None) -> Frozen | None:
    if freeze is None:
        return None

    async def reason() -> str:
        found = await freeze.look()
        return found.reason if found else ""

    return reason


async def _open_all(
    service: Service, named: Mapping[str, VariantSettings], stack: contextlib.AsyncExitStack
) -> tuple[dict[str, Variant], dict[str, str]]:
    """Returns the variants by name, and why others are not available."""
    opened: dict[str, Variant] = {}
    failed: dict[str, str] = {}
    for name, variant in named.items():
        async with contextlib.AsyncExitStack() as own:
            try:
                opened[name] = await _open(name, variant, service, own)
            except RagError as error:
                failed[name] = str(error)
                _log.error("The variant %s is not available: %s", name, error.in_full())
            except Exception as error:  # noqa: BLE001 - the service starts without it
                failed[name] = f"internal error: {type(error).__name__}; the log has the trace"
                _log.error("The variant %s is not available.", name, exc_info=error)
            else:
                await stack.enter_async_context(own.pop_all())
    return opened, failed


async def _open(
    name: str, variant: VariantSettings, service: Service, stack: contextlib.AsyncExitStack
) -> Variant:
    changes = {part: value for part in PARTS if (value := getattr(variant, part)) is not None}
    settings = with_model_folders(service.settings.model_copy(update=changes))
    searching = await _open_searching(settings, service, stack)
    answering = await _open_answering(settings, service, searching, stack)
    ended: Ended = service.ended
    repeater = await open_repeater(settings, searching, stack)
    pipeline = build_pipeline(
        settings, searching, answering, ended=ended, variant=name, repeater=repeater
    )
    made = Variant(pipeline, variant.collections)
    await _warm(made, service)
    return made


async def _open_searching(
    settings: Settings, service: Service, stack: contextlib.AsyncExitStack
) -> Searching:
    """Returns what a variant searches with: the service's own parts, as far as they are equal."""
    base, opened = service.settings, service
    if _unpriced(settings.embedder) != _unpriced(base.embedder):
        embedder = await asyncio.to_thread(build_embedder, settings.embedder)
        stack.callback(embedder.close)
        index = opened.index
        if settings.index.kind == "qdrant":  # it checks the length of vectors
            folder = settings.data_dir.resolve() / INDEX
            index = build_index(settings, folder, embedder.dim, opened.encoder)
            stack.push_async_callback(index.close)
        tokens = build_token_embedder(settings.reranker, embedder)
        opened = replace(opened, embedder=embedder, index=index, tokens=tokens)
        await opened.warm()
    elif (settings.retrieval, settings.reranker) == (base.retrieval, base.reranker):
        return opened
    seconds = settings.limits.query_seconds * STAGE_SHARE
    encoder, index = opened.encoder, opened.index
    reranker = await open_reranker(
        settings.reranker, stack, tokens=opened.tokens, encoder=encoder, index=index
    )
    return replace(
        opened,
        retriever=build_retriever(
            settings.retrieval,
            settings.reranker,
            seconds,
            reranker=reranker,
            embedder=build_question_embedder(settings.reranker, opened.embedder, opened.tokens),
            encoder=encoder,
            index=index,
            reads=opened.embedder.reads,
            cache=open_model_cache(settings, stack),  # its reranker may be another
        ),
    )


def _unpriced(part: EmbedderSettings) -> Mapping[str, object]:
    """Returns what decides an embedder's vectors: two that differ in their price are one model."""
    return part.model_dump(exclude={"input_price"})


async def _open_answering(
    settings: Settings, service: Service, searching: Searching, stack: contextlib.AsyncExitStack
) -> Answering:
    """Returns what a variant answers with; a language model that is open is not opened again."""
    base, ours = service.settings, service.answering
    if searching.embedder is not service.embedder:
        return await open_answering(settings, searching, stack)
    finder = ours.finder
    if settings.generator == base.generator:
        return build_answering(
            settings, searching, ours.support, finder, ours.generator, ours.model
        )
    alone = not base.fallbacks and not base.routes
    if ours.model and alone and same_model(settings.generator, base.generator):
        generator = build_chat(settings.generator, finder, ours.model)
        return build_answering(settings, searching, ours.support, finder, generator, ours.model)
    return await open_answering(settings, searching, stack)


async def _warm(variant: Variant, service: Service) -> None:
    """Searches the collections that the variant alone searches; they are opened by it."""
    scopes = await service.catalog.collections.everywhere()
    for scope in scopes:
        if scope.collection in variant.collections.values():
            await variant.pipeline.warm(scope)
