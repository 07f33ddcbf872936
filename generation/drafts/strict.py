"""Shows of a model's answer only the sentences that the passages support."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from generation.drafts.draft import Draft, Written
from generation.drafts.segments import Segments
from generation.grounding.claims import ClaimChecker, Verdict, claim_in, declines, stated_in
from generation.grounding.quotes import Quotes
from rag.protocols import SupportScorer
from rag.types import Delta, Hit


@dataclass(frozen=True, slots=True, kw_only=True)
class Remedies:
    """Remedies for a claim that the passages do not support.

    Attributes:
        may_revise: True while there is time to have the rest of the answer written anew.
        quotes: returns the documents' own sentences that answer the question.
    """

    may_revise: Callable[[], bool]
    quotes: Quotes


class StrictDraft(Draft):
    """A draft that releases text sentence by sentence, each after its check.

    At the first claim that the passages do not support, the rest of the answer should be written
    anew: `refused` is that claim, and nothing more is released before `revise`. Later ones are left
    out. Quotes replace the first of them, or one that there is no time to revise, or end the
    answer, unless what was shown is as likely as they are to answer the question. What claims
    nothing, a heading or "as follows:", is released with the claim behind it. What was said before
    is not said again.
    """

    def __init__(
        self,
        passages: Sequence[Hit],
        support: SupportScorer,
        *,
        checker: ClaimChecker,
        remedies: Remedies,
    ) -> None:
        """Make a draft; `checker` has the same passages."""
        super().__init__(passages, support)
        self._claims_checker = checker
        self._may_revise = remedies.may_revise
        self._quotes = remedies.quotes
        self._segments = Segments()
        self._waiting = ""
        self._said: set[str] = set()
        self._written = self._revised = self._replaced = self._declined = False

    async def take(self, delta: Delta) -> list[Written]:
        """Returns the text to send after the next delta; quotes need no check."""
        if delta.model is None:
            self._replaced = self._replaced or bool(delta.text)
            return await self._take_quote(delta)
        self._written = self._written or bool(delta.text)
        return await self._release(self._segments.add(delta.text))

    async def finish(self) -> list[Written]:
        """Returns the rest of the text, unless it should be written anew."""
        out = await self._release(self._segments.finish())
        if self.refused:
            return out
        if self._written:
            out += await self._end()
        return [*out, *await super().finish()]

    def revise(self) -> None:
        """Forgets what was not released: the rest is written anew."""
        super().revise()
        self._revised = True
        self._segments, self._waiting, self._declined = Segments(), "", False

    async def _release(self, segments: Sequence[str]) -> list[Written]:
        out: list[Written] = []
        for segment in segments:
            if self.refused:
                break
            out += await self._judge(segment)
        return out

    async def _judge(self, segment: str) -> list[Written]:
        claim = claim_in(segment)
        if claim is None:
            missing = await self._claims_checker.figures_missing(segment)
            self._waiting += "" if missing else segment
            return []
        if declines(claim):
            self._declined = True
            return []
        stated = stated_in(claim)
        if stated in self._said:
            return []
        verdict = await self._claims_checker.check_in(segment, claim)
        if verdict.objection is None:
            return await self._show(segment, claim, verdict)
        return await self._refuse(claim, verdict)

    async def _show(self, segment: str, claim: str, verdict: Verdict) -> list[Written]:
        self._said.add(stated_in(claim))
        lead, self._waiting = self._waiting, ""
        if not self.text:
            lead, segment = lead.lstrip(), segment if lead.strip() else segment.lstrip()
        elif not (lead or segment)[:1].isspace():
            lead = f" {lead}"
        cited = len(self.citations)
        out = [*await super().take(Delta(text=lead, model="its")), *self.end_sentence()]
        before = len(self.text)
        out += [*await super().take(Delta(text=segment, model="its")), *self.end_sentence()]
        sent = self.text[before:]
        start = before + len(sent) - len(sent.lstrip())
        if len(self.citations) == cited:
            out += await self.cite(verdict)
        self.claims += (verdict.on(claim, "supported", start, len(self.text)),)
        likely = await self._claims_checker.answer_confidence(claim)
        self.confidence = max(self.confidence or 0.0, likely)
        return out

    async def _refuse(self, claim: str, verdict: Verdict) -> list[Written]:
        if not self._revised and self._may_revise():
            self.refused = verdict.on(claim, "rewritten")
            self.claims += (self.refused,)
            return []
        self._revised = True
        needs_quotes = not self._replaced and await self._is_less_likely()
        out = await self._quote() if needs_quotes else []
        self.claims += (verdict.on(claim, "replaced" if out else "removed"),)
        return out

    async def _end(self) -> list[Written]:
        """Returns quotes, if they are likelier to answer than what was written of the text.

        Abstains if nothing is shown.
        """
        if self._declined and not self.claims:
            self.abstained = "declined"
            return []
        out: list[Written] = []
        if not self._replaced and await self._is_less_likely():
            self.unlikely = bool(self.text)
            out = await self._quote()
        self.abstained = None if self.text else "unsupported"
        return out

    async def _is_less_likely(self) -> bool:
        """True if nothing is shown, or the quotes are likelier to answer."""
        return self.confidence is None or self.confidence < (await self._quotes()).confidence

    async def _quote(self) -> list[Written]:
        """Returns the quotes that answer the question, without those that the text has."""
        self._replaced = True
        quoted = await self._quotes()
        self.confidence = max(self.confidence or 0.0, quoted.confidence)
        out: list[Written] = []
        for delta in quoted.deltas:
            stated = stated_in(claim_in(delta.text) or "")
            if stated not in self._said:
                self._said.add(stated)
                out += await self._take_quote(delta)
        return out

    async def _take_quote(self, delta: Delta) -> list[Written]:
        """Returns a quote to send, with a space before it."""
        gap = "" if not delta.text or not self.text or delta.text[:1].isspace() else " "
        return await super().take(replace(delta, text=gap + delta.text))
