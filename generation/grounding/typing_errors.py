"""Mends typing errors in a question, by the words of the passages that were found for it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

SHORTEST = 4
"""Letters of a word that is mended: shorter ones are near too many others."""
LONG = 8
"""Letters from which two errors in a word are mended."""
_WORD = re.compile(r"[^\W\d_]+")
_ASKING = (
    "what when where which whose does many much long often mean means there have been will "
    "would should could about with from this that wann welche welcher lange viele warum "
    "wieviel gibt wird quand combien comment pourquoi quelle quel "
)


def mended(question: str, spans: npt.NDArray[np.int32], passages: Sequence[str]) -> str:
    """Returns the question with its mistyped words as the passages write them.

    A word is mistyped if no passage has it, the encoder has no token for it, and a word of the
    passages differs by one letter, or by two in a long word. Words with a capital are names.

    Args:
        question: The question.
        spans: int32[tokens, 2], the characters of each of its tokens.
        passages: The texts of the passages.
    """
    odd = [m for m in _WORD.finditer(question) if _is_odd(question, m, spans)]
    if not odd:
        return question
    words = Counter(w for text in passages for w in _WORD.findall(text.lower()))
    known = Counter(_ASKING.split()) + words
    for found in reversed(odd):
        if found[0] not in known and (best := _nearest(found[0], known)):
            question = f"{question[: found.start()]}{best}{question[found.end() :]}"
    return question


def _is_odd(question: str, found: re.Match[str], spans: npt.NDArray[np.int32]) -> bool:
    if len(found[0]) < SHORTEST or not found[0].islower():
        return False
    inside = (spans[:, 0] >= found.start()) & (spans[:, 1] <= found.end())
    return int(inside.sum()) > 1


def _nearest(word: str, known: Counter[str]) -> str | None:
    """Returns the most frequent of the nearest words; None if none is near enough."""
    most = 2 if len(word) >= LONG else 1
    near = [
        (away, -count, other)
        for other, count in known.items()
        if abs(len(other) - len(word)) <= most
        and other[0] in word[:2]
        and (away := distance(word, other)) <= most
    ]
    return min(near)[2] if near else None


def distance(a: str, b: str) -> int:
    """Returns the letters to change, add, drop or swap with the next (Damerau 1964)."""
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, start=1):
        older, before, row = before, row, [i]
        for j, y in enumerate(b, start=1):
            cost = min(before[j] + 1, row[-1] + 1, before[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and y == a[i - 2]:
                cost = min(cost, older[j - 2] + 1)
            row.append(cost)
    return row[-1]
