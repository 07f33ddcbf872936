"""Opens the cache of models' results that the settings name."""

from __future__ import annotations

import contextlib
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from rag.process.extras import needing
from rag.settings.retrieval import RerankerSettings
from rag.settings.tree import Settings

if TYPE_CHECKING:
    from retrieval.model_cache import ModelCache


def open_model_cache(settings: Settings, stack: contextlib.AsyncExitStack) -> ModelCache | None:
    """Opens the cache, closed with the stack; None if the settings name none."""
    if settings.model_cache.url is None:
        return None
    with needing("cluster", for_="`model_cache.url`"):
        from retrieval.model_cache import ModelCache

    cache = ModelCache(
        settings.model_cache.url.get_secret_value(),
        seconds=settings.model_cache.ttl_seconds,
        reranker=_fingerprint_of(settings.reranker),
    )
    stack.push_async_callback(cache.close)
    return cache


def _fingerprint_of(settings: RerankerSettings) -> str:
    """Returns a digest of a reranker's settings, and of the names, sizes and times of its files.

    A model on a server, or on the hub, is known by its name alone.
    """
    parts = [settings.model_dump_json()]
    folder = Path(getattr(settings, "model", "") or "?")
    if folder.is_dir():
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        stats = [(str(file.relative_to(folder)), file.stat()) for file in files]
        parts += [f"{name} {stat.st_size} {stat.st_mtime_ns}" for name, stat in stats]
    return sha256("\n".join(parts).encode()).hexdigest()
