"""A memo of a function: each result is computed once, and few are kept."""

from __future__ import annotations

from retrieval.bm25 import Bm25Encoder
from retrieval.memo import Memo, TextMemo
from retrieval.word_terms import word_terms


def test_a_result_is_computed_once() -> None:
    asked: list[int] = []

    def double(number: int) -> int:
        asked.append(number)
        return 2 * number

    memo = Memo(double, most=10)
    assert [memo[3], memo[4], memo[3]] == [6, 8, 6]
    assert asked == [3, 4]


def test_no_more_results_are_kept_than_allowed() -> None:
    memo = Memo(str, most=3)
    for number in range(100):
        assert memo[number] == str(number)
        assert len(memo) <= 3


def test_the_result_for_a_text_is_computed_once_while_there_is_room() -> None:
    read: list[str] = []

    def length(text: str) -> int:
        read.append(text)
        return len(text)

    memo = TextMemo(length, most=2)
    assert [memo.of(text) for text in ("cat", "horse", "cat", "dog", "cat")] == [3, 5, 3, 3, 3]
    assert read == ["cat", "horse", "dog", "cat"]


def test_a_word_has_the_terms_of_its_encoder_and_a_stop_word_none() -> None:
    encoder = Bm25Encoder()
    terms = word_terms(encoder)
    (bag,) = encoder.encode(["flowing"])
    assert terms["flowing"] == tuple(bag.indices.tolist())
    assert terms["the"] == ()
