"""Builds the parts that embed, search and rerank."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from rag.errors import ConfigError
from rag.settings.retrieval import (
    BertSettings,
    CrossEncoderSettings,
    EmbedderSettings,
    HttpRerankerSettings,
    LateInteractionSettings,
    NoRerankerSettings,
    RerankerSettings,
    RetrievalSettings,
    SentenceTransformersSettings,
)

if TYPE_CHECKING:
    from rag.catalog.catalog import Catalog
    from rag.protocols import Embedder, Index, PassageEmbedder, Reranker, Retriever, TokenEmbedder
    from retrieval.bm25 import Bm25Encoder
    from retrieval.context_window import SectionReader
    from retrieval.embedders.embedder import ModelEmbedder
    from retrieval.rerankers.late_interaction import LateInteraction
    from retrieval.reranking import Reranking

ANSWERS_CACHE_MB = 16
"""MiB of the cache if only answers read passages twice: those of the answers under way."""


def build_embedder(settings: EmbedderSettings) -> ModelEmbedder:
    """Returns the embedder that the settings name, with its model loaded."""
    from retrieval.embedders.embedder import BertEmbedder, SentenceEmbedder, minilm_folder

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


@contextlib.asynccontextmanager
async def loading_embedder(settings: EmbedderSettings) -> AsyncIterator[ModelEmbedder]:
    """Yields the embedder that the settings name, while its model is loaded; closes it at the end.

    If the model cannot be loaded, the embedder's first use raises the error.
    """
    embedder = await asyncio.to_thread(build_embedder, settings)
    loading = asyncio.ensure_future(asyncio.to_thread(embedder.load))
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


async def open_reranker(
    settings: RerankerSettings,
    stack: contextlib.AsyncExitStack,
    *,
    tokens: TokenEmbedder,
    encoder: Bm25Encoder,
    index: Index,
) -> Reranker | None:
    """Opens the reranker that the settings name, closed with the stack; None for none."""
    match settings:
        case NoRerankerSettings():
            return None
        case LateInteractionSettings(stored=stored):
            return build_late_interaction(tokens, encoder, index, stored=stored)
        case CrossEncoderSettings(model=model, library=library, device=device):
            from retrieval.rerankers.cross_encoder import CrossEncoderReranker

            reader = await asyncio.to_thread(
                CrossEncoderReranker, model, library=library, device=device
            )
            stack.callback(reader.close)
            return reader
        case HttpRerankerSettings(url=url, dialect=dialect, model=model, api_key=key):
            from retrieval.rerankers.http import HttpReranker

            remote = HttpReranker(
                url,
                dialect=dialect,
                model=model,
                api_key=key.get_secret_value() if key else None,
                seconds=settings.seconds,
            )
            stack.push_async_callback(remote.close)
            return remote


def build_late_interaction(
    tokens: TokenEmbedder, encoder: Bm25Encoder, index: Index, *, stored: bool = False
) -> LateInteraction:
    """Returns the reranker that needs no further model weights."""
    from retrieval.rerankers.late_interaction import LateInteraction

    return LateInteraction(embedder=tokens, encoder=encoder, index=index, stored=stored)


def build_retriever(
    settings: RetrievalSettings,
    reranking: RerankerSettings,
    seconds: float = 5.0,
    *,
    reranker: Reranker | None,
    embedder: Embedder,
    encoder: Bm25Encoder,
    index: Index,
) -> Retriever:
    """Builds the retriever: the legs, the reranker if any, and diversification if wanted.

    `seconds` is the time limit of embedder and reranker each.
    """
    from retrieval.hybrid import HybridRetriever

    return HybridRetriever(
        embedder=embedder,
        encoder=encoder,
        index=index,
        depth=settings.depth,
        rrf_k=settings.rrf_k,
        weights=settings.weights.model_dump(),
        seconds=seconds,
        reranking=_build_reranking(reranking, reranker, seconds),
        diversity=settings.diversity,
    )


def _build_reranking(
    settings: RerankerSettings, reranker: Reranker | None, seconds: float
) -> Reranking | None:
    from retrieval.reranking import Reranking

    if reranker is None or isinstance(settings, NoRerankerSettings):
        return None
    return Reranking(
        reranker=reranker,
        depth=settings.depth,
        combine=settings.combine,
        feedback=settings.feedback,
        seconds=min(settings.seconds, seconds),
    )


def build_section_reader(
    settings: RetrievalSettings, index: Index, catalog: Catalog
) -> SectionReader | None:
    """Returns the reader that widens hits for the generator; None if the settings give no room."""
    if not settings.context_chars:
        return None
    from retrieval.context_window import SectionReader

    return SectionReader(index=index, catalog=catalog, chars=settings.context_chars)
