from __future__ import annotations

from eval.calibration.phrasing import WAYS, mistyped, put
from generation.query.core_question import core_question

QUESTION = "How long are backups kept?"


def test_the_question_is_found_in_each_way_to_put_it() -> None:
    changed = ("capitals", "a typing error")
    for name, way in WAYS.items():
        if name not in changed:
            assert core_question(way(QUESTION)).endswith(QUESTION), name
    assert {put(QUESTION, place) for place in range(len(WAYS))} == {
        w(QUESTION) for w in WAYS.values()
    }


def test_a_typing_error_swaps_two_letters() -> None:
    assert mistyped(QUESTION) == "How long are bakcups kept?"
