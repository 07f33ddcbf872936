"""Opens what answers: the parts of a pipeline that come after the search."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rag.build.generation import (
    build_drafts,
    build_expander,
    build_extractive,
    build_rewriter,
    open_generator,
    open_support,
)
from rag.build.retrieval import STAGE_SHARE, Searching, build_section_reader
from rag.build.stage_wrappers import UNWRAPPED, StageWrappers
from rag.build.waiting import deadlines
from rag.pipeline.query import QueryPipeline
from rag.settings.tree import Settings
from rag.types import BASE

if TYPE_CHECKING:
    from generation.drafts.policy import Drafts
    from generation.grounding.answerability import Finder
    from rag.pipeline.repeating import Repeater
    from rag.pipeline.search import Ended
    from rag.protocols import ChatModel, Generator, SupportScorer
    from retrieval.context_window import SectionReader


@dataclass(frozen=True, slots=True, kw_only=True)
class Answering:
    """The parts that answer."""

    support: SupportScorer
    finder: Finder
    generator: Generator
    model: ChatModel | None
    """The language model that writes, if there is one."""
    reader: SectionReader | None
    """Widens hits for whatever writes, if the settings give room."""
    extractive: Generator
    drafts: Drafts


async def open_answering(
    settings: Settings,
    opened: Searching,
    stack: contextlib.AsyncExitStack,
    wrappers: StageWrappers = UNWRAPPED,
) -> Answering:
    """Opens the parts that answer on those that search; closed by the stack.

    Raises:
        ConfigError: A template or a model cannot be opened.
    """
    support = await open_support(settings.citations, opened.tokens, stack)
    finder = build_finder(opened, wrappers)
    generator, model = await open_generator(settings, finder, stack)
    return build_answering(settings, opened, support, finder, generator, model)


def build_finder(opened: Searching, wrappers: StageWrappers = UNWRAPPED) -> Finder:
    """Returns what finds evidence for an answer, once for all parts that ask."""
    from generation.grounding.evidence import EvidenceFinder
    from generation.grounding.shared_evidence import SharedEvidence

    index = opened.index
    evidence = EvidenceFinder(embedder=opened.tokens, encoder=opened.encoder, index=index)
    return SharedEvidence(wrappers.finder(evidence, index))


def build_answering(  # noqa: PLR0917 - the parts that were opened
    settings: Settings,
    opened: Searching,
    support: SupportScorer,
    finder: Finder,
    generator: Generator,
    model: ChatModel | None,
) -> Answering:
    """Returns the parts that answer, of a generator that is open."""
    return Answering(
        support=support,
        finder=finder,
        generator=generator,
        model=model,
        reader=build_section_reader(settings.retrieval, opened.index, opened.catalog),
        extractive=build_extractive(settings.generator, finder),
        drafts=build_drafts(settings.citations, support, opened.tokens),
    )


def build_pipeline(
    settings: Settings,
    opened: Searching,
    answering: Answering,
    *,
    ended: Ended,
    variant: str = BASE,
    repeater: Repeater | None = None,
) -> QueryPipeline:
    """Returns the pipeline of these parts."""
    from generation.query.task_writer import TaskWriter

    model = answering.model
    stage_seconds = settings.limits.query_seconds * STAGE_SHARE
    return QueryPipeline(
        catalog=opened.catalog,
        tasks=TaskWriter(model, seconds=stage_seconds),
        rewriter=build_rewriter(model, stage_seconds),
        expander=build_expander(settings.retrieval, model, stage_seconds),
        retriever=opened.retriever,
        reader=answering.reader,
        generator=answering.generator,
        extractive=answering.extractive,
        drafts=answering.drafts,
        claims=settings.citations.claims,
        admission=opened.admission,
        ended=ended,
        seconds=deadlines(settings),
        rrf_k=settings.retrieval.rrf_k,
        variant=variant,
        repeater=repeater,
    )
