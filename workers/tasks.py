"""What a worker does with a task: all of its way, or one stage."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from celery import Celery

from eval.online.scorer import OnlineScorer, open_scorer
from ingest.parse_stage import Parsing
from rag.build.service import Ingesting, open_ingesting, open_parsing
from rag.catalog.catalog import Catalog
from rag.records import Task
from rag.settings.tree import Settings
from rag.types import Scope
from workers.celery_queue import CeleryQueue
from workers.eval_answering import Answering


class Work(Protocol):
    """What is opened once for all tasks of a worker."""

    @property
    def catalog(self) -> Catalog:
        """Where its tasks are."""

    async def take(self, task: Task) -> None:
        """Does the task.

        Raises:
            BusyError: Somebody works on its document.
        """

    async def tidy(self, scope: Scope) -> None:
        """Puts in order what was written to."""

    async def score(self, ids: Sequence[str]) -> None:
        """Scores answers. Raises as `OnlineScorer.score`."""

    async def answer(self, run: str, question_id: str) -> None:
        """Puts a question of an offline run."""


@dataclass(frozen=True, slots=True)
class _Ingesting:
    opened: Ingesting
    scorer: OnlineScorer
    answering: Answering

    @property
    def catalog(self) -> Catalog:
        return self.opened.catalog

    async def take(self, task: Task) -> None:
        await self.opened.ingest.ingest(task, wait=False)

    async def tidy(self, scope: Scope) -> None:
        await self.opened.index.maintain(scope)

    async def score(self, ids: Sequence[str]) -> None:
        await self.scorer.score(ids)

    async def answer(self, run: str, question_id: str) -> None:
        await self.answering.answer(run, question_id)


@dataclass(frozen=True, slots=True)
class _Parsing:
    catalog: Catalog
    parsing: Parsing
    queue: CeleryQueue

    async def take(self, task: Task) -> None:
        if task.stage == "parse":  # a message that comes twice may be of one that was parsed
            await self.parsing.parse(task, wait=False)
            self.queue.wake()  # for whoever embeds it

    async def tidy(self, scope: Scope) -> None:
        """Nothing was written to an index."""

    async def score(self, ids: Sequence[str]) -> None:
        """Never asked: it takes from no queue of answers."""

    async def answer(self, run: str, question_id: str) -> None:
        """Never asked: it takes from no queue of questions."""


@contextlib.asynccontextmanager
async def all_or_embed(settings: Settings) -> AsyncIterator[Work]:
    """Embeds what was parsed, and parses what was not. Raises as `open_ingesting` does."""
    answering = Answering(settings)
    async with (
        open_ingesting(settings) as opened,
        open_scorer(opened) as scorer,
        answering.started(),
    ):
        yield _Ingesting(opened, scorer, answering)


@contextlib.asynccontextmanager
async def parse_alone(settings: Settings, app: Celery) -> AsyncIterator[Work]:
    """Parses, and hands over to whoever embeds. Raises as `open_parsing` does."""
    async with open_parsing(settings) as (catalog, parsing):
        queue = CeleryQueue(catalog=catalog, app=app)
        async with queue.started():
            yield _Parsing(catalog, parsing, queue)
