"""The picture of the architecture is that of the code."""

from __future__ import annotations

from tests.architecture import PICTURE, draw, imports, levels, needed


def test_the_picture_is_made_of_todays_imports() -> None:
    assert PICTURE.read_text() == draw(imports()), "Run `make architecture`."


def test_arrows_that_follow_from_others_are_left_out() -> None:
    edges = {
        "a": frozenset({"b", "c"}),
        "b": frozenset({"c"}),
        "c": frozenset[str](),
    }
    assert needed(edges) == {"a": ["b"], "b": ["c"], "c": []}
    assert levels(edges) == {"a": 2, "b": 1, "c": 0}
