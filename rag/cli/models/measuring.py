"""Measures a generator of the registry: perplexity, score, and answers to one's own questions."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from eval.compare.model_gate import Measured
from eval.datasets.corpus import Corpus, Question
from eval.offline.plan import Plan, settings_for
from eval.offline.run import ask, ingest
from eval.runs.run_folder import Outcome
from generation.models.wrapped import innermost
from rag.build.running import start
from rag.build.service import Service
from rag.build.storage import open_answers
from rag.errors import InputError
from rag.settings.generation import VllmSettings
from rag.settings.tree import Settings
from rag.types import Scope

AT_ONCE = 8
TEXT_CHARS = 100_000
"""Characters of all texts, at most: some 25,000 tokens, each of which both models read."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """The texts and questions that both models are measured with.

    Attributes:
        corpus: the set of questions.
        measure: the name of its score.
        texts: whose perplexity is measured.
        own: one's own questions.
        scope: of one's own collection, whose questions they are.
        cache: a folder for the set's documents.
    """

    corpus: Corpus
    measure: str
    texts: Sequence[str]
    own: Sequence[Question]
    scope: Scope
    cache: Path

    async def measure_model(self, settings: Settings, part: VllmSettings) -> Measured:
        """Measures the model that `part` names; all else is as the settings say.

        The most likely token is always taken, and no other generator helps out.

        Raises:
            ConfigError: The model cannot be opened, or another process owns the data folder.
            InputError: A question failed.
        """
        part = part.model_copy(update={"temperature": 0.0})
        alone = {"generator": part, "fallbacks": (), "routes": ()}
        settings = settings.model_copy(update=alone)
        collection = None if self.corpus.passages else self.scope.collection or None
        plan = Plan(
            corpus=self.corpus,
            settings=settings_for(settings, self.cache, collection),
            tenant=self.scope.tenant,
            collection=collection,
            named=(self.measure,),
        )
        async with self._opened(plan) as service:
            losses = await _losses(service, self.texts)
            outcomes = await _asked(service, plan)
        scores = {o.id: o.measures[self.measure] for o in outcomes if self.measure in o.measures}
        answers = await self._answers(settings) if self.own else []
        return Measured(losses=losses, scores=scores, answers={o.id: o for o in answers})

    async def _answers(self, settings: Settings) -> list[Outcome]:
        collection = self.scope.collection
        plan = Plan(
            corpus=Corpus(name="own", passages=(), questions=tuple(self.own), qrels={}),
            settings=settings_for(settings, self.cache, collection),
            tenant=self.scope.tenant,
            collection=collection,
            named=("failed",),
        )
        async with self._opened(plan) as service:
            return await _asked(service, plan)

    @contextlib.asynccontextmanager
    async def _opened(self, plan: Plan) -> AsyncIterator[Service]:
        async with start(plan.settings) as (service, queue):
            await ingest(service, plan, queue.drain, lambda _: None)
            yield service


async def _asked(service: Service, plan: Plan) -> list[Outcome]:
    outcomes: list[Outcome] = []
    await ask(service, plan, plan.corpus.questions, outcomes.append, at_once=AT_ONCE)
    if failed := [outcome.error for outcome in outcomes if outcome.error]:
        raise InputError(f"{len(failed):,} questions failed, the first for this: {failed[0]}")
    return outcomes


async def _losses(service: Service, texts: Sequence[str]) -> list[float]:
    from generation.models.vllm import VllmModel  # it takes seconds, and is loaded by now

    assert service.model is not None  # noqa: S101 - it is the generator's
    model = innermost(service.model)
    assert isinstance(model, VllmModel)  # noqa: S101 - the settings are of this kind
    losses: list[float] = []
    for place in range(0, len(texts), AT_ONCE):
        batch = texts[place : place + AT_ONCE]
        for found in await asyncio.gather(*map(model.token_losses, batch)):
            losses += found
    return losses


def texts_of(file: Path | None, corpus: Corpus) -> list[str]:
    """Returns the lines of a file, or the set's documents, up to `TEXT_CHARS` in all.

    Documents are taken by a hash of their ids: the same ones each time.

    Raises:
        InputError: The file cannot be read, or there are no texts.
    """
    if file is not None:
        try:
            texts = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"The texts {file} cannot be read: {error}.") from error
    else:
        passages = sorted(corpus.passages, key=lambda p: hashlib.sha256(p.id.encode()).digest())
        texts = [passage.text for passage in passages]
    chosen: list[str] = []
    left = TEXT_CHARS
    for text in filter(str.strip, texts):
        if left <= 0:
            break
        chosen.append(text[:left])
        left -= len(text)
    if not chosen:
        raise InputError("There are no texts: name a file of them with --texts.")
    return chosen


async def own_questions(
    settings: Settings, scope: Scope, *, since: float, most: int
) -> list[Question]:
    """Returns questions that were asked in a collection, each once, chosen by a hash.

    Raises:
        NotFoundError: There is no catalog, or no such collection.
    """
    now = time.time()
    async with open_answers(settings) as (catalog, answers):
        await catalog.collections.check_exists(scope)
        given = await answers.given(scope, now - since, now)
    texts = {" ".join(each.content["question"].split()) for each in given if each.content}
    ids = {hashlib.sha256(text.encode()).hexdigest()[:16]: text for text in texts if text}
    return [
        Question(id=id_, text=ids[id_], answers=(), answerable=True, meta={})
        for id_ in sorted(ids)[:most]
    ]
