"""Stores answers in the catalog, off the path of the question."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from rag.catalog.answers import Answers
from rag.errors import RagError
from rag.privacy.policy import Privacy
from rag.process.background import running
from rag.records import DAY, LiveAnswer
from rag.telemetry import metrics
from rag.telemetry.trace import Trace, is_sampled, trace_json
from rag.types import Answer, Citation, Claim, Hit, Query

MAX_WAITING = 256
"""Most answers that may wait for the catalog; further ones are lost, and counted."""
GATHER_SECONDS = 0.2
"""Seconds in which answers are gathered for one transaction."""
FLUSH_SECONDS = 5.0
"""Seconds at the end for the answers that still wait."""
TIDY_SECONDS = 600.0
_STAGES = ("retrieve", "rerank", "generate", "cite")
_log = logging.getLogger(__name__)


class AnswerRecorder:
    """Stores answers for feedback, and has a share of them scored.

    Attributes:
        stored: Set whenever answers were stored.
    """

    def __init__(self, answers: Answers, privacy: Privacy, *, rate: float, days: float) -> None:
        """Makes a recorder.

        Args:
            answers: Stores them.
            privacy: Decides what may be kept of them.
            rate: Share of them to score.
            days: Days for which they are kept.
        """
        self._answers = answers
        self._privacy = privacy
        self._rate = rate
        self._days = days
        self._waiting: asyncio.Queue[LiveAnswer | asyncio.Event] = asyncio.Queue(MAX_WAITING)
        self.stored = asyncio.Event()

    def record(self, query: Query, trace: Trace, answer: Answer, *, sent: bool) -> None:
        """Queues an answer to be stored; `sent`: its trace is on its way. Returns at once."""
        # What may not be read later cannot be scored.
        to_score = self._privacy.allows(query.scope.tenant)
        # Sampled by the answer's id: callers choose those of traces.
        to_score &= is_sampled(answer.id, self._rate)
        live = _live(query, trace, answer, sent=sent, to_score=to_score)
        try:
            self._waiting.put_nowait(live)
        except asyncio.QueueFull:
            metrics.answer_kept("lost")

    async def flush(self) -> None:
        """Returns once everything taken before is stored, or lost."""
        reached = asyncio.Event()
        await self._waiting.put(reached)
        await reached.wait()

    @contextlib.asynccontextmanager
    async def started(self) -> AsyncIterator[None]:
        """Stores what is taken until the end of the block, and then what remains."""
        async with running(self._run(), self._tidy()):
            try:
                yield
            finally:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(FLUSH_SECONDS):
                        await self.flush()

    async def _run(self) -> None:
        while True:
            batch = [await self._waiting.get()]
            await asyncio.sleep(GATHER_SECONDS)
            while not self._waiting.empty():
                batch.append(self._waiting.get_nowait())
            if answers := [item for item in batch if isinstance(item, LiveAnswer)]:
                await self._store(answers)
            for item in batch:
                if isinstance(item, asyncio.Event):
                    item.set()

    async def _store(self, batch: list[LiveAnswer]) -> None:
        try:
            await self._answers.keep(await asyncio.to_thread(self._allowed, batch))
        except RagError as error:
            _log.error("Answers are not kept: %s", error.in_full())
            outcome = "lost"
        except Exception as error:  # noqa: BLE001 - later answers must still be stored
            # The message is left out: it may hold an answer's words.
            _log.error("Answers are not kept (%s).", type(error).__name__)
            outcome = "lost"
        else:
            outcome = "kept"
            self.stored.set()
        for _ in batch:
            metrics.answer_kept(outcome)

    def _allowed(self, batch: list[LiveAnswer]) -> list[LiveAnswer]:
        """Returns the answers without the content that may not be kept."""
        return [
            replace(
                answer,
                content=self._content(answer.content, answer.scope.tenant),
                trace=answer.trace and self._trace(answer.trace, answer.scope.tenant),
            )
            for answer in batch
        ]

    def _content(self, content: Any, tenant: str) -> Any:
        """Masks the texts of content, leaves ids and numbers; None if nothing may be kept."""
        if not self._privacy.allows(tenant):
            return None
        match content:
            case str():
                return self._privacy.content(content, tenant) or ""
            case list():
                return [self._content(item, tenant) for item in content]
            case dict():
                return {
                    name: value if name.endswith("_id") else self._content(value, tenant)
                    for name, value in content.items()
                }
            case _:
                return content

    def _trace(self, trace: Any, tenant: str) -> Any:
        content = {name: self._content(trace[name], tenant) for name in ("user", "session", "tags")}
        spans = [
            span | {side: self._privacy.content(span[side], tenant) for side in ("input", "output")}
            for span in trace["spans"]
        ]
        return trace | content | {"spans": spans}

    async def _tidy(self) -> None:
        while True:
            try:
                missed = await self._answers.forget(before=time.time() - self._days * DAY)
            except RagError as error:
                _log.error("Old answers are not removed: %s", error.in_full())
            else:
                if missed:
                    _log.warning("%d answers were not scored in time: does a worker run?", missed)
            await asyncio.sleep(TIDY_SECONDS)


def _live(query: Query, trace: Trace, answer: Answer, *, sent: bool, to_score: bool) -> LiveAnswer:
    # An arm's answer, unless another pipeline wrote it in its place.
    arm = trace.arm if trace.arm and trace.arm.variant == answer.variant else None
    return LiveAnswer(
        id=answer.id,
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
        content={
            "question": answer.question,
            "answer": answer.text,
            "is_json": query.sampling.schema is not None,
            "passages": [_passage(hit, with_text=to_score) for hit in answer.passages],
            "citations": [_citation(citation) for citation in answer.citations],
            "unsupported": len(answer.unsupported),
            "uncited": list(answer.uncited),
            "claims": [_claim(claim) for claim in answer.claims if claim.objection],
        },
        trace=trace_json(trace) if to_score and not sent else None,
        read={h.chunk.document_id: h.chunk.version for h in (*answer.hits, *answer.passages)},
        degraded=answer.degraded,
        input_tokens=answer.usage.input_tokens,
        output_tokens=answer.usage.output_tokens,
        variant=answer.variant,
        rollout=arm.rollout if arm else None,
        rollout_version=arm.version if arm else None,
    )


def _passage(hit: Hit, *, with_text: bool) -> dict[str, Any]:
    chunk = hit.chunk
    return {
        "chunk_id": chunk.id,
        "document_id": chunk.document_id,
        "title": chunk.title,
        "headings": list(chunk.headings),
        "start": chunk.start,
        "end": chunk.end,
        "text": chunk.text if with_text else "",
    }


def _claim(claim: Claim) -> dict[str, Any]:
    return {"text": claim.text, "outcome": claim.outcome, "objection": claim.objection}


def _citation(citation: Citation) -> dict[str, Any]:
    return {
        "document_id": citation.document_id,
        "start": citation.start,
        "end": citation.end,
        "quote": citation.quote,
        "support": citation.support,
    }
