"""Spreadsheets are read as they are displayed."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.readers.number_formats import shown
from ingest.readers.registry import read
from rag.types import Document
from tests import papers
from tests.ingest.readers.reading import DATA, page_of, read_as, read_case
from tests.office_files import Sheet, Value, xlsx


def lines(document: Document) -> list[str]:
    return [line for line in document.text.split("\n") if line]


def test_a_merged_label_is_repeated_in_each_of_its_rows() -> None:
    document = read_case("01/rates.xlsx")
    assert {"Basic | Chat | 24", "Basic | Phone | 72", "Gold | Chat | 1"} <= set(lines(document))
    assert document.tables[0].header == "Plan | Channel | Reply time (hours)"


def test_the_workbook_of_key_figures_is_read_as_it_is_displayed() -> None:
    document = read_case("09/kpi.xlsx")
    expected = {
        "Churn | 7.5% | 02/03/2024", "Revenue | 13 M | 03/03/2024", "Part | 0007 | 06/03/2024",
        "Flag | TRUE | 09/03/2024", "Shift | 14:30:00", "Elapsed | 30:15",
        "Uptime | 2.50 days | 05/03/2024", "Closed at | 2024-03-09 17:45:00",
    }  # fmt: skip
    assert expected <= set(lines(document))
    assert "Price" not in document.text
    assert "Welder" not in document.text
    assert "Comment on A2 (Ring the bell twice): Only before noon" in document.text
    assert page_of(document, "Ring the bell twice\n") == 3
    notes = document.meta["notes"]
    assert isinstance(notes, tuple)
    assert "Left out: 1 hidden row and 1 hidden sheet ('Salaries')." in notes
    assert any("1 formula" in str(note) for note in notes)


def test_what_is_hidden_is_read_and_marked_if_the_setting_says_so() -> None:
    document = read_case("09/kpi.xlsx", hidden=True)
    assert "Salaries (hidden)" in [heading.text for heading in document.headings]
    assert "Price | $1,234.50 | 04/03/2024" in document.text
    assert "Welder | 31000" in document.text


@pytest.mark.parametrize(
    ("value", "code", "expected"),
    [
        (0.075, "0.0 %", "7.5 %"), (1234.5, '"$"#,##0.00', "$1,234.50"), (7, "0000", "0007"),
        (-1234.5, "#,##0.00;[Red](#,##0.00)", "(1,234.50)"), (0, '0;-0;"none"', "none"),
        (1234.5, "#,##0.00 [$€-407]", "1,234.50 €"), (2.675, "0.00", "2.68"),
        (5551234567, "(000) 000-0000", "(555) 123-4567"), (1.375, "# ?/8", "1 3/8"),
        (1234567, '#,##0.0,"k"', "1,234.6k"), (0.00012, "0.00E+00", "1.20E-04"),
        (150, '[>=100]"high";[<100]"low"', "high"), (3, 'General" pcs"', "3 pcs"),
        (45353.75, "d mmmm yyyy h:mm AM/PM", "2 March 2024 6:00 PM"),
        (45353, "dddd, d. mmm yy", "Saturday, 2. Mar 24"),
        (1.260416666667, "[h]:mm", "30:15"),
        (0.5, "h:mm:ss", "12:00:00"), (3 / 86400, "mm:ss.0", "00:03.0"), (1.5, "[mm]", "2160"),
        (0.1 + 0.2, "General", "0.3"),
        (1 / 3, "", "0.333333333"), (4006381333931, "", "4006381333931"),
        (-5, "@", "-5"), (45353, "d - mmm", "2 - Mar"), (45353, '"Day  "d', "Day  2"),
        (2958465.9999999, "yyyy-mm-dd", "2958466"),
        (1e20, "", "1E+20"), (61, "d/m/yyyy", "1/3/1900"), (-2.5, "yyyy-mm-dd", "-2.5"),
    ],
)  # fmt: skip
def test_number_formats(value: float, code: str, expected: str) -> None:
    assert shown(value, code) == expected


@given(
    value=st.floats(-1e17, 1e17) | st.integers(-100, 100).map(float) | st.floats(-1, 1),
    before=st.sampled_from(["", "$", '"EUR "', "(", "_("]),
    digits=st.sampled_from(
        ["0", "0.00", "#,##0", "#,##0.00", "0.##", "0.0#", "##0", "#,##0.0000000000"]
    ),
    after=st.sampled_from(["", "%", " %", ")", "\\ x", "_)", " [$€-407]"]),
)
def test_a_plain_format_shows_what_any_other_would(
    value: float, before: str, digits: str, after: str
) -> None:
    # An empty text within the digits shows nothing, but makes the format one that is not plain.
    in_pieces = f'#""{digits}' if digits[0] == "0" else digits.replace("0", '""0', 1)
    assert shown(value, f"{before}{digits}{after}") == shown(value, f"{before}{in_pieces}{after}")


def test_days_may_be_counted_from_1904() -> None:
    sheet = Sheet(name="S", rows=[["Day", "Sold"], [(1, "yyyy-mm-dd"), 5]])
    assert "1904-01-02 | 5" in read_as("s.xlsx", xlsx(sheet, from_1904=True)).text
    assert "1900-01-01 | 5" in read_as("s.xlsx", xlsx(sheet)).text


def test_formulas_errors_and_truth_values() -> None:
    rows: list[list[Value]] = [
        ["What", "Value"], ["Sum", "=A1&A2→Total of May"], ["Bad", "#DIV/0!"], ["Ready", False],
        ["Lines_x000D_", "a_x005F_b"],
    ]  # fmt: skip
    text = read_as("s.xlsx", xlsx(Sheet(name="S", rows=rows))).text
    assert text.endswith("Sum | Total of May\nBad | #DIV/0!\nReady | FALSE\nLines | a_b")


def test_header_rows_are_joined_under_their_merged_label() -> None:
    rows: list[list[Value]] = [
        ["Region", "2024", None, "2025", None], [None, "Plan", "Actual", "Plan", "Actual"],
        ["North", 10, 11, 12, 13], ["South", 20, 21, 22, 23],
    ]  # fmt: skip
    sheet = Sheet(name="S", rows=rows, merged=["A1:A2", "B1:C1", "D1:E1"])
    [table] = read_as("s.xlsx", xlsx(sheet)).tables
    assert table.header == "Region | 2024 / Plan | 2024 / Actual | 2025 / Plan | 2025 / Actual"


def test_hidden_columns_rows_and_sheets_are_left_out_and_counted() -> None:
    rows: list[list[Value]] = [
        ["Item", "Cost", "Price"], ["Lamp", 12, 40], ["Cable", 2, 7], ["Bulb", 1, 3],
    ]  # fmt: skip
    document = read_as(
        "s.xlsx",
        xlsx(
            Sheet(name="A", rows=rows, hidden_rows=[3], hidden_columns=[2], merged=["A2:A4"]),
            Sheet(name="B", rows=[["x"]], state="veryHidden"),
            Sheet(name="C", rows=rows),
        ),
    )
    assert lines(document)[:4] == ["A", "Item | Price", "Lamp | 40", "Lamp | 3"]
    assert document.meta["notes"] == (
        "Left out: 1 hidden row, 1 hidden column and 1 hidden sheet ('B').",
    )
    assert page_of(document, "Cable | 2 | 7") == 3


def test_tables_on_one_sheet_have_their_own_headers() -> None:
    rows: list[list[Value]] = [
        ["Staff of 2025"], [], ["Name", "Age", None, "City", "Name"],
        ["Ann", 30, None, "Rome", "Via"],
        ["Bo", 40, None, "Nice", "Rue"], ["Cy", 50], [], ["Room", "Seats"], ["Oak", 8], [],
        ["Elm", 12],
    ]  # fmt: skip
    document = read_as("s.xlsx", xlsx(Sheet(name="S", rows=rows)))
    assert [table.header for table in document.tables] == [
        "Name | Age", "City | Name", "Room | Seats",
    ]  # fmt: skip
    assert document.text.endswith("Room | Seats\nOak | 8\nElm | 12")


def test_an_empty_column_within_a_table_does_not_part_a_figure_from_its_label() -> None:
    rows: list[list[Value]] = [
        ["Zone", "Sales", None, "Profit", "Margin"], ["North", 10, None, 1, 0.1],
        ["South", 20, None, 2, 0.1],
    ]  # fmt: skip
    [table] = read_as("s.xlsx", xlsx(Sheet(name="S", rows=rows))).tables
    assert table.header == "Zone | Sales | Profit | Margin"


def test_a_list_of_values_without_header_has_none() -> None:
    rows: list[list[Value]] = [["Revenue", 125], ["Costs", 100], ["Profit", 25]]
    assert read_as("s.xlsx", xlsx(Sheet(name="S", rows=rows))).tables == ()


@pytest.mark.parametrize(
    ("rows", "merged", "note"),
    [
        ([[f"c{n}" for n in range(10_000)], list(range(10_000))], [], "has 10,000 columns"),
        ([[f"c{n}" for n in range(20_000)], list(range(20_000))], [], "the first 16,384 of sheet"),
        ([["Label", "Figure"], ["a", 1], [None, 2]], ["A2:A1048576"], None),
        ([["Label", "Figure"], ["a", 1], [None, 2]], ["C1:XFD1048576", "A2:A3"], None),
    ],
)
def test_hostile_sheets_are_bounded_and_figures_stay_in_their_columns(
    rows: list[list[Value]], merged: list[str], note: str | None
) -> None:
    document = read_as("s.xlsx", xlsx(Sheet(name="S", rows=rows, merged=merged)))
    assert len(document.text) < 400_000
    if note:
        assert note in str(document.meta["notes"])
    else:
        assert lines(document)[-2:] == ["a | 1", "a | 2"]


def ods(table: str) -> bytes:
    urn = "urn:oasis:names:tc:opendocument:xmlns"
    return papers.zipped({
        "mimetype": "application/vnd.oasis.opendocument.spreadsheet",
        "content.xml": f'<office:document-content xmlns:office="{urn}:office:1.0" '
        f'xmlns:table="{urn}:table:1.0" xmlns:text="{urn}:text:1.0" xmlns:style="{urn}:style:1.0">'
        '<office:automatic-styles><style:style style:name="off" style:family="table">'
        '<style:table-properties table:display="false"/></style:style></office:automatic-styles>'
        f"<office:body><office:spreadsheet>{table}</office:spreadsheet></office:body>"
        "</office:document-content>",
    })  # fmt: skip


def cell(text: str, attributes: str = "", inside: str = "") -> str:
    return f"<table:table-cell {attributes}>{inside}<text:p>{text}</text:p></table:table-cell>"


def test_opendocument_sheets_as_displayed() -> None:
    covered, kind = "<table:covered-table-cell/>", 'office:value-type="percentage"'
    rows = (
        f"<table:table-row>{cell('Plan')}{cell('Price')}</table:table-row>",
        "<table:table-row>"
        + cell("Basic", 'table:number-rows-spanned="2"')
        + cell("$1,234.50", 'office:value-type="currency" office:value="1234.5"')
        + "</table:table-row>",
        f"<table:table-row>{covered}{cell('7.5 %', kind)}</table:table-row>",
        f'<table:table-row table:visibility="collapse">{cell("Old")}{cell("9")}</table:table-row>',
        "<table:table-row>"
        + cell("Gold", inside="<office:annotation><text:p>Ask Ann</text:p></office:annotation>")
        + cell("0007")
        + "</table:table-row>",
        '<table:table-row table:number-rows-repeated="1048000"><table:table-cell '
        'table:number-columns-repeated="16384"/></table:table-row>',
    )
    hidden = (
        '<table:table table:name="H" table:style-name="off"><table:table-row>'
        f"{cell('x')}</table:table-row></table:table>"
    )
    data = ods(f'<table:table table:name="S">{"".join(rows)}</table:table>{hidden}')
    document = read_as("s.ods", data)
    assert lines(document) == [
        "S", "Plan | Price", "Basic | $1,234.50", "Basic | 7.5 %", "Gold | 0007",
        "Comment on A5 (Gold): Ask Ann",
    ]  # fmt: skip
    assert document.meta["notes"] == ("Left out: 1 hidden row and 1 hidden sheet ('H').",)
    assert "Old | 9" in read_as("s.ods", data, hidden=True).text


def test_older_workbooks_as_displayed() -> None:
    document = read_as("rates.xls", (DATA / "office" / "rates.xls").read_bytes())
    assert lines(document) == [
        "Old", "Name | Rate | Day", "Ann | 7.5% | 2024-03-02", "Bob | 50.0%", "Bob | 25.0% | TRUE",
    ]  # fmt: skip
    assert document.meta["notes"] == ("Left out: 1 hidden sheet ('Hid').",)


def test_words_above_words_head_their_own_table() -> None:
    rows: list[list[Value]] = [
        ["Name", "City"], ["Ann", "Rome"], ["Bo", "Oslo"], [], ["Supplier", "Contact"],
        ["Velo", "Kim"],
    ]  # fmt: skip
    tables = read_as("s.xlsx", xlsx(Sheet(name="S", rows=rows))).tables
    assert [table.header for table in tables] == ["Name | City", "Supplier | Contact"]


def test_labels_behind_an_empty_row_head_the_figures_below() -> None:
    rows: list[list[Value]] = [
        ["In millions", "Sales", "Profit"], [], ["North", 10, 1], ["South", 20, 2], [],
        ["In millions", "Sales", "Profit"], [], ["North", 11, 3], ["South", 21, 4],
    ]  # fmt: skip
    tables = read_as("s.xlsx", xlsx(Sheet(name="S", rows=rows))).tables
    assert [table.header for table in tables] == ["In millions | Sales | Profit"] * 2


@pytest.mark.attack
def test_a_sheet_of_many_cells_takes_seconds() -> None:
    rows: list[list[Value]] = [["a", "b"]]
    rows += [[n, n] for n in range(200_000)]
    data = xlsx(Sheet(name="S", rows=rows))
    started = time.monotonic()
    assert len(read(data, id="i", uri="u", name="s.xlsx").text) > 1_000_000
    assert time.monotonic() - started < 60
