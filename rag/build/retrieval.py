"""Opens what searches: the parts that retrieve and rerank."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rag.build.embedding import build_question_embedder, build_token_embedder
from rag.build.ingest import Ingesting, open_ingesting
from rag.build.stage_wrappers import UNWRAPPED, StageWrappers
from rag.build.storage import attributes_of
from rag.build.waiting import build_admission, deadlines
from rag.settings.retrieval import (
    CrossEncoderSettings,
    HttpRerankerSettings,
    LateInteractionSettings,
    ModelRerankerSettings,
    NoRerankerSettings,
    OnnxColbertSettings,
    OnnxRerankerSettings,
    RerankerSettings,
    RetrievalSettings,
)
from rag.settings.tree import Settings

if TYPE_CHECKING:
    from rag.catalog.catalog import Catalog
    from rag.pipeline.search import SearchPipeline
    from rag.process.fair_admission import FairAdmission
    from rag.protocols import (
        Embedder,
        Index,
        Reranker,
        Retriever,
        StoredIndex,
        StoredVectors,
        TokenEmbedder,
    )
    from retrieval.bm25 import Bm25Encoder
    from retrieval.context_window import SectionReader
    from retrieval.embedders.embedder import ModelEmbedder
    from retrieval.model_cache import ModelCache
    from retrieval.query_encoder import Reads
    from retrieval.rerankers.cross_encoder import PairReranker
    from retrieval.rerankers.late_interaction import LateInteraction
    from retrieval.reranking import Reranking

STAGE_SHARE = 1 / 6
"""Share of a question's deadline for each stage that an answer can do without."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Searching(Ingesting):
    """The parts of a process that finds passages as well."""

    tokens: TokenEmbedder
    """The token embedder with which reranker, generator and citations read passages."""
    reranker: Reranker
    """Late interaction if the settings name no reranker, for requests to rerank."""
    retriever: Retriever
    admission: FairAdmission
    query: SearchPipeline


@contextlib.asynccontextmanager
async def open_searching(
    settings: Settings,
    wrappers: StageWrappers = UNWRAPPED,
    embedder: ModelEmbedder | None = None,
) -> AsyncIterator[Searching]:
    """Opens everything that ingests and searches, with the model of the embedder loaded.

    Takes and raises what `open_ingesting` does.
    """
    from rag.pipeline.search import SearchPipeline

    async with open_ingesting(settings, embedder) as opened, contextlib.AsyncExitStack() as stack:
        settings = opened.settings  # with the folders of models
        index, encoder, limits = opened.index, opened.encoder, settings.limits
        tokens = wrappers.tokens(build_token_embedder(settings.reranker, opened.embedder), index)
        reranker = await open_reranker(
            settings.reranker, stack, tokens=tokens, encoder=encoder, index=index
        )
        questions = build_question_embedder(settings.reranker, opened.embedder, tokens)
        retriever = build_retriever(
            settings.retrieval,
            settings.reranker,
            limits.query_seconds * STAGE_SHARE,
            reranker=reranker and wrappers.reranker(reranker, index),
            embedder=wrappers.embedder(questions, index),
            encoder=encoder,
            index=index,
            reads=opened.embedder.reads,
            cache=opened.model_cache,
        )
        retriever = wrappers.retriever(retriever, index)
        admission = build_admission(settings)
        await opened.warm()
        yield Searching(
            **attributes_of(opened),
            tokens=tokens,
            reranker=reranker or build_late_interaction(tokens, encoder, index),
            retriever=retriever,
            admission=admission,
            query=SearchPipeline(
                catalog=opened.catalog,
                retriever=retriever,
                admission=admission,
                seconds=deadlines(settings),
                rrf_k=settings.retrieval.rrf_k,
                ended=opened.observer.ended,
            ),
        )


async def open_reranker(
    settings: RerankerSettings,
    stack: contextlib.AsyncExitStack,
    *,
    tokens: TokenEmbedder,
    encoder: Bm25Encoder,
    index: StoredVectors,
) -> Reranker | None:
    """Opens the reranker that the settings name, closed with the stack; None for none."""
    match settings:
        case NoRerankerSettings():
            return None
        case LateInteractionSettings(stored=stored):
            return build_late_interaction(tokens, encoder, index, stored=stored)
        case _:
            return await open_model_reranker(settings, stack)


async def open_model_reranker(
    settings: ModelRerankerSettings, stack: contextlib.AsyncExitStack
) -> Reranker:
    """Opens a reranker that has a model of its own, closed with the stack."""
    match settings:
        case CrossEncoderSettings(model=model, library=library, device=device):
            from retrieval.rerankers.cross_encoder import CrossEncoderReranker

            reader: PairReranker = await asyncio.to_thread(
                CrossEncoderReranker, model, library=library, device=device
            )
            stack.callback(reader.close)
            return reader
        case OnnxRerankerSettings(model=model, file=file):
            from retrieval.rerankers.onnx_cross_encoder import OnnxCrossEncoder

            reader = await asyncio.to_thread(OnnxCrossEncoder, model, file=file)
            stack.callback(reader.close)
            return reader
        case OnnxColbertSettings():
            return await _open_colbert(settings, stack)
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


async def _open_colbert(
    settings: OnnxColbertSettings, stack: contextlib.AsyncExitStack
) -> Reranker:
    from retrieval.embedders.embedder import ColbertModel
    from retrieval.embedders.token_cache import TokenCache
    from retrieval.rerankers.colbert import ColbertReranker

    model = await asyncio.to_thread(ColbertModel, settings.model, file=settings.file)
    stack.callback(model.close)
    if not settings.cache_mb:
        return ColbertReranker(model)
    return ColbertReranker(TokenCache(model, max_bytes=settings.cache_mb << 20))


def build_late_interaction(
    tokens: TokenEmbedder, encoder: Bm25Encoder, index: StoredVectors, *, stored: bool = False
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
    index: StoredIndex,
    reads: Reads | None = None,
    cache: ModelCache | None = None,
) -> Retriever:
    """Builds the retriever: the legs, the reranker if any, and diversification if wanted.

    `seconds` is the time limit of embedder and reranker each. `reads` as in `HybridRetriever`.
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
        reads=reads,
        reranking=_build_reranking(reranking, reranker, encoder, seconds, cache),
        hops=settings.hops,
        diversity=settings.diversity,
        cache=cache,
    )


def _build_reranking(
    settings: RerankerSettings,
    reranker: Reranker | None,
    encoder: Bm25Encoder,
    seconds: float,
    cache: ModelCache | None,
) -> Reranking | None:
    from retrieval.proximity import Proximity
    from retrieval.reranking import Reranking

    if reranker is None or isinstance(settings, NoRerankerSettings):
        return None
    by_embedder = isinstance(settings, LateInteractionSettings)
    return Reranking(
        reranker=reranker,
        proximity=Proximity(encoder),
        depth=settings.depth,
        combine=settings.combine,
        feedback=settings.feedback,
        seconds=min(settings.seconds, seconds),
        by_embedder=by_embedder,
        # Late interaction keeps token vectors in memory, and takes less than a look-up.
        cache=None if by_embedder else cache,
    )


def build_section_reader(
    settings: RetrievalSettings, index: Index, catalog: Catalog
) -> SectionReader | None:
    """Returns the reader that widens hits for the generator; None if the settings give no room."""
    if not settings.context_chars:
        return None
    from retrieval.context_window import SectionReader

    return SectionReader(index=index, catalog=catalog, chars=settings.context_chars)
