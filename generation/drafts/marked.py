"""Shows a model's answer as it is written, and marks the sentences that are not supported."""

from __future__ import annotations

from collections.abc import Sequence

from generation.drafts.draft import Draft, Written
from generation.drafts.segments import Segments
from generation.grounding.claims import ClaimChecker, claim_in, declines
from rag.protocols import SupportScorer
from rag.types import Delta, Hit, Retraction

MARK = " [unsupported]"
"""Stands behind a sentence that the passages do not support."""


class MarkedDraft(Draft):
    """A draft that is sent at once, and checked sentence by sentence.

    Behind a claim that the passages do not support come a mark and its retraction; behind one that
    they support and that has no marker, a marker.
    """

    def __init__(
        self, passages: Sequence[Hit], support: SupportScorer, *, checker: ClaimChecker
    ) -> None:
        """Make a draft; `checker` has the same passages."""
        super().__init__(passages, support)
        self._claims_checker = checker
        self._segments = Segments()
        self._sent = 0  # characters of the unfinished segment
        self._start = 0  # its place in the answer
        self._cited = 0  # citations before it

    async def take(self, delta: Delta) -> list[Written]:
        """Returns the text to send after the next delta; quotes need no check."""
        if delta.model is None:
            return await super().take(delta)
        out = await self._end(self._segments.add(delta.text))
        settled = self._segments.unfinished[: self._segments.settled]
        out += await self._send(settled[self._sent :])
        self._sent = max(self._sent, len(settled))
        return out

    async def finish(self) -> list[Written]:
        """Returns the rest of the text."""
        return [*await self._end(self._segments.finish()), *await super().finish()]

    async def _send(self, text: str) -> list[Written]:
        return await super().take(Delta(text=text, model="its")) if text else []

    async def _end(self, segments: Sequence[str]) -> list[Written]:
        """Returns the rest of these segments, and what the check of each adds."""
        out: list[Written] = []
        for segment in segments:
            out += [*await self._send(segment[self._sent :]), *self.end_sentence()]
            out += await self._judge(segment)
            self._sent, self._start = 0, len(self.text)
            self._cited = len(self.citations)
        return out

    async def _judge(self, segment: str) -> list[Written]:
        claim = claim_in(segment)
        if claim is None or declines(claim):
            return []
        verdict = await self._claims_checker.check_in(segment, claim)
        self.confidence = self.confidence or 0.0
        sent = self.text[self._start :]
        start, end = self._start + len(sent) - len(sent.lstrip()), len(self.text)
        if verdict.objection:
            self.claims += (verdict.on(claim, "marked", start, end),)
            self.text += MARK
            return [MARK, Retraction(start=start, end=end, objection=verdict.objection)]
        likely = await self._claims_checker.answer_confidence(claim)
        self.confidence = max(self.confidence, likely)
        out = [] if len(self.citations) > self._cited else await self.cite(verdict)
        self.claims += (verdict.on(claim, "supported", start, len(self.text)),)
        return out
