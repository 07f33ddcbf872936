"""Checks an answer in JSON, once it is complete."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal

from generation.drafts.draft import Draft, Written
from generation.grounding.citations import claims_of
from generation.grounding.claims import ClaimChecker, Verdict
from generation.sanitizing import addresses, without_halves
from rag.protocols import SupportScorer
from rag.types import Citation, Claim, ClaimOutcome, Delta, Hit, Reason

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"(?P<key>\s*:)?')
"""A string literal of valid JSON, and the colon behind one that is a key."""
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d{1,3})?")

SENTENCE_WORDS = 4
"""Words from which a string in JSON may claim something: a shorter one is a name or a choice."""


class JsonDraft:
    """An answer in JSON, each of whose strings is a draft; keys are unchanged.

    It is sent once it is complete: a string can be checked, and written anew, when it has ended.
    """

    def __init__(self, passages: Sequence[Hit], support: SupportScorer) -> None:
        self._passages = passages
        self._support = support
        self._known = addresses(passages)  # once, and not for each string
        self._written = ""
        self.text = ""
        self.citations: tuple[Citation, ...] = ()
        self.unsupported: tuple[int, ...] = ()
        self.uncited: tuple[str, ...] = ()
        self.claims: tuple[Claim, ...] = ()
        self.confidence: float | None = None
        self.unlikely = False
        self.abstained: Reason | None = None
        self.refused: Claim | None = None

    async def take(self, delta: Delta) -> list[Written]:
        """Returns nothing yet."""
        self._written += delta.text
        return []

    async def finish(self) -> list[Written]:
        """Returns the whole answer, then the citations."""
        end = 0
        for literal in _STRING.finditer(self._written):
            if literal["key"] is None:
                self.text += self._written[end : literal.start()]
                await self._add(without_halves(json.loads(literal[0])))
                end = literal.end()
        self.text += self._written[end:]
        return [self.text, *self.citations] if self.text else []

    def revise(self) -> None:
        """Forgets what was written: it is written anew."""
        self.refused, self._written = None, ""

    async def _add(self, value: str) -> None:
        draft = Draft(self._passages, self._support, self._known)
        await draft.take(Delta(text=value, model="its"))
        await draft.finish()
        at = len(self.text) + 1
        for citation in draft.citations:
            before, marker = (
                _inside(draft.text[:place])
                for place in (citation.marker_start, citation.marker_end)
            )
            moved = replace(citation, marker_start=at + len(before), marker_end=at + len(marker))
            self.citations += (moved,)
        self.text += f'"{_inside(draft.text)}"'
        self.unsupported += draft.unsupported
        if len(value.split()) >= SENTENCE_WORDS:
            self.uncited += draft.uncited


class CheckedJsonDraft(JsonDraft):
    """An answer in JSON whose strings and numbers are checked as claims.

    A string of fewer words than a sentence, and a number, is checked for figures alone; 0 and 1
    often stand for no and yes, and are not. If the passages do not support all of it, a strict
    draft is written anew once (see `StrictDraft`), and then empty: a schema leaves nothing out.
    """

    def __init__(
        self,
        passages: Sequence[Hit],
        support: SupportScorer,
        *,
        checker: ClaimChecker,
        may_revise: Callable[[], bool] | None,
    ) -> None:
        """Make a draft; without `may_revise` it is not strict: claims are listed as marked."""
        super().__init__(passages, support)
        self._checker = checker
        self._may_revise = may_revise
        self._revised = False

    async def finish(self) -> list[Written]:
        """Returns the whole answer, unless it should be written anew or nothing may be shown."""
        before = len(self.claims)
        events = await super().finish()
        await self._check_numbers()
        bad = [claim for claim in self.claims[before:] if claim.objection]
        if not bad or self._may_revise is None:
            return events
        self.text, self.citations, self.unsupported, self.uncited = "", (), (), ()
        if self._revised or not self._may_revise():
            self.abstained = "unsupported"
            outcome: ClaimOutcome = "removed"
        else:
            outcome = "rewritten"
            self.refused = replace(bad[0], outcome="rewritten", start=None, end=None)
        hidden = [_hidden(claim, outcome) for claim in self.claims[before:]]
        self.claims = (*self.claims[:before], *hidden)
        return []

    def revise(self) -> None:
        """Forgets what was written: it is written anew, once."""
        super().revise()
        self._revised = True

    async def _add(self, value: str) -> None:
        start = len(self.text)
        await super()._add(value)
        claims = claims_of(value) if len(value.split()) >= SENTENCE_WORDS else ()
        for claim in claims:
            self._keep(claim, await self._checker.check(claim), start)
        await self._check_figures(value, start)

    async def _check_numbers(self) -> None:
        strings = [literal.span() for literal in _STRING.finditer(self.text)]
        for number in _NUMBER.finditer(self.text):
            inside = any(start <= number.start() < end for start, end in strings)
            if not inside and number[0] not in ("0", "1"):
                await self._check_figures(f"{Decimal(number[0]):f}", number.start(), number.end())

    async def _check_figures(self, text: str, start: int, end: int | None = None) -> None:
        if missing := await self._checker.figures_missing(text):
            verdict = Verdict(objection="figure", missing=missing)
            self._keep(text, verdict, start, end)

    def _keep(self, claim: str, verdict: Verdict, start: int, end: int | None = None) -> None:
        outcome: ClaimOutcome = "marked" if verdict.objection else "supported"
        self.claims += (verdict.on(claim, outcome, start, end or len(self.text)),)


def _hidden(claim: Claim, outcome: ClaimOutcome) -> Claim:
    """Returns the record of a claim in JSON that is not shown."""
    return replace(claim, outcome=outcome, start=None, end=None)


def _inside(text: str) -> str:
    """Returns a text as JSON, without the quotation marks around it."""
    return json.dumps(text, ensure_ascii=False)[1:-1]
