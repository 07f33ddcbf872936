"""Claims that restate a row of a table, or a sentence with its figures in other forms."""

from __future__ import annotations

import pytest

from generation.grounding.restated import misstates, restated_part, restated_row
from rag.text.table_cells import table_lines
from tests.fakes import make_chunk

TABLE = """\
| Product | Price (EUR) | Price in shops | Stock | Not sold in | Delivery days |
|---|---|---|---|---|---|
| Lamp | 40 | 50 | 12 | Norway | 3 |
| Desk | 130 | 145 | 40 | Iceland | 5 |
| T40 pump | 1,200 | 1,350 | 0 | Malta | 21 |"""
ROWS = table_lines(make_chunk(TABLE))[0]
TITLES = "Price list 2025\n"


@pytest.mark.parametrize(
    ("claim", "name"),
    [
        ("For Lamp, Stock is 12.", "Lamp"),
        ("The stock of the lamp is twelve.", "Lamp"),
        ("The price of the Lamp is 40 euros.", "Lamp"),
        ("The price of the Lamp is €40.", "Lamp"),
        ("In 2025 the price of the Lamp was 40.", "Lamp"),
        ("The Lamp has a stock of 12 and a price of €40.", "Lamp"),
        ("€50 is the price in shops of a Lamp.", "Lamp"),
        ("For T40 pump, Price (EUR) is 1200.", "T40 pump"),
        ("The delivery of a T40 pump is 21 days.", "T40 pump"),
        ("For Desk, Not sold in is Iceland.", "Desk"),
        ("Stock 40 and delivery days 5", "Desk"),
    ],
)
def test_a_row_is_restated_by_columns_and_values(claim: str, name: str) -> None:
    row = restated_row(claim, ROWS, TITLES)
    assert row is not None
    assert row.cells[0].value == name
    assert not misstates(claim, [(ROWS, TITLES)])


@pytest.mark.parametrize(
    "claim",
    [
        "The price of the Lamp is $40.",
        "The price of the Lamp is 12.",
        "The price of the Lamp is not 40.",
        "The price of the Lamp isn't 40.",
        "The maximum price of the Lamp is 40.",
        "The UK price of the Lamp is 40.",
        "In 2024 the price of the Lamp was 40.",
        "The price in shops of a Lamp is 40.",
        "The Lamp has a price of 12 and a stock of 40.",
        "For Lamp and Desk, Stock is 12.",
        "For Desk, sold in is Iceland.",
        "For Lamp, Stock is.",
        "Stock is 12.",
        "The Lamp.",
        "",
    ],
)
def test_more_or_other_than_a_row_says_does_not_restate_it(claim: str) -> None:
    assert restated_row(claim, ROWS, TITLES) is None


@pytest.mark.parametrize(
    "claim",
    [
        "For Lamp, Stock is 40.",
        "The price of the Desk is €40.",
        "The delivery of the Lamp is 21 days.",
    ],
)
def test_a_value_of_another_row_misstates_a_table(claim: str) -> None:
    assert misstates(claim, [(ROWS, TITLES)])
    assert misstates(claim, [([row], TITLES) for row in ROWS]), "of another passage"
    assert not misstates(claim, [(ROWS[:1], TITLES)]), "no other row has the value"


@pytest.mark.parametrize("claim", ["The Lamp is heavy.", "For Lamp, Stock is 7.", "Stock is 40."])
def test_what_no_row_says_misstates_none(claim: str) -> None:
    assert not misstates(claim, [(ROWS, TITLES)])


def test_equal_values_and_columns_of_one_name_are_right_for_each() -> None:
    rows = table_lines(
        make_chunk(
            "| at a time | p50 | floor | p95 | floor |\n|---|---|---|---|---|\n"
            "| 1 | 302 | 296 | 42 | 41 |\n| 8 | 302 | 290 | 61 | 60 |"
        )
    )[0]
    for claim in ("For 1, floor is 296.", "For 1, floor is 41.", "For 8, p50 is 302."):
        assert restated_row(claim, rows, "") is not None, claim
        assert not misstates(claim, [(rows, "")]), claim
    assert restated_row("For 1, floor is 60.", rows, "") is None


TEXT = "It is kept in 8 bits, with 5,000\nchunks in 5\nms. No more than fifty pounds are paid."


@pytest.mark.parametrize(
    ("claim", "sentence"),
    [
        ("It is kept in eight bits", 0),
        ("with 5000 chunks in 5 ms", 0),
        ("No more than £50 are paid.", 1),
        ("It is kept in nine bits", None),
        ("It is kept in 8 bits in 5 ms", None),
        ("more than £50 are not paid", None),
        ("No more than are paid", None),
    ],
)
def test_a_part_of_a_sentence_is_restated_in_other_forms(claim: str, sentence: int | None) -> None:
    found = restated_part(claim, TEXT)
    at = TEXT.index("No more")
    spans = [(0, at - 1), (at, len(TEXT))]
    assert found == (None if sentence is None else spans[sentence])


def test_signs_behind_a_word_are_part_of_it() -> None:
    rows = table_lines(make_chunk("Language | Variance\nC# | invariant\nC++ | none"))[0]
    assert restated_row("For C++, Variance is none.", rows, "") == rows[1]
    assert restated_row("For C++, Variance is invariant.", rows, "") is None
    assert misstates("For C++, Variance is invariant.", [(rows, "")])
