"""Opens the whole service: everything that ingests, searches and answers."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rag.build.retrieval import Searching, open_searching
from rag.build.stage_wrappers import UNWRAPPED, StageWrappers
from rag.build.storage import attributes_of
from rag.build.telemetry import open_answer_recorder
from rag.rollouts.observations import Observations
from rag.rollouts.router import Routed, Router
from rag.settings.tree import Settings
from rag.telemetry.trace import Trace
from rag.types import Answer, Query

if TYPE_CHECKING:
    from rag.build.answer_parts import Answering
    from rag.pipeline.query import QueryPipeline
    from rag.pipeline.search import Ended
    from rag.protocols import ChatModel, SupportScorer
    from retrieval.embedders.embedder import ModelEmbedder


@dataclass(frozen=True, slots=True, kw_only=True)
class Service(Searching):
    """The parts of a process that answers as well."""

    query: QueryPipeline
    """The pipeline of the settings; `route` returns the one for a question of a caller."""
    answering: Answering
    router: Router
    observations: Observations
    ended: Ended
    """Takes a question that has ended; returns at once."""

    @property
    def model(self) -> ChatModel | None:
        """The language model that writes, if there is one."""
        return self.answering.model

    @property
    def support(self) -> SupportScorer:
        """The checker of citations."""
        return self.answering.support

    async def route(self, query: Query, trace: Trace) -> Routed:
        """Returns the pipeline that answers a question, by the rollouts in force."""
        return await self.router.route(query, trace, self.query)


@contextlib.asynccontextmanager
async def open_service(
    settings: Settings,
    wrappers: StageWrappers = UNWRAPPED,
    embedder: ModelEmbedder | None = None,
) -> AsyncIterator[Service]:
    """Opens everything that ingests and answers. Takes and raises what `open_ingesting` does."""
    from rag.build.answer_cache import open_repeater
    from rag.build.answer_parts import build_pipeline, open_answering

    opening = open_searching(settings, wrappers, embedder)
    async with opening as opened, contextlib.AsyncExitStack() as stack:
        settings = opened.settings  # with the folders of models
        recorder = await open_answer_recorder(settings.online, opened.observer, stack)
        observer = replace(opened.observer, recorder=recorder)
        answering = await open_answering(settings, opened, stack, wrappers)
        observations = Observations()
        router = Router(observations, opened.catalog.collections)

        def ended(query: Query, trace: Trace, answer: Answer | None) -> None:
            observer.ended(query, trace, answer)
            router.ended(query, trace, answer)

        repeater = await open_repeater(settings, opened, stack)
        pipeline = build_pipeline(settings, opened, answering, ended=ended, repeater=repeater)
        parts = attributes_of(opened) | {"observer": observer, "query": pipeline}
        yield Service(
            **parts, answering=answering, router=router, observations=observations, ended=ended
        )
