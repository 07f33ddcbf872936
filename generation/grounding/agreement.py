"""Measures whether a quote can hold what its question asks for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from generation.grounding.answer_types import lacks_count, lacks_type, stem
from generation.grounding.choice import Candidate, Features
from rag.text.passages import heading_text, passage_text
from rag.types import Float32Array

MATCHED = 0.6
"""Cosine from which a word counts as matched."""
_SHORT = 4
_WORD = re.compile(r"\w+(?:['’]\w+)?")
_DIGITS = re.compile(r"\d+")
_FUNCTION_WORDS = frozenset(
    word
    for line in (
        "a an the this that these those of in on at to for from by with about into over under",
        "after before during between as and or but if than then so such not no nor only is are",
        "was were be been being am do does did done have has had having can could may might",
        "must shall should will would i me my mine we us our you your he him his she her it",
        "its they them their one there here what which who whom whose when where why how much",
        "many long often far old get gets got der die das den dem des ein eine einen einem",
        "einer eines und oder aber wenn als dann so nicht kein keine keinen nur auch noch",
        "schon ist sind war waren sein bin bist wird werden wurde wurden worden habe hat haben",
        "hatte hatten kann können könnte muss müssen soll sollen darf dürfen will wollen",
        "möchte mag gibt es ich mich mir mein meine meinen meinem wir uns unser du dich dir er",
        "ihn ihm sie ihr ihre ihren ihrem sich man im am auf aus bei beim mit nach von vom vor",
        "zu zum zur für unter um durch gegen ohne bis ab seit während wegen zwischen was",
        "welche welcher welches welchen welchem wer wem wen wessen wann wo woher wohin warum",
        "weshalb wieso wie viel viele lange oft weit hoch groß alt pro je etwa",
    )
    for word in line.split()
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedWord:
    """A word of the question that says what it is about: its text, its tokens, its weight."""

    text: str
    tokens: npt.NDArray[np.bool_]
    weight: float


def content_words(question: str) -> list[re.Match[str]]:
    """Returns the words of an English or German question that are no function words."""
    return [m for m in _WORD.finditer(question) if m[0].lower() not in _FUNCTION_WORDS]


def with_agreement(
    candidate: Candidate, question: str, words: Sequence[AskedWord], nearest: Float32Array
) -> Features:
    """Returns the features of a chosen unit, completed with those of what is quoted of it.

    Args:
        candidate: the unit.
        question: the question.
        words: its content words.
        nearest: float32[question's tokens], the best cosine of each with a token of the passage.
    """
    chunk, sentence = candidate.chunk, candidate.sentence
    spans = (*candidate.unit.context, sentence.span)
    quote = " ".join(chunk.text[start:end] for start, end in spans)
    numbers = set(_DIGITS.findall(f"{heading_text(chunk)} {quote}"))
    return replace(
        candidate.features,
        type_missing=float(lacks_type(question)(quote)),
        count_missing=float(lacks_count(question)(quote)),
        number_missing=float(not numbers.issuperset(_DIGITS.findall(question))),
        unmatched=_unmatched(words, nearest, passage_text(chunk).lower()),
    )


def _unmatched(words: Sequence[AskedWord], nearest: Float32Array, passage: str) -> float:
    """Returns how far the words are from any of the passage, weighted by IDF, 0 to `MATCHED`."""
    total = sum(word.weight for word in words)
    gaps = (
        word.weight * max(0.0, MATCHED - float(nearest[word.tokens].mean()))
        for word in words
        if word.tokens.any() and not _is_in(word.text, passage)
    )
    return sum(gaps) / total if total else 0.0


def _is_in(word: str, passage: str) -> bool:
    """True if the passage has the word, in any inflection or as a part of a compound."""
    if len(word) < _SHORT:
        return re.search(rf"\b{re.escape(word.lower())}\b", passage) is not None
    return stem(word) in passage
