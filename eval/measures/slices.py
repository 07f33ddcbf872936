"""The slices of a set that a question belongs to, so that means can be computed for each."""

from __future__ import annotations

import re
from collections.abc import Sequence

from eval.datasets.corpus import Question
from eval.measures.squad import language_of, normalized

ANSWERABLE = "answerable"
_TYPE = re.compile(r"\b(?:who|what|when|where|which|why|how)\b")
_SHORT, _LONG = 8, 10
"""Words without articles: about a third of SQuAD's questions has fewer, more, or neither."""


def slices_of(question: Question, fields: Sequence[str] = ()) -> dict[str, str]:
    """Returns the slices of a question, by name.

    `answerable` is `yes` or `no`, `length` the number of words, `type` the first English question
    word, `other` if there is none.

    Args:
        question: as the set has it.
        fields: further slices, by fields of its metadata; one that it lacks makes no slice.
    """
    of_metadata = {name: str(question.meta[name]) for name in fields if name in question.meta}
    question_word = _TYPE.search(question.text.lower())
    return {
        ANSWERABLE: "yes" if question.answerable else "no",
        "length": _length(question),
        "type": question_word[0] if question_word else "other",
        **of_metadata,
    }


def _length(question: Question) -> str:
    words = len(normalized(question.text, language_of(question)).split())
    if words < _SHORT:
        return f"under {_SHORT} words"
    return f"{_SHORT} to {_LONG} words" if words <= _LONG else f"over {_LONG} words"
