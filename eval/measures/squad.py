"""How an answer compares to the gold answers, by the rules that SQuAD and MLQA publish.

English, and what names no language, by SQuAD's own script (Rajpurkar et al. 2016,
https://arxiv.org/abs/1606.05250, and 2018 for questions without an answer,
https://arxiv.org/abs/1806.03822): lower case, no ASCII punctuation, no articles, single spaces.
Other languages by MLQA's (Lewis et al. 2020, https://arxiv.org/abs/1910.07475): punctuation is what
Unicode says it is, articles are the language's own, and a Chinese character is a word. What neither
says is how to part the words of Japanese or Thai: there, a run of letters is one.
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
    """0 to 1 each, of the gold answer that fits best."""

    exact_match: float
    f1: float
    contains_gold: float


def answer_scores(answer: str, golds: Sequence[str], language: str = ENGLISH) -> AnswerScores:
    """How an answer compares to the gold answers.

    Args:
        answer: what was answered, without markers; empty where it abstained.
        golds: the gold answers; none where the question has no answer. Then all is 1 for
            abstaining and 0 for any answer.
        language: as in `de` or `de-CH`.
    """
    said = normalized(answer, language)
    # As SQuAD's script has it: of gold answers that are nothing but articles, nothing is left.
    right = [gold for each in golds if (gold := normalized(each, language))] or [""]
    return AnswerScores(
        exact_match=max(float(said == gold) for gold in right),
        f1=max(_f1(said.split(), gold.split()) for gold in right),
        contains_gold=max(float(f" {gold} " in f" {said} ") for gold in right),
    )


def language_of(question: Question) -> str:
    """Its metadata's `lang`; English where there is none."""
    return str(question.meta.get("lang") or ENGLISH)


def normalized(text: str, language: str = ENGLISH) -> str:
    """The words that are compared, with single spaces between."""
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


def _f1(said: list[str], gold: list[str]) -> float:
    """The harmonic mean of precision and recall of words, each counted as often as it occurs."""
    if not said or not gold:
        return float(said == gold)
    common = (Counter(said) & Counter(gold)).total()
    return 2 * common / (len(said) + len(gold))
