"""The work of a worker: all stages of a task, or only one."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from celery import Celery

from eval.online.scorer import OnlineScorer, open_scorer
from ingest.parse_stage import Parsing
from rag.build.ingest import Ingesting, open_ingesting, open_parsing
from rag.catalog.catalog import Catalog
from rag.records import Task
from rag.settings.tree import Settings
from rag.types import Scope
from workers.celery_queue import CeleryQueue
from workers.eval_answering import Answering


class Work(Protocol):
    """The operations of a worker, opened once for all its tasks."""

    @property
    def catalog(self) -> Catalog:
        """The catalog with its tasks."""

    async def take(self, task: Task) -> None:
        """Processes the task.

        Raises:
            BusyError: Another process works on its document.
        """

    async def tidy(self, scope: Scope) -> None:
        """Maintains the index of a scope that was written to."""

    async def score(self, ids: Sequence[str]) -> None:
        """Scores answers. Raises as `OnlineScorer.score`."""

    async def answer(self, run: str, question_id: str) -> None:
        """Answers a question of an offline run."""


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
        if task.stage == "parse":  # a message that comes twice may be of a parsed document
            await self.parsing.parse(task, wait=False)
            self.queue.wake()  # for the worker that embeds it

    async def tidy(self, scope: Scope) -> None:
        """Does nothing: no index was written to."""

    async def score(self, ids: Sequence[str]) -> None:
        """Does nothing and is never called: this worker takes from no queue of answers."""

    async def answer(self, run: str, question_id: str) -> None:
        """Does nothing and is never called: this worker takes from no queue of questions."""


@contextlib.asynccontextmanager
async def all_or_embed(settings: Settings) -> AsyncIterator[Work]:
    """Embeds parsed documents, and parses the others. Raises as `open_ingesting` does."""
    answering = Answering(settings)
    async with (
        open_ingesting(settings) as opened,
        open_scorer(opened) as scorer,
        answering.started(),
    ):
        await opened.warm()
        yield _Ingesting(opened, scorer, answering)


@contextlib.asynccontextmanager
async def parse_alone(settings: Settings, app: Celery) -> AsyncIterator[Work]:
    """Parses documents, and queues them for embedding. Raises as `open_parsing` does."""
    async with open_parsing(settings) as (catalog, parsing):
        queue = CeleryQueue(catalog=catalog, app=app)
        async with queue.started():
            yield _Parsing(catalog, parsing, queue)
