"""Tables of every kind of text become rows, with the header above each."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence

import pytest

from ingest.chunkers.strategies import SectionChunker
from ingest.readers.registry import read
from ingest.readers.tables import Cell, spread, written
from rag.errors import ReadError
from rag.types import Document
from tests.places import DATA

CASES = DATA / "cases"


def read_as(name: str, text: str) -> Document:
    return read(text.encode(), id="id", uri=f"file:{name}", name=name)


def case(name: str) -> Document:
    return read((CASES / name).read_bytes(), id="id", uri=f"file:{name}", name=name)


def rows_of(document: Document) -> list[list[str]]:
    """Lines of each table, the first one its header; checks that spans fit the text."""
    for table in document.tables:
        assert document.text[table.start : table.end].startswith(f"{table.header}\n")
        assert document.text[table.start - 1 : table.start] in ("", "\n")
        assert document.text[table.end : table.end + 1] in ("", "\n")
    for heading, (start, end) in zip(document.headings, document.furniture, strict=False):
        assert heading.text in document.text[start:end]
    return [document.text[t.start : t.end].split("\n") for t in document.tables]


def count_words(texts: Sequence[str]) -> list[int]:
    return [len(text.split()) for text in texts]


RATES = [
    "Plan | Channel | Reply time (hours)",
    "Basic | Mail | 48",
    "Basic | Chat | 24",
    "Basic | Phone | 72",
    "Gold | Mail | 8",
    "Gold | Chat | 1",
]
BUDGET = [
    "Team | 2023 / Plan | 2023 / Actual | 2024 / Plan | 2024 / Actual",
    "Foundry | 110 | 118 | 130 | 127",
    "Paint shop | 45 | 41 | 50 | 66",
]


def test_merged_cells_of_a_page_repeat_their_labels_and_keep_the_columns() -> None:
    assert rows_of(case("01/rates.html")) == [RATES, BUDGET]


@pytest.mark.parametrize("extension", ["md", "rst", "html"])
def test_every_chunk_of_a_long_table_has_its_header(extension: str) -> None:
    document = case(f"02/pumps.{extension}")
    [rows] = rows_of(document)
    assert rows[0].startswith("Model | ")
    assert rows[46].startswith("PX-345 | 175 | 15 | 68")
    assert len(rows) == 81
    chunks = SectionChunker(count_words, max_tokens=60).chunk(document)
    inside = [chunk for chunk in chunks if "PX-" in chunk.text and "Model" not in chunk.text]
    assert len(inside) > 5
    assert {chunk.headings[-1] for chunk in inside} == {rows[0]}


GRID = """\
+------------+------------+-----------+
| Depot      | Opens      | Closes    |
+============+{}+===========+
| Nancy      | 7          | 18        |
+------------+------------+-----------+
| Metz       | by appointment         |
+------------+------------+-----------+
| Toul       | 8          | 12, then  |
|            |            | 14 to 17  |
+------------+------------+-----------+
"""
GRID_ROWS = [
    "Depot | Opens | Closes",
    "Nancy | 7 | 18",
    "Metz | by appointment | by appointment",
    "Toul | 8 | 12, then 14 to 17",
]


@pytest.mark.parametrize(
    ("name", "text", "rows"),
    [
        (
            "a.md",
            "Depots:\n| Depot | Opens|\n|:--|--:|\n| **Nancy** | 7 \\| 8 |\n"
            "|Metz|a<br>b|\n|Toul|\n",
            ["Depot | Opens", "**Nancy** | 7 \\| 8", "Metz | a b", "Toul"],
        ),
        ("a.md", "Depot | Opens\n--- | ---\nNancy | 7\n\nText.", ["Depot | Opens", "Nancy | 7"]),
        ("a.md", "1. x\n\n   |a|b|\n   |-|-|\n   |1|2|\n\n# H\n", ["a | b", "1 | 2"]),
        ("a.md", f"# H\n\n{GRID.format(':==========:')}\nText.", GRID_ROWS),
        ("a.rst", f"H\n=\n\n{GRID.format('============')}\nText.\n\nB\n-\n", GRID_ROWS),
        (
            "a.md",
            "# H\n\n<table>\n<tr><th>A</th><th>B</th></tr>\n\n"
            "<tr><td rowspan=2>1</td><td>2</td></tr>\n<tr><td>3</td></tr></table>\n\n## I\n",
            ["A | B", "1 | 2", "1 | 3"],
        ),
        (
            "a.rst",
            "=====  =====  ======\n   Inputs     Output\n------------  ------\n"
            "  A      B    A or B\n=====  =====  ======\nno     no     no\n"
            "yes    no     yes\n=====  =====  ======\n\nH\n-\n",
            ["Inputs / A | Inputs / B | Output / A or B", "no | no | no", "yes | no | yes"],
        ),
        (
            "a.rst",
            ".. list-table:: Depots\n   :widths: 1 2\n   :header-rows: 1\n\n   * - Depot\n"
            "     - Opens\n   * - Nancy\n     - at 7,\n       not on Sundays\n   * -\n     - 8\n\n"
            "H\n-\n",
            ["Depot | Opens", "Nancy | at 7, not on Sundays", " | 8"],
        ),
        (
            "a.rst",
            '.. csv-table::\n   :header: "Depot", "Opens"\n\n   "Nancy, old", 7\n   Metz, 8\n',
            ["Depot | Opens", "Nancy, old | 7", "Metz | 8"],
        ),
        (
            "a.rst",
            ".. table:: Depots\n\n   ===== =====\n   Depot Opens\n   ===== =====\n   Nancy 7\n"
            "   ===== =====\n",
            ["Depot | Opens", "Nancy | 7"],
        ),
        (
            "a.adoc",
            '= T\n\n[cols="1,2*",options="header"]\n|===\n|Plan |Channel |Reply time (hours)\n'
            ".2+|Basic |Mail |48\n|Chat |24\n|Gold\n2+|any\n|===\n\n== H\n",
            [*RATES[:1], "Basic | Mail | 48", "Basic | Chat | 24", "Gold | any | any"],
        ),
        ("a.adoc", "|===\n|A |B\n\n|1\n|2\n|===\n\n== H\n", ["A | B", "1 | 2"]),
        ("a.adoc", "[%header,format=csv]\n|===\nX,Y\n'',2\n\"1,5\",2\n|===\n",
         ["X | Y", "'' | 2", "1,5 | 2"]),
    ],
)  # fmt: skip
def test_a_table_becomes_rows(name: str, text: str, rows: list[str]) -> None:
    assert rows_of(read_as(name, text)) == [rows]


@pytest.mark.parametrize(
    ("table", "rows"),
    [
        (  # a head of several rows, and a title above it
            "<thead><tr><th colspan=3>Stock</th></tr><tr><th rowspan=2>Part</th>"
            "<th colspan=2>Store</th></tr><tr><th>A</th><th>B</th></tr></thead>"
            "<tr><td>Bolt</td><td>1</td><td>2</td></tr>",
            ["Part | Store / A | Store / B", "Bolt | 1 | 2"],
        ),
        (  # the second header row is not marked
            "<tr><th rowspan=2>Part</th><th colspan=2>Store</th></tr><tr><td>A</td><td>B</td></tr>"
            "<tr><td>Bolt</td><td>1</td><td>2</td></tr>",
            ["Part | Store / A | Store / B", "Bolt | 1 | 2"],
        ),
        (  # no row is marked, and the second one has figures
            "<tr><td>Part</td><td colspan=2>Store</td></tr>"
            "<tr><td>Bolt</td><td>1</td><td>2</td></tr>",
            ["Part | Store | Store", "Bolt | 1 | 2"],
        ),
        (  # a span of more columns than there are
            "<tr><th>Part</th><th>Store</th></tr><tr><td colspan=900>All</td></tr>"
            "<tr><td>Bolt</td><td>1</td></tr>",
            ["Part | Store", "All", "Bolt | 1"],
        ),
        (  # a hidden cell keeps its column, one that is not displayed does not
            "<tr><th>A</th><th>B</th></tr><tr><td style='visibility:hidden'>x</td><td>1</td></tr>"
            "<tr><td style='display:none'>x</td><td>2</td><td>3</td></tr>",
            ["A | B", " | 1", "2 | 3"],
        ),
        (  # a long cell, below header cells
            f"<tr><th>A</th><th>B</th></tr><tr><td>{'word ' * 200}</td><td>1</td></tr>",
            ["A | B", f"{'word ' * 200}| 1"],
        ),
    ],
)
def test_a_table_of_a_page_becomes_rows(table: str, rows: list[str]) -> None:
    assert rows_of(read_as("a.html", f"<h1>T</h1><table>{table}</table>tail")) == [rows]


def test_a_page_may_have_tables_without_a_header() -> None:
    facts = "<tr><th>Built</th><td>1921</td></tr><tr><th>Length</th><td>40 m</td></tr>"
    document = read_as("a.html", f"<table><caption>Bridge</caption>{facts}</table>")
    assert document.text == "Bridge\n\nBuilt | 1921\nLength | 40 m"
    assert document.tables == ()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.md", "```\n| a | b |\n|---|---|\n| 1 | 2 |\n```\n"),
        ("a.md", "a | b\nc | d\n"),
        ("a.rst", "Text::\n\n   ===  ===\n   A    B\n   ===  ===\n   1    2\n   ===  ===\n"),
        ("a.rst", ".. code-block:: text\n\n   +---+---+\n   | A | B |\n   +---+---+\n"),
        ("a.rst", "+---+\n| A |\nnot a table\n"),
        ("a.rst", ".. csv-table:: T\n   :file: rows.csv\n"),
        ("a.adoc", "----\n|===\n|a\n|===\n----\n"),
        ("a.adoc", "|===\n|never closed\n"),
    ],
)
def test_what_only_looks_like_a_table_stays_as_it_is(name: str, text: str) -> None:
    document = read_as(name, text)
    assert document.text == text
    assert document.tables == ()


def test_written_escapes_bars_and_leaves_empty_rows_out() -> None:
    text, table = written([["a|b", " c  d "], [], ["", ""], ["1", "2", ""]], header_rows=1)
    assert text == "a\\|b | c d\n1 | 2"
    assert table
    assert table.header == "a\\|b | c d"
    assert written([["", ""], ["1", "2"], ["3", "4"]], header_rows=1) == ("1 | 2\n3 | 4", None)
    assert written([["a", "b"], ["1", "2"]], header_rows=0)[1] is None


@pytest.mark.parametrize(
    ("rows", "kept"),
    [
        ([[Cell(str(n)) for n in range(10_000)]] * 20, 20),
        ([[Cell("x", rows=65_534)] * 10_000, *[[Cell("y")]] * 65_000], 53),
        ([[Cell("a" * 1000, 1000, 65_000)], [Cell("b")] * 2000, *[[Cell("c")]] * 65_000], 4),
        ([[Cell("x", 1000)]] * 65_000, 65_000),
    ],
)
def test_large_merged_cells_cost_bounded_time_and_text(rows: list[list[Cell]], kept: int) -> None:
    grid = spread(rows)
    assert len(grid.rows) == kept
    assert grid.left_out == len(rows) - kept
    assert sum(len(cell) for row in grid.rows for cell in row) < 10 << 20
    assert bool(grid.notes) == (kept < len(rows))


@pytest.mark.attack
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.html", "<table>" + f"<tr>{'<td>1' * 10_000}" * 20),
        ("a.html", f"<table><tr>{'<td rowspan=65534>x' * 10_000}{'<tr>' * 60_000}"),
        ("a.html", "<div style='font-size:0'>" * 5000 + "x"),
        ("a.html", "<style>" + ".a{display:none}.b p{display:block}" * 20_000 + "</style>"
         + "<p class='a b'>x</p>" * 5000),
        ("a.md", "`" + " `".join("`" * n for n in range(1, 1500)) + "<!-- x -->"),
        ("a.md", "<div hidden>\n" * 50_000),
        ("a.md", "<!-- x\n" * 50_000),
        ("a.md", "<table>\n" * 20_000),
        ("a.md", "|" + "a|" * 10_000 + "\n|" + "-|" * 10_000 + ("\n|" + "1|" * 10_000) * 20),
        ("a.rst", "== ==\n" * 50_000),
        ("a.rst", "A::\n\n" + " == ==\n\n" * 20_000),
        ("a.adoc", "|===\n" + ".9999+|x\n" * 50_000 + "|==="),
        ("a.adoc", "".join(f"```{n}\n" for n in range(50_000))),
        ("a.csv", '"a' * 200_000),
    ],
)  # fmt: skip
def test_hostile_tables_take_seconds_at_most(name: str, text: str) -> None:
    begun = time.process_time()
    with contextlib.suppress(ReadError):
        read_as(name, text)
    assert time.process_time() - begun < 20


@pytest.mark.parametrize("extension", ["md", "html"])
@pytest.mark.parametrize(
    ("name", "items"),
    [
        ("contacts", ["Network: Lund", "Storage: Pike", "Power: Voss"]),
        ("soup", ["celery", "mustard", "milk"]),
        ("ppe", ["helmet", "goggles", "ear plugs", "steel shoes"]),
    ],
)
def test_the_items_of_a_list_are_lines_below_their_lead_in(
    name: str, items: list[str], extension: str
) -> None:
    lines = case(f"19/{name}.{extension}").text.split("\n")
    assert [line.removeprefix("- ") for line in lines if line.startswith("- ")] == items
