"""Answers on their way into the catalog, off the path of the question."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, replace
from typing import Any
from uuid import uuid4

from rag import metrics
from rag.answers import Answers
from rag.errors import RagError
from rag.privacy import Privacy
from rag.records import LiveAnswer
from rag.telemetry import Trace, is_sampled, trace_json
from rag.types import Answer, Hit, Query

MAX_WAITING = 256
"""Answers that may wait for the catalog; what comes past it is lost, and counted."""
GATHER_SECONDS = 0.2
"""In which answers come together, for one transaction."""
DAY = 24 * 3600.0
TIDY_SECONDS = 600.0
_STAGES = ("retrieve", "rerank", "generate", "cite")
_log = logging.getLogger(__name__)


def _to_nobody() -> None:
    """Where nobody scores answers."""


class AnswerKeeper:
    """Keeps answers for feedback, and has a share of them scored."""

    def __init__(self, answers: Answers, privacy: Privacy, *, rate: float, days: float) -> None:
        """Make a keeper.

        Args:
            answers: where they are kept.
            privacy: what may be kept of those that are not scored.
            rate: share of those that are to be scored.
            days: for so long.
        """
        self._answers = answers
        self._privacy = privacy
        self._rate = rate
        self._days = days
        self._waiting: asyncio.Queue[LiveAnswer] = asyncio.Queue(MAX_WAITING)
        self.on_kept: Callable[[], None] = _to_nobody

    def take(self, query: Query, trace: Trace, answer: Answer, *, sent: bool) -> None:
        """Takes an answer that was given; `sent`: its trace is on its way. Returns at once."""
        to_score = is_sampled(trace.id, self._rate)
        try:
            self._waiting.put_nowait(_live(query, trace, answer, sent=sent, to_score=to_score))
        except asyncio.QueueFull:
            metrics.answer_kept("lost")

    async def flush(self) -> None:
        """Returns once all that was taken is kept, or lost."""
        await self._waiting.join()

    @contextlib.asynccontextmanager
    async def started(self) -> AsyncIterator[None]:
        """Keeps what is taken until the end of the block, and then what is left."""
        tasks = [asyncio.create_task(work) for work in (self._run(), self._tidy())]
        try:
            yield
            await self.flush()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            batch = [await self._waiting.get()]
            await asyncio.sleep(GATHER_SECONDS)
            while not self._waiting.empty():
                batch.append(self._waiting.get_nowait())
            await self._keep(batch)
            for _ in batch:
                self._waiting.task_done()

    async def _keep(self, batch: list[LiveAnswer]) -> None:
        try:
            await self._answers.keep(await asyncio.to_thread(self._allowed, batch))
        except RagError as error:
            _log.error("Answers are not kept: %s", error)
            outcome = "lost"
        except Exception:  # noqa: BLE001 - what comes later is to be kept
            _log.exception("Answers are not kept")
            outcome = "lost"
        else:
            outcome = "kept"
            self.on_kept()
        for _ in batch:
            metrics.answer_kept(outcome)

    def _allowed(self, batch: list[LiveAnswer]) -> list[LiveAnswer]:
        return [
            answer
            if answer.to_score  # its words are needed until it is
            else replace(answer, content=kept_content(answer, self._privacy))
            for answer in batch
        ]

    async def _tidy(self) -> None:
        while True:
            try:
                missed = await self._answers.forget(before=time.time() - self._days * DAY)
            except RagError as error:
                _log.error("Old answers are not removed: %s", error)
            else:
                if missed:
                    _log.warning("%d answers were not scored in time: does a worker run?", missed)
            await asyncio.sleep(TIDY_SECONDS)


def kept_content(answer: LiveAnswer, privacy: Privacy) -> Any:
    """What may be kept of an answer's content: without the passages' texts, masked, or nothing."""
    if answer.content is None:
        return None
    passages = [{**passage, "text": ""} for passage in answer.content["passages"]]
    return privacy.content({**answer.content, "passages": passages}, answer.scope.tenant)


def _live(query: Query, trace: Trace, answer: Answer, *, sent: bool, to_score: bool) -> LiveAnswer:
    return LiveAnswer(
        id=uuid4().hex,
        trace_id=trace.id,
        scope=query.scope,
        at=trace.root.end / 1e9,
        to_score=to_score,
        question_chars=len(query.text),
        top_score=answer.hits[0].score if answer.hits else None,
        reason=answer.reason,
        confidence=answer.confidence,
        seconds=(trace.root.end - trace.root.start) / 1e9,
        cost=answer.usage.cost,
        spans={"": trace.root.id, **{s.name: s.id for s in trace.spans if s.name in _STAGES}},
        content=_content(answer),
        trace=trace_json(trace) if to_score and not sent else None,
    )


def _content(answer: Answer) -> dict[str, Any]:
    return {
        "question": answer.question,
        "answer": answer.text,
        "passages": [_passage(hit) for hit in answer.passages],
        "citations": [asdict(citation) for citation in answer.citations],
        "unsupported": len(answer.unsupported),
        "uncited": list(answer.uncited),
    }


def _passage(hit: Hit) -> dict[str, Any]:
    chunk = hit.chunk
    return {
        "chunk_id": chunk.id,
        "document_id": chunk.document_id,
        "title": chunk.title,
        "headings": list(chunk.headings),
        "start": chunk.start,
        "end": chunk.end,
        "text": chunk.text,
    }
