"""Compares an answer with the gold answers, by the rules that SQuAD and MLQA publish.

English, and questions without a language, follow SQuAD's own script (Rajpurkar et al. 2016,
https://arxiv.org/abs/1606.05250, and 2018 for questions without an answer,
https://arxiv.org/abs/1806.03822): lower case, no ASCII punctuation, no articles, single spaces.
Other languages follow MLQA's (Lewis et al. 2020, https://arxiv.org/abs/1910.07475): punctuation as
Unicode defines it, articles of the language, and each Chinese character is a word. Neither defines
how to split Japanese or Thai into words: there, a run of letters is one word.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from eval.datasets.corpus import Question

ENGLISH = "en"
_ARTICLES = {
    ENGLISH: re.compile(r"\b(?:a|an|the)\b"),
    "ar": re.compile("ال"),
    "de": re.compile(r"\b(?:ein|eine|einen|einem|eines|einer|der|die|das|den|dem|des)\b"),
    "es": re.compile(r"\b(?:un|una|unos|unas|el|la|los|las)\b"),
    "vi": re.compile(r"\b(?:của|là|cái|chiếc|những)\b"),
}
_HAN = re.compile(r"[\u4e00-\u9fa5]")
_ASCII_PUNCTUATION = str.maketrans("", "", string.punctuation)


class AnswerScores(NamedTuple):
    """Scores from 0 to 1, each for the gold answer that fits best."""

    exact_match: float
    f1: float
    contains_gold: float


def answer_scores(answer: str, golds: Sequence[str], language: str = ENGLISH) -> AnswerScores:
    """Compares an answer with the gold answers.

    Args:
        answer: the answer without markers; empty if it abstained.
        golds: the gold answers; none if the question has no answer. Then all scores are 1 for
            abstaining and 0 for any answer.
        language: a tag such as `de` or `de-CH`.
    """
    predicted = normalized(answer, language)
    # As in SQuAD's script: gold answers of nothing but articles become empty and are left out.
    right = [gold for each in golds if (gold := normalized(each, language))] or [""]
    return AnswerScores(
        exact_match=max(float(predicted == gold) for gold in right),
        f1=max(_f1(predicted.split(), gold.split()) for gold in right),
        contains_gold=max(float(f" {gold} " in f" {predicted} ") for gold in right),
    )


def language_of(question: Question) -> str:
    """Returns `lang` of its metadata; English if there is none."""
    return str(question.meta.get("lang") or ENGLISH)


def normalized(text: str, language: str = ENGLISH) -> str:
    """Returns the words that are compared, separated by single spaces."""
    language = language.partition("-")[0].lower()
    text = text.lower()
    if language == ENGLISH:
        text = text.translate(_ASCII_PUNCTUATION)
    else:
        text = _HAN.sub(r" \g<0> ", "".join(c for c in text if not _is_punctuation(c)))
    if articles := _ARTICLES.get(language):
        text = articles.sub(" ", text)
    return " ".join(text.split())


def _is_punctuation(character: str) -> bool:
    return character in string.punctuation or unicodedata.category(character).startswith("P")


def _f1(predicted: list[str], gold: list[str]) -> float:
    """Returns the harmonic mean of word precision and recall, counting repeated words."""
    if not predicted or not gold:
        return float(predicted == gold)
    common = (Counter(predicted) & Counter(gold)).total()
    return 2 * common / (len(predicted) + len(gold))
