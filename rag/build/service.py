"""Opens the whole service: everything that ingests, searches and answers."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rag.build.answer_cache import open_answer_cache
from rag.build.generation import (
    build_drafts,
    build_expander,
    build_extractive,
    build_rewriter,
    open_generator,
    open_support,
)
from rag.build.retrieval import STAGE_SHARE, Searching, build_section_reader, open_searching
from rag.build.stage_wrappers import UNWRAPPED, StageWrappers
from rag.build.storage import attributes_of
from rag.build.telemetry import open_answer_recorder
from rag.build.waiting import deadlines
from rag.pipeline.query import QueryPipeline
from rag.pipeline.repeating import Repeater
from rag.settings.tree import Settings

if TYPE_CHECKING:
    from generation.drafts.policy import Drafts
    from rag.protocols import ChatModel, Generator, SupportScorer
    from retrieval.context_window import SectionReader
    from retrieval.embedders.embedder import ModelEmbedder


@dataclass(frozen=True, slots=True, kw_only=True)
class Service(Searching):
    """The parts of a process that answers as well."""

    query: QueryPipeline
    support: SupportScorer
    model: ChatModel | None
    """The language model that writes, if there is one."""
    reader: SectionReader | None
    """Widens hits for whatever writes, if the settings give room."""
    extractive: Generator
    drafts: Drafts


@contextlib.asynccontextmanager
async def open_service(
    settings: Settings,
    wrappers: StageWrappers = UNWRAPPED,
    embedder: ModelEmbedder | None = None,
) -> AsyncIterator[Service]:
    """Opens everything that ingests and answers. Takes and raises what `open_ingesting` does."""
    from generation.grounding.evidence import EvidenceFinder
    from generation.query.task_writer import TaskWriter

    opening = open_searching(settings, wrappers, embedder)
    async with opening as opened, contextlib.AsyncExitStack() as stack:
        settings = opened.settings  # with the folders of models
        recorder = await open_answer_recorder(settings.online, opened.observer, stack)
        observer = replace(opened.observer, recorder=recorder)
        index, tokens, limits = opened.index, opened.tokens, settings.limits
        support = await open_support(settings.citations, tokens, stack)
        evidence = EvidenceFinder(embedder=tokens, encoder=opened.encoder, index=index)
        finder = wrappers.finder(evidence, index)
        generator, model = await open_generator(settings, finder, stack)
        drafts = build_drafts(settings.citations, support, tokens)
        extractive = build_extractive(settings.generator, finder)
        reader = build_section_reader(settings.retrieval, index, opened.catalog)
        contents, privacy = opened.catalog.contents, observer.privacy
        cache = await open_answer_cache(settings, contents, privacy, opened.embedder, stack)
        stage_seconds = limits.query_seconds * STAGE_SHARE
        pipeline = QueryPipeline(
            catalog=opened.catalog,
            tasks=TaskWriter(model, seconds=stage_seconds),
            rewriter=build_rewriter(model, stage_seconds),
            expander=build_expander(settings.retrieval, model, stage_seconds),
            retriever=opened.retriever,
            reader=reader,
            generator=generator,
            extractive=extractive,
            drafts=drafts,
            claims=settings.citations.claims,
            admission=opened.admission,
            ended=observer.ended,
            seconds=deadlines(settings),
            rrf_k=settings.retrieval.rrf_k,
            repeater=None if cache is None else Repeater(cache, contents),
        )
        parts = attributes_of(opened) | {"observer": observer, "query": pipeline}
        yield Service(
            **parts,
            support=support,
            model=model,
            reader=reader,
            extractive=extractive,
            drafts=drafts,
        )
