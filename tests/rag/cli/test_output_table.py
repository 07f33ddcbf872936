"""Aligned columns of the commands' output."""

from __future__ import annotations

from rag.cli import output


def test_texts_are_set_to_the_left_and_numbers_to_the_right() -> None:
    rows = [("tenant", "requests", "cost"), ("acme", "12", "0.5"), ("a", "1,000", "")]
    assert list(output.table(rows, numbers=2)) == [
        "tenant  requests  cost",
        "acme          12   0.5",
        "a          1,000",
    ]
    assert list(output.table(rows[1:])) == ["acme  12     0.5", "a     1,000"]
