"""Tells whether an answer has a gold answer in it, with figures compared by value and unit.

Words are compared as in `eval.measures.squad`, figures as `rag.text.figures` reads them: "£68,400"
is "68,400" and "68.4k", "90 minutes" is "1.5 hours"; "£50" is not "$50", and 5 km are not 5 miles.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from eval.measures.squad import ENGLISH, normalized
from rag.text.figures import LONGEST, Figure, figures, in_digits
from rag.text.stated_figures import is_stated, missing_figures

_ALONE = r"(?<![\w.,]){}(?!\w|[.,]\d)"
"""Pattern of a figure that is no part of another one."""


def correct(answer: str, golds: Sequence[str], language: str = ENGLISH) -> float:
    """Returns 1 if the answer has a gold answer in it, else 0.

    Args:
        answer: the answer without markers; empty if it abstained.
        golds: the gold answers; none if the question has no answer. Then abstaining is correct.
        language: a tag such as `de` or `de-CH`.
    """
    right = [gold for gold in golds if normalized(gold, language)]
    if not right:
        return float(not normalized(answer, language))
    return float(any(_is_in(gold, answer, language) for gold in right))


def _is_in(gold: str, answer: str, language: str) -> bool:
    words, there = normalized(gold, language), normalized(answer, language)
    if f" {words} " in f" {there} " and _has_figures(gold, answer):
        return True
    return _follow(_tokens(gold, language), _tokens(answer, language))


def _has_figures(gold: str, answer: str) -> bool:
    """Returns True if the answer has all figures of the gold answer: equal ones, or as written.

    Words are compared without punctuation, by which "1.5" is "15" and "$50" is in "50 €".
    """
    missing = missing_figures(gold, [answer])
    return all(re.search(_ALONE.format(re.escape(each.text)), answer) for each in missing)


def _tokens(text: str, language: str) -> list[str | Figure]:
    """Returns the words of a text as they are compared, and its figures, in their order."""
    text = text[:LONGEST]
    written, place = in_digits(text), 0
    found: list[str | Figure] = []
    for figure in figures(text):
        found += normalized(written[place : figure.start], language).split()
        found.append(figure)
        place = figure.end
    return found + normalized(written[place:], language).split()


def _follow(wanted: Sequence[str | Figure], there: Sequence[str | Figure]) -> bool:
    """Returns True if all tokens of `wanted` follow each other somewhere."""
    starts = range(len(there) - len(wanted) + 1)
    return any(all(map(_same, wanted, there[start:])) for start in starts)


def _same(wanted: str | Figure, there: str | Figure) -> bool:
    if isinstance(wanted, Figure) and isinstance(there, Figure):
        return is_stated(wanted, [there])
    return wanted == there
