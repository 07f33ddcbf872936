"""Sends the traces of questions that have ended, and stores answers and feedback."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from rag.catalog.answers import Answers
from rag.errors import InputError, NotFoundError
from rag.feedback.answer_log import AnswerRecorder
from rag.privacy.policy import Privacy
from rag.records import Feedback, LiveAnswer
from rag.telemetry import metrics
from rag.telemetry.background_sender import TraceSender
from rag.telemetry.trace import Score, Trace
from rag.types import Answer, Principal, Query


@dataclass(frozen=True, slots=True)
class Traces:
    """Sends traces and scores to every destination that the settings name."""

    senders: tuple[TraceSender, ...] = ()

    def send(self, trace: Trace) -> bool:
        """Takes a trace that has ended; returns at once.

        Returns:
            True if nothing more has to be done for it: it is on its way, or there is nowhere to go.
        """
        wanted = [sender.send(trace) for sender in self.senders]
        return any(wanted) or not wanted

    def score(self, scores: Sequence[Score]) -> None:
        """Takes the scores of an answer; returns at once."""
        for sender in self.senders:
            sender.score(scores)


@dataclass(frozen=True, slots=True)
class Observer:
    """Sends traces, stores answers, and takes feedback on them.

    `recorder` is None if no answers are given, or none are stored.
    """

    traces: Traces
    privacy: Privacy
    answers: Answers
    recorder: AnswerRecorder | None = None

    def ended(self, query: Query, trace: Trace, answer: Answer | None) -> None:
        """Takes a question that has ended; returns at once."""
        sent = self.traces.send(trace)
        if answer and self.recorder and trace.live:
            self.recorder.record(query, trace, answer, sent=sent)

    async def add_feedback(self, caller: Principal, answer_id: str, feedback: Feedback) -> None:
        """Stores feedback on the answer with this id, and sends it on.

        Raises:
            InputError: It has only texts, and none are stored.
            NotFoundError: No such answer is kept.
        """
        allowed = await asyncio.to_thread(self._allowed, feedback, caller.tenant)
        if allowed == Feedback():
            raise InputError(
                "Comments and corrections are not stored here (privacy.capture): send a `rating`.",
                code="not_kept",
            )
        answer = await self._store(caller, answer_id, allowed)
        if feedback.rating:
            metrics.feedback(feedback.rating)
        self.traces.score(list(_scores(answer)))

    def _allowed(self, feedback: Feedback, tenant: str) -> Feedback:
        return replace(
            feedback,
            comment=self.privacy.content(feedback.comment, tenant),
            correction=self.privacy.content(feedback.correction, tenant),
        )

    async def _store(self, caller: Principal, answer_id: str, feedback: Feedback) -> LiveAnswer:
        try:
            return await self.answers.add_feedback(caller, answer_id, feedback)
        except NotFoundError:
            if self.recorder is None:
                raise
        await self.recorder.flush()  # it may have been given a moment ago
        return await self.answers.add_feedback(caller, answer_id, feedback)


def _scores(answer: LiveAnswer) -> Iterator[Score]:
    """Yields the feedback on an answer as scores of its trace."""
    feedback = answer.feedback
    nameless = Score(
        name="",
        value="",
        trace_id=answer.trace_id,
        tenant=answer.scope.tenant,
        answer_id=answer.id,
    )
    if feedback.rating:
        value = float(feedback.rating == "up")
        yield replace(nameless, name="feedback", value=value, comment=feedback.comment or "")
    elif feedback.comment:
        yield replace(nameless, name="comment", value=feedback.comment)
    if feedback.correction:
        yield replace(nameless, name="correction", value=feedback.correction)
