from dataclasses import replace

import pytest

from rag.text.table_cells import cells_of, table_lines
from rag.types import Cell, Chunk

CHUNK = Chunk(
    id="c", document_id="d", version="v", position=0, text="", start=0, end=0, title="", uri="u"
)


def chunk(text: str, *, start: int = 0, above: str = "") -> Chunk:
    headings = (above,) if above else ()
    return replace(CHUNK, text=text, start=start, end=start + len(text), headings=headings)


def written(text: str, *, start: int = 0, above: str = "") -> list[str]:
    rows, _ = table_lines(chunk(text, start=start, above=above))
    for row in rows:
        assert "\n" not in text[row.start : row.end]
        assert text[row.start : row.end] == text[row.start : row.end].strip()
    return [row.written for row in rows]


@pytest.mark.parametrize(
    ("line", "cells"),
    [
        ("a | b", ("a", "b")),
        ("| a | b |", ("a", "b")),
        ("  | a |  | c |", ("a", "", "c")),
        (r"a \| b | c", ("a | b", "c")),
        ("a | | c", ("a", "", "c")),
        (" | b", ("", "b")),
        ("|", ("",)),
        ("a", ("a",)),
    ],
)
def test_cells_stand_between_pipes(line: str, cells: tuple[str, ...]) -> None:
    assert cells_of(line) == cells


def test_a_row_has_the_names_of_its_columns() -> None:
    text = "Prices below.\n\nItem | Price | Unit\nRope | 4.50 | m\nHook |  | piece\n\nEnd."
    assert written(text) == ["Item: Rope; Price: 4.50; Unit: m", "Item: Hook; Unit: piece"]
    rows, others = table_lines(chunk(text))
    assert rows[0].cells[1] == Cell(column="Price", value="4.50")
    assert [text[a:b] for a, b in others] == ["Item | Price | Unit"]


def test_an_empty_cell_at_the_beginning_is_a_column_too() -> None:
    text = "Prices below.\n\n | Rope | Hook\nShop | 4.50 | 3.10\n | 4 | 3"
    assert written(text) == ["Shop; Rope: 4.50; Hook: 3.10", "Rope: 4; Hook: 3"]
    assert written("Item | Price\n| Rope | 4.50 |\nHook | 3.10") == [
        "Rope; 4.50",  # its pipes are not those of the header
        "Item: Hook; Price: 3.10",
    ]


def test_markdown_has_a_rule_below_the_header() -> None:
    text = "| Item | Price |\n|:--|--:|\n| Rope | 4.50 |"
    assert written(text) == ["Item: Rope; Price: 4.50"]
    assert written("| Rope | 4.50 |\n| Hook | 3.10 |") == []


def test_a_chunk_inside_a_table_has_the_header_in_its_headings() -> None:
    text = "Hook | 3.10\nNail | 0.20"
    assert written(text, start=90, above="Item | Price") == [
        "Item: Hook; Price: 3.10",
        "Item: Nail; Price: 0.20",
    ]


@pytest.mark.parametrize(
    ("text", "above"),
    [
        ("Hook | 3.10\nNail | 0.20", ""),  # begins with any row of a table
        ("3.10 | piece", "Item | Price | Unit"),  # begins within a row
        ("a | b | c | d", "Item | Price"),  # more cells than columns
        ("1 | 2", " | ".join(f"Column {n}" for n in range(60))),  # may lack columns
    ],
)
def test_no_figure_is_read_under_a_column_that_is_not_certain(text: str, above: str) -> None:
    rows, _ = table_lines(chunk(text, start=90, above=above))
    assert not any(cell.column for row in rows for cell in row.cells)


@pytest.mark.parametrize(
    "text", ["cat file | grep word", "```\ncat a | wc\nls | wc\n```", "p(a|b) is small.", ""]
)
def test_code_and_formulas_are_no_tables(text: str) -> None:
    assert table_lines(chunk(text)) == ([], [])


def test_a_table_of_10000_columns_has_no_wrong_figure() -> None:
    header = " | ".join(f"c{n}" for n in range(10_000))
    text = header + "\n" + " | ".join(str(n) for n in range(10_000))
    (row,), _ = table_lines(chunk(text))
    assert len(row.cells) == 10_000
    assert not any(cell.column for cell in row.cells)
