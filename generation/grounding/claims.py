"""Decides whether the passages support a sentence that a language model wrote."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from generation.grounding.agreement import content_words
from generation.grounding.answer_confidence import given_answer
from generation.grounding.calibration import Regression
from generation.grounding.citations import Passage, claims_of, without_markers
from generation.grounding.groundedness import ClaimScorer
from generation.grounding.known_names import KnownNames, words
from generation.grounding.quotes import Quotes
from generation.grounding.restated import SHORT_WORD, misstates, restated_part, restated_row
from generation.grounding.support import shared_grams
from rag.text.figures import LONGEST, Figure, figures, in_digits
from rag.text.folding import without_accents
from rag.text.languages import language_of
from rag.text.lists import without_mark
from rag.text.passages import heading_text, passage_text
from rag.text.stated_figures import missing_figures
from rag.types import Claim, ClaimOutcome, Hit, Objection

MIN_SUPPORT = 0.4
"""Support below which a claim is refused."""
MIN_COVERAGE = 0.7
"""Share of the trigrams of a claim's own words that one place of a passage must have."""
CLOSE = 0.9
"""Support from which a claim is close to a passage."""
MOST_NAMED = 8
"""Missing figures or names of one claim that are listed."""
SHORT_CLAIM = 4
"""Words of a claim from which it says by itself what it is about."""

_WORD_OR_DIGIT = re.compile(r"\w")
_ANSWER_IS = (
    r"the (?:short |final )?answer(?: to (?:the|this|your) question)? is(?: that)?"
    r"|die antwort(?: auf (?:die|diese|ihre) frage)? (?:ist|lautet)"
)
_ANSWER = re.compile(_ANSWER_IS, re.IGNORECASE)
_LEAD = re.compile(
    r"\A(?:so,? |therefore,? )?(?:(?:the|this) (?:passages?|texts?|documents?|contexts?)"
    r"(?: \d{1,2})?"
    r" (?:also )?(?:mentions?|states?|says?|explains?|suggests?|indicates?)(?: that)?"
    r"|(?:according to|based on) the (?:passages?|texts?|documents?|contexts?)[^,\d]{0,40},"
    rf"|{_ANSWER_IS}"
    r"|(?:laut|nach) (?:der passage|den passagen|dem text|dem dokument),?)\s*:?\s*",
    re.IGNORECASE,
)
"""The words before a claim that say where it is from."""
_QUOTES = re.compile(r"[\"“”„«»*`]|(?<!\w)_|_(?!\w)")
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
        support: 0 to 1, that of the passage that supports it best; 0 if figures, names or words
            are missing, or another row of a table has its value.
        passages: the numbers of the passages with its figures, from 1. The first supports it best;
            the others follow by what is known of their support, which may be an upper bound.
        objection: the reason to refuse it; None if it holds.
        missing: the figures or names that no passage has.
    """

    support: float = 0.0
    passages: tuple[int, ...] = ()
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

    def __init__(
        self,
        question: str,
        hits: Sequence[Hit],
        scorer: ClaimScorer,
        quotes: Quotes,
        confidence: Regression,
        *,
        entailed: bool = False,
    ) -> None:
        """Make a checker.

        Args:
            question: the question that is answered.
            hits: its passages.
            scorer: scores how well a passage supports a claim.
            quotes: returns the documents' own sentences that answer the question.
            confidence: the probability that a claim answers it, from `GivenAnswer`.
            entailed: True if the scorer is a model for natural language inference.
        """
        self._question = question
        self._quotes = quotes
        self._confidence = confidence
        self._entailed = entailed
        self._chunks = [hit.chunk for hit in hits]
        self._scorer = scorer

    @cached_property
    def _passages(self) -> list[Passage]:
        """The passages without emphasis and quotation marks, as claims are compared with them."""
        return [
            Passage(
                replace(
                    chunk,
                    text=_QUOTES.sub("", chunk.text),
                    headings=tuple(_QUOTES.sub("", heading) for heading in chunk.headings),
                )
            )
            for chunk in self._chunks
        ]

    @cached_property
    def _texts(self) -> list[str]:
        return [passage_text(chunk) for chunk in self._chunks]

    @cached_property
    def _names(self) -> KnownNames:
        return KnownNames("\n".join(self._texts))

    async def figures_missing(self, text: str) -> tuple[str, ...]:
        """Returns the first figures of a text that no passage has."""
        if len(text) <= LONGEST and not figures(_bare(without_markers(text))):
            return ()
        return await asyncio.to_thread(self._figures_missing, text)

    def _figures_missing(self, text: str) -> tuple[str, ...]:
        if len(text) > LONGEST:
            return (f"{text[:20]}…",)
        missing = missing_figures(_bare(without_markers(text)), self._texts)
        return tuple(figure.text for figure in missing[:MOST_NAMED])

    def _saying(self, claim: str, numbers: Sequence[int], *, bare: bool) -> tuple[int, ...]:
        """Returns those of the passages that have a claim word for word, or else restated."""
        folded = " ".join(claim.split())
        tests: tuple[Callable[[Passage], object], ...] = (
            lambda passage: not bare and passage.quoted(folded),
            lambda passage: restated_row(folded, passage.rows, heading_text(passage.chunk)),
            lambda passage: not bare and restated_part(folded, passage.chunk.text),
        )
        found = (tuple(n for n in numbers if says(self._passages[n - 1])) for says in tests)
        return next(filter(None, found), ())

    def _may_hold(self, claim: str, numbers: Sequence[int]) -> bool:
        """True if one place of these passages has a claim's own words, and no table denies it.

        Nothing is encoded for the others.
        """
        if misstates(claim, [(p.rows, heading_text(p.chunk)) for p in self._passages]):
            return False
        own = self._own_words(claim)
        return self._entailed or any(self._covered(own, number) for number in numbers)

    def _having_figures(self, claim: str) -> list[int]:
        """Returns the numbers of the passages that have all figures of a claim."""
        if not figures(claim):
            return [*range(1, len(self._texts) + 1)]
        missing = (missing_figures(claim, [text]) for text in self._texts)
        return [n for n, figures_missing in enumerate(missing, 1) if not figures_missing]

    def _read(self, claim: str, *, bare: bool) -> Verdict | list[int]:
        """Returns the verdict by a claim's words, or the passages that it is compared with."""
        having = self._having_figures(claim)
        if not having:
            return Verdict(objection="figure", missing=self._figures_missing(claim))
        if saying := self._saying(claim, having, bare=bare):
            return Verdict(support=1.0, passages=saying)
        if names := self._names.missing(claim, self._question):
            return Verdict(objection="name", missing=tuple(names[:MOST_NAMED]))
        return having if self._may_hold(claim, having) else Verdict(objection="support")

    async def check(self, claim: str) -> Verdict:
        """Returns the verdict on a sentence without markers.

        1. Its figures stand in one passage, or follow from it by a calculation in the claim.
        2. Such a passage has it word for word, or restated, which suffices.
        3. Its names stand in the passages. It has no value of another row than the one it names.
           One place of a passage has its own words, those that the question has not.
        4. The passage supports it. Unless it is close to the passage, the sentences that answer the
           question have its own words, too. A bare answer is read with the question, and has to be
           close.

        The words do not matter if the support is an entailment.
        """
        bare = bool(_ANSWER.search(claim)) or len(words(claim)) < SHORT_CLAIM
        claim = stated_in(claim)
        # In a thread: reading the figures of all passages takes tens of milliseconds.
        having = await asyncio.to_thread(self._read, claim, bare=bare)
        if isinstance(having, Verdict):
            return having
        stated = f"{self._question} {claim}" if bare else claim
        chunks = [self._chunks[n - 1] for n in having]
        scores = await self._scorer.scores([stated], chunks, question=self._question)
        order = np.argsort(-scores[0], kind="stable").tolist()
        passages = tuple(having[place] for place in order)
        support = float(scores[0, order[0]])
        objection: Objection | None = "support"
        if support >= MIN_SUPPORT and await self._holds(claim, support, bare=bare):
            objection = None
        return Verdict(support=support, passages=passages, objection=objection)

    async def check_in(self, segment: str, claim: str) -> Verdict:
        """Returns the verdict on a claim, and on the figures of headings and questions around it.

        `segment` is the text that has the claim, with its markers.
        """
        verdict = await self.check(claim)
        if verdict.objection is None and (missing := await self.figures_missing(segment)):
            return replace(verdict, objection="figure", missing=missing)
        return verdict

    async def answer_confidence(self, claim: str) -> float:
        """Returns the probability that a claim that holds answers the question.

        It is that of the quotes if these are in another language: their words cannot be compared.
        """
        quoted, sentence = await self._quotes(), stated_in(claim)
        if _in_two_languages(sentence, quoted.text):
            return quoted.confidence
        return self._confidence.probability(given_answer(self._question, sentence, quoted))

    async def _holds(self, claim: str, support: float, *, bare: bool) -> bool:
        """True if a claim is close to a passage, or the quotes have its words, too."""
        if self._entailed or support >= CLOSE or bare:
            return self._entailed or support >= CLOSE
        return _has_words(self._own_words(claim), (await self._quotes()).text)

    def _own_words(self, claim: str) -> str:
        """Returns the claim's words that the question has not, without its figures.

        Of a claim without figures that repeats the question, these are all.
        """
        asked = {word.lower() for word in words(self._question)}
        text = _without_figures(claim)
        content = [word for word in words(text) if _is_content(word)]
        own = [word for word in content if word.lower() not in asked]
        return " ".join(own or (content if text == claim else []))

    def _covered(self, own: str, number: int) -> bool:
        """True if two sentences of a passage that touch have these words."""
        passage = self._passages[number - 1]
        text, above = passage.chunk.text, heading_text(passage.chunk)
        if not _has_words(own, f"{above} {text}"):
            return False  # nor has a part of it
        spans = passage.sentences
        places = (
            f"{above} {text[before[0] : last[1]]}"
            for before, last in zip([*spans[:1], *spans], spans, strict=False)
        )
        return any(_has_words(own, place) for place in places)


def claim_in(text: str) -> str | None:
    """Returns the claims of a piece of an answer, without markers; None if it claims nothing."""
    claim = " ".join(claims_of(text))
    return claim if _WORD_OR_DIGIT.search(stated_in(claim)) else None


def stated_in(claim: str) -> str:
    """Returns a claim without the mark of a list item, emphasis, and "the answer is"."""
    return _LEAD.sub("", _bare(claim))


def unstated_figures(answer: str, passages: Sequence[Hit]) -> list[Figure]:
    """Returns the figures of an answer that no passage has; the number of a list item is none."""
    texts = [passage_text(hit.chunk) for hit in passages]
    lines = without_markers(answer).splitlines()
    return [figure for line in lines for figure in missing_figures(_bare(line), texts)]


def _bare(text: str) -> str:
    """Returns a text without the mark of a list item, and without emphasis."""
    return _QUOTES.sub("", without_mark(text)).strip()


def _without_figures(claim: str) -> str:
    """Returns a claim without its figures and their units, which are compared by value."""
    found = figures(claim)
    text = in_digits(claim) if found else claim
    for figure in reversed(found):
        text = f"{text[: figure.start]} {text[figure.end :]}"
    return text


def _is_content(word: str) -> bool:
    """True for a word that is no article, preposition or the like, in English or German."""
    return len(word) > SHORT_WORD or (len(word) > 1 and bool(content_words(word)))


def _has_words(wanted: str, text: str) -> bool:
    """True if a text has these words, accents aside, or is in another language."""
    has = shared_grams(without_accents(wanted), without_accents(text)) >= MIN_COVERAGE
    return has or _in_two_languages(wanted, text)


def _in_two_languages(text: str, other: str) -> bool:
    return len({language_of(text), language_of(other)} - {None}) > 1
