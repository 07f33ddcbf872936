"""Measures whether the words with which a claim answers stand where a passage answers the question.

"Where was it built?" and "It was built in Rome." share words; "Rome" is the claim's own. In a
passage that says so, the question fits around "Rome" better than around other names.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from generation.grounding.phrases import (
    NO_RIVAL,
    Phrase,
    Word,
    fits,
    log_odds,
    phrases,
    standings,
)
from generation.grounding.support import shared_grams
from rag.inference.arithmetic import product
from rag.text.yes_no import asks_yes_or_no
from rag.types import Float32Array

if TYPE_CHECKING:
    from generation.grounding.comparison import ReadClaim, ReadPassage

RESTATED = 0.5
"""Share of a claim's letters in words of the question from which it restates the question."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The words that a claim adds to the question that it restates, in runs that stand together."""

    own: Sequence[Sequence[Word]]
    question: ReadClaim


def answer_of(claim: ReadClaim, question: ReadClaim | None) -> Answer | None:
    """Returns the answer of a claim that restates the question; None for any other claim.

    Such a claim has a number or a long word of its own, besides negations, and at most as many
    letters in its own words as in the question's.
    """
    if question is None:
        return None
    own = _own_words(claim.words, question.words)
    words = [word for run in own for word in run]
    answering = any(w.shape != "short" and w.start not in claim.negations for w in words)
    share = sum(float(claim.weights[word.start : word.end].sum()) for word in words)
    if not answering or share > 1 - RESTATED:
        return None
    return Answer(own=own, question=question)


class QuestionFit:
    """How well a question fits the places of a passage, whatever the answer.

    Attributes:
        likeness: float32[sentences]: late interaction with each sentence and the titles above it.
        around: float32[passage tokens]: how near each place is to what the question matches.
    """

    def __init__(self, question: ReadClaim, passage: ReadPassage) -> None:
        cosines = product(question.vectors, passage.vectors)
        self.question = question
        self.likeness: Float32Array = question.weights @ passage.nearest(cosines)
        self.around: Float32Array = question.weights @ fits(cosines, passage.surroundings.nearness)


class AnswerFit:
    """How well the question fits the places where a passage has the words of an answer.

    What takes time is computed when it is first read. `negations` is the number of the question's,
    which a claim that answers it repeats. It is 0 for a question that is answered by yes or no:
    "Don't members pay?" expects that they do.
    """

    def __init__(self, answer: Answer, passage: ReadPassage) -> None:
        self._own = answer.own
        self._passage = passage
        self._question = answer.question
        closed = asks_yes_or_no(answer.question.text)
        self.negations = 0 if closed else len(answer.question.negations)

    @cached_property
    def astray(self) -> float:
        """How much better another sentence fits the question than the one with the own words.

        The difference of late interactions, 0 to 2. The one with them has most of their trigrams.
        """
        own = " ".join(word.text for run in self._own for word in run)
        shares = np.array([shared_grams(own, sentence) for sentence in self._passage.sentences])
        likeness = self._asked.likeness
        return float(likeness.max() - likeness[shares == shares.max()].max())

    @property
    def rivals(self) -> float:
        """The logarithm of the odds that the question is about another word of the same shape.

        The mean over the own phrases that the passage has, weighted by letters; 0 without any.
        """
        if not self._weights:
            return 0.0
        words = [*self._question.words, *(word for run in self._own for word in run)]
        rivals = self._passage.surroundings.others({word.stem for word in words})
        odds = [
            log_odds(self._asked.around[rivals[phrase.shape]], own)
            if phrase.shape in rivals
            else math.log(NO_RIVAL)
            for phrase, own in zip(self._phrases, self._fits.tolist(), strict=True)
        ]
        return float(np.average(odds, weights=self._weights))

    @property
    def standing(self) -> float:
        """How many standard deviations better the question fits around the own phrases than usual.

        The mean as for `rivals`; usual is the mean over the words of the passage.
        """
        body = self._passage.surroundings.body
        if not self._weights or not body:
            return 0.0
        around = np.repeat(self._asked.around[None, body], len(self._fits), axis=0)
        return float(np.average(standings(around, self._fits), weights=self._weights))

    @cached_property
    def _asked(self) -> QuestionFit:
        return self._passage.asked(self._question)

    @cached_property
    def _phrases(self) -> list[Phrase]:
        surroundings = self._passage.surroundings
        return [phrase for run in self._own for phrase in phrases(run, surroundings)]

    @cached_property
    def _weights(self) -> list[int]:
        return [sum(len(word.text) for word in phrase.words) for phrase in self._phrases]

    @cached_property
    def _fits(self) -> Float32Array:
        """float32[phrases]: the best of the places of each."""
        return np.array(
            [
                max(float(self._asked.around[start:end].mean()) for start, end in phrase.places)
                for phrase in self._phrases
            ],
            np.float32,
        )


def _own_words(claim: Sequence[Word], question: Sequence[Word]) -> list[list[Word]]:
    """Returns the claim's words that the question has in no form, in runs that stand together."""
    texts, stems = {word.text for word in question}, {word.stem for word in question}

    def is_own(word: Word) -> bool:
        return word.text not in texts and (word.shape == "short" or word.stem not in stems)

    return [list(run) for own, run in groupby(claim, key=is_own) if own]
