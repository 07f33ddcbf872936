"""Checks an answer's markers as it grows, and makes text by a model safe to render."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace

from generation.grounding.citations import CitationChecker, uncited
from generation.grounding.claims import Verdict
from generation.sanitizing import SafeText, addresses
from rag.protocols import SupportScorer
from rag.types import Citation, Claim, Delta, Hit, Reason, Retraction

Written = str | Citation | Retraction
"""What a draft sends: text, a citation behind its marker, a retraction behind what it retracts."""


class Draft:
    """An answer's text, checked and returned as it grows.

    Attributes:
        claims: the sentences that were checked beyond their markers; here none.
        confidence: the probability that the text answers the question; None: that of the evidence.
        unlikely: True if quotes end it because they are likelier to answer than the rest.
        abstained: the reason why nothing remained of the answer; here none.
        refused: the claim for which the rest should be written anew; here none.
    """

    def __init__(
        self,
        passages: Sequence[Hit],
        support: SupportScorer,
        known: AbstractSet[str] | None = None,
    ) -> None:
        """Make a draft; `known` are the passages' addresses, if collected before."""
        self._checker = CitationChecker(passages, support)
        self._safe = SafeText(addresses(passages) if known is None else known)
        self._by_model = False
        self.text = ""
        self.citations: tuple[Citation, ...] = ()
        self.claims: tuple[Claim, ...] = ()
        self.confidence: float | None = None
        self.unlikely = False
        self.abstained: Reason | None = None
        self.refused: Claim | None = None

    @property
    def unsupported(self) -> tuple[int, ...]:
        """The markers that were removed."""
        return self._checker.unsupported

    @property
    def uncited(self) -> tuple[str, ...]:
        """The sentences that no citation supports."""
        return uncited(self.text, self.citations)

    async def take(self, delta: Delta) -> list[Written]:
        """Returns text to send after the next delta, and citations behind their markers."""
        self._by_model = delta.model is not None
        return self._write(await self._checker.feed(delta.text))

    async def finish(self) -> list[Written]:
        """Returns the text held back, once the answer is complete."""
        return self.end_sentence()

    def end_sentence(self) -> list[Written]:
        """Returns the text held back: behind a sentence, nothing can become a marker or a link."""
        out = self._write(self._checker.finish())
        if rest := self._safe.finish():
            self.text += rest
            out.append(rest)
        return out

    def revise(self) -> None:
        """Forgets what was refused: the rest is written anew."""
        self.refused = None

    async def cite(self, verdict: Verdict) -> list[Written]:
        """Returns a marker for the text since the last one, which holds, and its citation."""
        return self._write(await self._checker.cite(verdict.passages, verdict.support))

    def _write(self, events: Sequence[str | Citation]) -> list[Written]:
        out: list[Written] = []
        for event in events:
            if isinstance(event, Citation):  # behind its marker
                start, end = self.text.rindex("["), len(self.text)
                citation = replace(event, marker_start=start, marker_end=end)
                self.citations += (citation,)
                out.append(citation)
            elif text := self._safe.feed(event) if self._by_model else event:
                self.text += text
                out.append(text)
        return out
