"""Builds the parts that embed texts."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from rag.errors import ConfigError
from rag.settings.retrieval import (
    BertSettings,
    EmbedderSettings,
    LateInteractionSettings,
    OnnxSettings,
    RerankerSettings,
    SentenceTransformersSettings,
)

if TYPE_CHECKING:
    from rag.protocols import Embedder, PassageEmbedder, TokenEmbedder
    from retrieval.embedders.embedder import ModelEmbedder

ANSWERS_CACHE_MB = 16
"""MiB of the cache if only answers read passages twice: those of the answers under way."""


def build_embedder(settings: EmbedderSettings) -> ModelEmbedder:
    """Returns the embedder that the settings name, with its model loaded."""
    from retrieval.embedders.embedder import BertEmbedder, OnnxEmbedder, SentenceEmbedder
    from retrieval.embedders.loading import minilm_folder

    match settings:
        case BertSettings():
            return BertEmbedder(
                settings.model or minilm_folder(),
                device=settings.device,
                dtype=settings.dtype,
                max_waiting=settings.max_waiting,
            )
        case SentenceTransformersSettings():
            return SentenceEmbedder(
                settings.model,
                device=settings.device,
                dtype=settings.dtype,
                query_prompt=settings.query_prompt,
                passage_prompt=settings.passage_prompt,
                max_waiting=settings.max_waiting,
            )
        case OnnxSettings():
            return OnnxEmbedder(
                settings.model,
                file=settings.file,
                pooling=settings.pooling,
                query_prompt=settings.query_prompt,
                passage_prompt=settings.passage_prompt,
                max_waiting=settings.max_waiting,
            )


@contextlib.asynccontextmanager
async def loading_embedder(settings: EmbedderSettings) -> AsyncIterator[ModelEmbedder]:
    """Yields the embedder that the settings name, while its model is loaded; closes it at the end.

    If the model cannot be loaded, the embedder's first use raises the error.
    """
    embedder = await asyncio.to_thread(build_embedder, settings)
    # The thread starts now, not when this coroutine next waits: the caller imports modules first.
    loading = asyncio.get_running_loop().run_in_executor(None, embedder.load)
    try:
        yield embedder
    finally:
        await asyncio.gather(loading, return_exceptions=True)
        embedder.close()


def build_passage_embedder(
    settings: RerankerSettings, embedder: ModelEmbedder
) -> PassageEmbedder | None:
    """Returns the embedder of the token vectors in the index; None if none are stored.

    Raises:
        ConfigError: The token vectors differ in length from the texts' own vectors.
    """
    if not isinstance(settings, LateInteractionSettings) or not settings.stored:
        return None
    if embedder.token_dim != embedder.dim:
        raise ConfigError(
            f"The embedder's token vectors have {embedder.token_dim} numbers and its texts'"
            f" {embedder.dim}, and the index stores both at one length: set reranker.stored ="
            " false, or name another model in embedder.model."
        )
    return embedder


def build_token_embedder(settings: RerankerSettings, embedder: ModelEmbedder) -> TokenEmbedder:
    """Returns the token embedder: reranker, generator and citations read the same passages."""
    megabytes = ANSWERS_CACHE_MB
    if isinstance(settings, LateInteractionSettings):
        megabytes = settings.cache_mb
    if not megabytes:
        return embedder
    from retrieval.embedders.token_cache import TokenCache

    return TokenCache(embedder, max_bytes=megabytes << 20)


def build_question_embedder(
    settings: RerankerSettings, embedder: ModelEmbedder, tokens: TokenEmbedder
) -> Embedder:
    """Returns the retriever's embedder; it also makes the token vectors that a reranker wants."""
    from retrieval.embedders.token_cache import QuestionEmbedder, TokenCache

    if isinstance(settings, LateInteractionSettings) and isinstance(tokens, TokenCache):
        return QuestionEmbedder(embedder, tokens)
    return embedder
