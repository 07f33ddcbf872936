"""Decides whether the passages support a sentence that a language model wrote."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from generation.grounding.citations import claims_of
from generation.grounding.groundedness import ClaimScorer
from rag.text.figures import figures
from rag.text.languages import language_of
from rag.text.passages import passage_text
from rag.text.stated_figures import missing_figures
from rag.types import Claim, ClaimOutcome, Float32Array, Hit, Objection

MIN_SUPPORT = 0.3
"""Support below which a claim is refused."""

_ITEM = re.compile(r"\A\s*(?:[-*•–+>]|\(?\d{1,3}[.)]|#{1,6})\s+")
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_QUOTES = re.compile(r"[\"“”„«»*_`]")
_NO_NOUNS = frozenset({"de"})
"""Languages that write every noun with a capital."""
_DECLINES = re.compile(
    r"\bno answer\b"
    r"|\b(?:passages?|documents?|contexts?|texts?|sources?|information|excerpts?)\b[^.]{0,60}"
    r"\b(?:do|does|did) ?(?:not|n['’]t)\b[^.]{0,40}\b(?:say|state|mention|contain|provide|specify"
    r"|answer|include|give|list|address|tell|indicate|describe|cover|explain)"
    r"|\b(?:is|are|was|were) (?:not|n['’]t) (?:\w+ ){0,2}(?:mentioned|specified|stated|provided"
    r"|found|given|included|listed|contained|available|answered)\b"
    r"|\bthere (?:is|are) no (?:\w+ ){0,2}(?:information|mention|answer|details?|passages?)\b"
    r"|\bI (?:do not|don['’]t|cannot|can['’]t|could not|am unable|am not able)\b[^.]{0,40}"
    r"\b(?:know|answer|find|have|see|tell|provide|determine)\b"
    r"|\b(?:Passagen?|Dokumente?n?|Texte?n?|Quellen?|Abschnitte?n?|Informationen)\b[^.]{0,80}"
    r"\b(?:nicht|keine?n?)\b"
    r"|\b(?:nicht|nichts|keine?n?)\b[^.]{0,60}\b(?:Passagen?|Dokumente?n?|Texte?n?|Quellen?)\b"
    r"|\bkeine (?:\w+ ){0,2}(?:Informationen|Angaben?|Antwort)\b"
    r"|\b(?:nicht|keine?n?)\b[^.]{0,40}\b(?:angegeben|erwähnt|genannt|enthalten)\b"
    r"|\bne (?:\w+ ){0,3}(?:pas|aucun\w*)\b[^.]{0,60}\b(?:passages?|documents?|informations?)\b"
    r"|\b(?:passages?|documents?|textes?)\b[^.]{0,60}\bne\b[^.]{0,30}\b(?:pas|aucun\w*)\b"
    r"|\b(?:pasajes?|documentos?|textos?|passagens?)\b[^.]{0,60}\b(?:no|não)\b",
    re.IGNORECASE,
)
"""A sentence that says that the passages hold no answer."""


def declines(sentence: str) -> bool:
    """True for a sentence that says that the passages do not answer, and states no figure."""
    return not figures(sentence) and _DECLINES.search(sentence) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The verdict on one claim.

    Attributes:
        support: 0 to 1, that of the passage that supports it best.
        objection: the reason to refuse it; None if it holds.
        missing: the figures or names that no passage has.
        passages: the numbers of the passages from 1, best first.
    """

    support: float
    passages: tuple[int, ...]
    objection: Objection | None = None
    missing: tuple[str, ...] = ()

    def on(
        self, text: str, outcome: ClaimOutcome, start: int | None = None, end: int | None = None
    ) -> Claim:
        """Returns the record of the claim that it is about."""
        return Claim(
            text=text,
            outcome=outcome,
            support=self.support,
            objection=self.objection,
            missing=self.missing,
            start=start,
            end=end,
        )


class ClaimChecker:
    """Checks claims against the passages of one answer."""

    def __init__(self, hits: Sequence[Hit], scorer: ClaimScorer) -> None:
        self._chunks = [hit.chunk for hit in hits]
        self._scorer = scorer

    @cached_property
    def _texts(self) -> list[str]:
        return [passage_text(chunk) for chunk in self._chunks]

    @cached_property
    def _words(self) -> frozenset[str]:
        """The words of all passages, in lower case."""
        return frozenset(word.lower() for text in self._texts for word in _words(text))

    def figures_missing(self, text: str) -> tuple[str, ...]:
        """Returns the figures of a text that no passage has."""
        return tuple(figure.text for figure in missing_figures(_bare(text), self._texts))

    async def check(self, claim: str) -> Verdict:
        """Returns the verdict on a sentence without markers.

        1. Its figures stand in one passage, or follow from it by a calculation in the claim.
        2. Its names stand in the passages.
        3. That passage supports it.
        """
        claim = _bare(claim)
        missing = [missing_figures(claim, [text]) for text in self._texts]
        scores = (await self._scorer.scores([claim], self._chunks))[0]
        order = _best_first(scores)
        having = [n for n in order if not missing[n - 1]]
        if not having:
            nowhere = self.figures_missing(claim)
            return Verdict(support=0.0, passages=order, objection="figure", missing=nowhere)
        support = float(scores[having[0] - 1])
        if names := self._names_missing(claim):
            return Verdict(support=support, passages=order, objection="name", missing=names)
        objection: Objection | None = None if support >= MIN_SUPPORT else "support"
        return Verdict(support=support, passages=tuple(having), objection=objection)

    def _names_missing(self, claim: str) -> tuple[str, ...]:
        """Returns words with a capital, inside a sentence, that no passage has."""
        if language_of(claim) in _NO_NOUNS:
            return ()
        names = [word for word in _words(claim)[1:] if word[0].isupper()]
        return tuple(dict.fromkeys(name for name in names if not self._has(name)))

    def _has(self, name: str) -> bool:
        lower = name.lower()
        parts = [lower.removesuffix("'s").removesuffix("’s"), *re.split("[-'’]", lower)]
        return any(part in self._words for part in parts)


def claim_in(text: str) -> str | None:
    """Returns the claims of a piece of an answer, without markers; None if it claims nothing."""
    return " ".join(claims_of(text)) or None


def _bare(text: str) -> str:
    """Returns a text without the sign of a list item, and without emphasis."""
    return _QUOTES.sub("", _ITEM.sub("", text)).strip()


def _words(text: str) -> list[str]:
    return _WORD.findall(text)


def _best_first(scores: Float32Array) -> tuple[int, ...]:
    return tuple(int(place) + 1 for place in np.argsort(-scores, kind="stable"))
