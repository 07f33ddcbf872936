"""Opens the answer cache that the settings name."""

from __future__ import annotations

import contextlib
import json
from hashlib import sha256
from typing import TYPE_CHECKING

import rag
from rag.build.waiting import deadlines
from rag.process.extras import needing
from rag.settings.answer_cache import (
    MemoryAnswerCacheSettings,
    NoAnswerCacheSettings,
    RedisAnswerCacheSettings,
)
from rag.settings.generation import ExtractiveSettings, GeneratorSettings
from rag.settings.tree import Settings

if TYPE_CHECKING:
    from rag.answer_cache.cache import AnswerCache
    from rag.answer_cache.leases import Leases
    from rag.answer_cache.stores import AnswerStore
    from rag.build.retrieval import Searching
    from rag.catalog.content_versions import ContentVersions
    from rag.pipeline.repeating import Repeater
    from rag.privacy.policy import Privacy
    from rag.protocols import Embedder

_DECIDING = {
    *("embedder", "chunker", "retrieval", "reranker", "index", "generator", "fallbacks"),
    *("routes", "citations"),
}
"""The parts of the settings on which answers depend."""
_PRICES = {"embedder": {"input_price"}, "reranker": {"input_price"}}
"""Settings of them that change no answer: its cost is that of its language models."""
PATIENCE = 0.5
"""Share of a question's deadline for which it waits for one that is the same: it still has time to
be answered by itself."""


async def open_repeater(
    settings: Settings, opened: Searching, stack: contextlib.AsyncExitStack
) -> Repeater | None:
    """Opens what gives the earlier answers of a pipeline again; None if the settings name none."""
    contents, privacy = opened.catalog.contents, opened.observer.privacy
    cache = await open_answer_cache(settings, contents, privacy, opened.embedder, stack)
    if cache is None:
        return None
    from rag.pipeline.repeating import Repeater

    return Repeater(cache, contents)


async def open_answer_cache(
    settings: Settings,
    contents: ContentVersions,
    privacy: Privacy,
    embedder: Embedder,
    stack: contextlib.AsyncExitStack,
) -> AnswerCache | None:
    """Opens the cache, closed with the stack; None if the settings name none."""
    if isinstance(settings.answer_cache, NoAnswerCacheSettings):
        return None
    from rag.answer_cache.cache import AnswerCache

    kind = settings.answer_cache
    store, leases = _store(kind)
    similar = None
    if kind.similarity is not None:
        from rag.answer_cache.semantic import SimilarQuestions

        similar = SimilarQuestions(
            embedder=embedder,
            store=store,
            similarity=kind.similarity,
            seconds=kind.ttl_seconds,
        )
    in_memory = kind.kind == "memory"
    cache = AnswerCache(
        store=store,
        contents=contents,
        fingerprint=fingerprint_of(settings),
        seconds=kind.ttl_seconds,
        patience={name: each * PATIENCE for name, each in deadlines(settings).items()},
        similar=similar,
        leases=leases,
        tags={tag for route in settings.routes for tag in route.tags},
        permits=(lambda _tenant: True) if in_memory else privacy.allows,
    )
    stack.push_async_callback(cache.close)
    return cache


def fingerprint_of(settings: Settings) -> str:
    """Returns a digest of the version, and of all settings and prompts on which answers depend."""
    routed = (route.generator for route in settings.routes)
    generators = (settings.generator, *settings.fallbacks, *routed)
    parts = {
        "version": rag.__version__,
        "settings": settings.model_dump(mode="json", include=_DECIDING, exclude=_PRICES),
        "prompts": [_prompt(part) for part in generators],
    }
    return sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _prompt(settings: GeneratorSettings) -> str:
    """Returns a digest of the prompt template of a language model."""
    if isinstance(settings, ExtractiveSettings):
        return ""
    from generation.prompts import ANSWER, TEMPLATES

    return sha256(((settings.templates or TEMPLATES) / ANSWER).read_bytes()).hexdigest()


def _store(
    settings: MemoryAnswerCacheSettings | RedisAnswerCacheSettings,
) -> tuple[AnswerStore, Leases | None]:
    """Returns the store, and the leases of the processes that share it."""
    match settings:
        case MemoryAnswerCacheSettings(max_mb=size, ttl_seconds=seconds):
            from rag.answer_cache.stores import MemoryStore

            return MemoryStore(max_bytes=size << 20, seconds=seconds), None
        case RedisAnswerCacheSettings(url=url, ttl_seconds=seconds):
            with needing("cluster", for_="`answer_cache.kind = 'redis'`"):
                from rag.answer_cache.leases import Leases
                from rag.answer_cache.redis_store import RedisStore

            store = RedisStore(url.get_secret_value(), seconds=seconds)
            return store, Leases(store.calls)
