"""Proximity: neighbouring words of a question that are near each other in a passage."""

from __future__ import annotations

import pytest

from retrieval.bm25 import K1, Bm25Encoder
from retrieval.proximity import WINDOW, Proximity


def scores(question: str, *passages: str) -> list[float]:
    found: list[float] = Proximity(Bm25Encoder()).scores(question, passages).tolist()
    return found


def test_a_pair_counts_within_the_window_in_either_order() -> None:
    def apart(words: int) -> str:
        return " ".join(["wings", *["x"] * (words - 1), "swept"])

    assert scores("swept wings", apart(1), apart(WINDOW - 1), apart(WINDOW), "wings") == [
        1,
        1,
        0,
        0,
    ]


def test_words_are_stemmed_and_stop_words_between_them_are_passed_over() -> None:
    assert scores("the flow of a wing", "wings flowing") == [1]


def test_words_that_are_not_neighbours_in_the_question_are_no_pair() -> None:
    assert scores("supersonic flow wings", "supersonic wings") == [0]


def test_repetitions_saturate() -> None:
    twice = 2 * (K1 + 1) / (2 + K1)
    assert scores("cat dog", "cat dog", "cat dog cat") == pytest.approx([1, twice])


@pytest.mark.parametrize("question", ["", "cat", "cat cat", "the of", "\u5317\u4eac\u5927\u5b66"])
def test_a_question_without_pairs_scores_zero(question: str) -> None:
    assert scores(question, "cat dog", "\u5317\u4eac\u5927\u5b66") == [0, 0]


def test_without_passages_there_are_no_scores() -> None:
    assert scores("cat dog") == []
