"""Scores of settings on the questions of a set, trial by trial."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from eval.datasets.corpus import Corpus, Question
from eval.measures.registry import of_answers
from eval.offline.plan import Plan, settings_for
from eval.offline.run import ask, ingest
from eval.offline.stage_cache import StageCache, key_of
from eval.offline.tune import Value, nested
from eval.runs.run_folder import Outcome
from rag.build.embedding import build_embedder
from rag.build.running import start
from rag.build.service import Service
from rag.settings.retrieval import EmbedderSettings
from rag.settings.tree import load_settings
from rag.types import DEFAULT_TENANT
from retrieval.embedders.embedder import ModelEmbedder
from retrieval.embedders.token_cache import TokenCache

TOKEN_BYTES = 512 << 20
"""Bytes of token vectors, for some 13,000 passages: trials with one chunker read the same ones."""


class Encoder:
    """The embedder that trials share, with the token vectors it made; one is loaded at a time."""

    def __init__(self) -> None:
        self._held: tuple[EmbedderSettings, ModelEmbedder, TokenCache] | None = None

    @classmethod
    @contextlib.contextmanager
    def opened(cls) -> Iterator[Self]:
        """Yields an encoder for one block, and closes what it loaded at the end."""
        encoder = cls()
        try:
            yield encoder
        finally:
            encoder.close()

    async def of(self, settings: EmbedderSettings) -> tuple[ModelEmbedder, TokenCache]:
        """Returns the embedder of these settings; a loaded one of other settings is closed."""
        if self._held is None or self._held[0] != settings:
            self.close()
            embedder = await asyncio.to_thread(build_embedder, settings)
            self._held = settings, embedder, TokenCache(embedder, max_bytes=TOKEN_BYTES)
        return self._held[1:]

    def close(self) -> None:
        """Closes the loaded embedder."""
        if self._held:
            self._held[1].close()
            self._held = None


@dataclass(kw_only=True)
class Trials:
    """Puts a set's questions to the pipeline, with one configuration after another.

    The score of a question is stored, by settings and code: if trials are stopped, it is not asked
    again.

    Attributes:
        corpus: The set; the measure applies to all its questions.
        cache: The folder of everything that is stored.
        stages: Stores intermediate results of questions.
        encoder: Embeds texts.
        measure: The measure that trials are scored by, as `eval.measures.known` gives it.
        top_k: Hits of each question.
        at_once: Questions asked concurrently.
        asked: Number of questions asked, over all trials.
    """

    corpus: Corpus
    cache: Path
    stages: StageCache
    encoder: Encoder
    measure: str
    top_k: int
    at_once: int
    asked: int = 0

    @contextlib.asynccontextmanager
    async def opened(self, settings: Mapping[str, Value]) -> AsyncIterator[Trial]:
        """Opens a trial of settings, by their dotted names; the others keep the values in force.

        Raises:
            ConfigError: The settings do not go together.
        """
        plan = Plan(
            corpus=self.corpus,
            settings=settings_for(load_settings(**nested(settings)), self.cache),
            tenant=DEFAULT_TENANT,
            top_k=self.top_k,
            answers=of_answers(self.measure),
            named=(self.measure,),
        )
        async with contextlib.AsyncExitStack() as stack:
            yield Trial(self, plan, stack)


class Trial:
    """One configuration. The first question that must be asked opens its service."""

    def __init__(self, trials: Trials, plan: Plan, stack: contextlib.AsyncExitStack) -> None:
        self._trials = trials
        self._plan = plan
        self._stack = stack
        self._service: Service | None = None
        info = plan.info()
        self._key = key_of(info.set_fingerprint, info.config, info.version)

    async def values(self, questions: Sequence[Question]) -> list[float]:
        """Returns the score of each question, in their order."""
        trials = self._trials
        keys = {question.id: key_of("value", self._key, question.id) for question in questions}
        kept = {id_: trials.stages.get(key) for id_, key in keys.items()}
        values: dict[str, float] = {id_: value for id_, value in kept.items() if value is not None}

        def take(outcome: Outcome) -> None:
            values[outcome.id] = outcome.measures[trials.measure]
            trials.asked += 1
            if not outcome.error and not outcome.degraded:
                trials.stages.put(keys[outcome.id], values[outcome.id])

        if todo := [question for question in questions if question.id not in values]:
            await ask(await self._open(), self._plan, todo, take, at_once=trials.at_once)
        return [values[question.id] for question in questions]

    async def _open(self) -> Service:
        if self._service:
            return self._service
        plan = self._plan
        embedder, tokens = await self._trials.encoder.of(plan.settings.embedder)
        wrappers = replace(plan.trial_caches(self._trials.stages), tokens=lambda *_: tokens)
        starting = start(plan.settings, wrappers, embedder)
        service, queue = await self._stack.enter_async_context(starting)
        await ingest(service, plan, queue.drain, lambda _: None)
        self._service = service
        return service
