"""The composition root: builds objects from settings, opens and closes them in order."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from rag.build.generation import build_expander, build_rewriter, open_generator, open_support
from rag.build.ingest import build_chunker, build_fetcher, build_parser
from rag.build.retrieval import (
    build_embedder,
    build_late_interaction,
    build_passage_embedder,
    build_question_embedder,
    build_retriever,
    build_section_reader,
    build_token_embedder,
    open_reranker,
)
from rag.build.storage import Storage, build_index, open_storage
from rag.build.telemetry import open_keeper, open_observing
from rag.catalog.catalog import Catalog
from rag.feedback.recorder import Observing
from rag.process.private_folder import INDEX, SPOOL
from rag.settings.tree import Settings
from rag.telemetry import metrics

if TYPE_CHECKING:
    from generation.grounding.answerability import Finder
    from ingest.pipeline import IngestPipeline
    from ingest.sources.files import Spool
    from rag.pipeline import QueryPipeline
    from rag.protocols import (
        ChatModel,
        Embedder,
        Index,
        Reranker,
        Retriever,
        StoredIndex,
        SupportScorer,
        TokenEmbedder,
    )
    from retrieval.bm25 import Bm25Encoder
    from retrieval.embedders.embedder import ModelEmbedder


STAGE_SHARE = 1 / 6
"""Share of a question's deadline for each stage that an answer can do without."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingesting(Storage):
    """The parts of a process that ingests and deletes."""

    spool: Spool
    index: StoredIndex
    embedder: ModelEmbedder
    encoder: Bm25Encoder
    ingest: IngestPipeline
    observing: Observing

    async def warm(self) -> None:
        """Loads the embedder's model, unless it is loaded, and encodes a text.

        Raises:
            ConfigError: The model cannot be loaded.
        """
        await self.embedder.embed(["warm up"], kind="query")


@contextlib.asynccontextmanager
async def open_ingesting(
    settings: Settings, embedder: ModelEmbedder | None = None
) -> AsyncIterator[Ingesting]:
    """Opens everything that ingests, and nothing that answers; closes it at the end.

    The embedder loads its model at its first use, if it can. An `embedder` that is given is used
    instead of that of the settings, and stays open.

    Raises:
        ConfigError: Another process owns the folder, or there is no such model.
        StorageError: The stored data is damaged.
    """
    from ingest.document_trace import DocumentTraces
    from ingest.leftovers import UNSUBMITTED_SECONDS, Leftovers
    from ingest.pipeline import IngestPipeline
    from ingest.settling import settling
    from ingest.sources.fetch import WebReader
    from ingest.sources.files import Spool
    from retrieval.bm25 import Bm25Encoder

    data = settings.data_dir.resolve()
    metrics.tell_apart(settings.metrics.tenants)
    async with open_storage(settings) as storage, contextlib.AsyncExitStack() as stack:
        catalog = storage.catalog
        observing = await open_observing(settings, storage.database, stack)
        spool = Spool(data / SPOOL)
        leftovers = Leftovers(
            catalog=catalog, answers=observing.answers, database=storage.database, spool=spool
        )
        # Files that another process stored a moment ago may not be submitted yet.
        await leftovers.sweep(older_than=0 if storage.alone else UNSUBMITTED_SECONDS)
        if embedder is None:
            embedder = await asyncio.to_thread(build_embedder, settings.embedder)
            stack.callback(embedder.close)
        encoder = Bm25Encoder()
        index = build_index(settings, data / INDEX, embedder.dim, encoder)
        stack.push_async_callback(index.close)
        await _find_losses(catalog, index)
        await stack.enter_async_context(index.erasing())
        parser = build_parser(settings)
        stack.callback(parser.close)
        ingest = IngestPipeline(
            reader=WebReader(parser, build_fetcher(settings)),
            chunker=build_chunker(settings.chunker, embedder.count_tokens),
            embedder=embedder,
            encoder=encoder,
            index=index,
            catalog=catalog,
            spool=spool,
            passages=build_passage_embedder(settings.reranker, embedder),
            traces=DocumentTraces(observing.traces.send, rate=settings.traces.rate),
            seconds=settings.queue.task_seconds,
        )
        await stack.enter_async_context(leftovers.removed())
        opening = settling(pipeline=ingest, index=index, catalog=catalog)
        await stack.enter_async_context(opening)
        yield Ingesting(
            **attributes_of(storage),
            spool=spool,
            index=index,
            embedder=embedder,
            encoder=encoder,
            ingest=ingest,
            observing=observing,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Service(Ingesting):
    """The parts of a process that answers as well."""

    query: QueryPipeline
    support: SupportScorer
    model: ChatModel | None
    """The language model that writes, if there is one."""
    tokens: TokenEmbedder
    """The token embedder with which reranker, generator and citations read passages."""
    reranker: Reranker
    """Late interaction if the settings name no reranker, for requests to rerank."""


def attributes_of(opened: Storage) -> dict[str, Any]:
    """Returns the attributes of an opened part, by name, for the part that is built on it."""
    return {field.name: getattr(opened, field.name) for field in fields(opened)}


def _same(stage: Any, _index: Index) -> Any:
    return stage


@dataclass(frozen=True, slots=True, kw_only=True)
class Between:
    """Wrappers of a question's stages: each takes a stage and returns its replacement.

    The index is the one that all stages use. The embedder is the retriever's, and embeds questions;
    the token embedder is shared by everything that compares token vectors.
    """

    tokens: Callable[[TokenEmbedder, Index], TokenEmbedder] = _same
    embedder: Callable[[Embedder, Index], Embedder] = _same
    reranker: Callable[[Reranker, Index], Reranker] = _same
    retriever: Callable[[Retriever, Index], Retriever] = _same
    finder: Callable[[Finder, Index], Finder] = _same


AS_IT_IS = Between()


@contextlib.asynccontextmanager
async def open_service(
    settings: Settings, between: Between = AS_IT_IS, embedder: ModelEmbedder | None = None
) -> AsyncIterator[Service]:
    """Opens everything that ingests and answers. Takes and raises what `open_ingesting` does."""
    async with open_ingesting(settings, embedder) as opened, contextlib.AsyncExitStack() as stack:
        keeper = await open_keeper(settings.online, opened.observing, stack)
        base = replace(opened, observing=replace(opened.observing, keeper=keeper))
        tokens = build_token_embedder(settings.reranker, base.embedder)
        tokens = between.tokens(tokens, base.index)
        reranker = await open_reranker(
            settings.reranker, stack, tokens=tokens, encoder=base.encoder, index=base.index
        )
        support = await open_support(settings.citations, tokens, stack)
        query, model = await _open_query(
            base, stack, between, tokens=tokens, reranker=reranker, support=support
        )
        await base.warm()
        yield Service(
            **attributes_of(base),
            query=query,
            support=support,
            model=model,
            tokens=tokens,
            reranker=reranker or build_late_interaction(tokens, base.encoder, base.index),
        )


async def _open_query(
    base: Ingesting,
    stack: contextlib.AsyncExitStack,
    between: Between,
    *,
    tokens: TokenEmbedder,
    reranker: Reranker | None,
    support: SupportScorer,
) -> tuple[QueryPipeline, ChatModel | None]:
    """Builds the query pipeline on the open parts; returns it and its language model.

    The stack closes what it opens.
    """
    from generation.grounding.evidence import EvidenceFinder
    from rag.pipeline import QueryPipeline

    settings, index = base.settings, base.index
    finder = EvidenceFinder(embedder=tokens, encoder=base.encoder, index=index)
    generator, model = await open_generator(settings, between.finder(finder, index), stack)
    questions = build_question_embedder(settings.reranker, base.embedder, tokens)
    stage_seconds = settings.limits.query_seconds * STAGE_SHARE
    retriever = build_retriever(
        settings.retrieval,
        settings.reranker,
        stage_seconds,
        reranker=reranker and between.reranker(reranker, index),
        embedder=between.embedder(questions, index),
        encoder=base.encoder,
        index=index,
    )
    pipeline = QueryPipeline(
        catalog=base.catalog,
        rewriter=build_rewriter(model, stage_seconds),
        expander=build_expander(settings.retrieval, model, stage_seconds),
        retriever=between.retriever(retriever, index),
        reader=build_section_reader(settings.retrieval, index, base.catalog),
        generator=generator,
        support=support,
        at_once=settings.limits.questions,
        ended=base.observing.ended,
        seconds=settings.limits.query_seconds,
        rrf_k=settings.retrieval.rrf_k,
    )
    return pipeline, model


async def _find_losses(catalog: Catalog, index: StoredIndex) -> None:
    """Marks documents as failed if their index was removed while the catalog counts on it."""
    from ingest.settler import LOST

    for scope, chunks in (await catalog.collections.everywhere()).items():
        if chunks and not await index.holds(scope):
            await catalog.documents.lose(scope, LOST)
