"""Word documents are read in their final state, with what Word itself would print."""

from __future__ import annotations

import pytest

from tests import papers
from tests.ingest.readers.reading import page_of, read_as, read_case
from tests.office_files import run, word

DELETED = '<w:del w:id="1" w:author="A">{}</w:del>'
INSERTED = '<w:ins w:id="1" w:author="A">{}</w:ins>'


def paragraph(*runs: str, properties: str = "") -> str:
    return f"<w:p><w:pPr>{properties}</w:pPr>{''.join(runs)}</w:p>"


def test_the_contract_is_read_in_its_final_state() -> None:
    document = read_case("08/contract.docx")
    for words in (
        "The penalty is two percent of the price.", "Payment is due in 30 days.",
        "Box: the warranty lasts five years.", "The buyer is Northwind Mills.",
    ):  # fmt: skip
        assert document.text.count(words) == 1
    assert "90 days" not in document.text
    assert "five percent" not in document.text
    assert "margin" not in document.text
    assert document.meta["header"] == "Contract number CN-77-2024"
    assert document.text.count("CN-77-2024\n\n") == 1
    assert document.meta["notes"] == ("Left out: 1 hidden passage of text.",)
    assert "margin is forty percent" in read_case("08/contract.docx", hidden=True).text


def test_endnotes_come_once_and_by_themselves() -> None:
    assert read_case("08/endnotes.docx").text == (
        "The boiler was tested in May.\n\nEndnote: the test pressure was sixteen bar."
    )


def test_merged_cells_of_a_word_table_are_repeated() -> None:
    document = read_case("01/rates.docx")
    assert "Gold | Chat | 1" in document.text
    assert document.tables[0].header == "Plan | Channel | Reply time (hours)"


def test_notes_follow_the_paragraph_that_names_them() -> None:
    note = '<w:footnote w:type="separator" w:id="0"><w:p/></w:footnote>' + "".join(
        f'<w:footnote w:id="{n}"><w:p><w:r><w:footnoteRef/></w:r>{run(f" Note {n}.")}</w:p>'
        "</w:footnote>"
        for n in (1, 2, 3)
    )
    mark = '<w:r><w:footnoteReference w:id="{}"/></w:r>'
    table = (
        f"<w:tbl><w:tr><w:tc>{paragraph(run('Height'))}</w:tc><w:tc>{paragraph(run('Width'))}"
        f"</w:tc></w:tr><w:tr><w:tc>{paragraph(run('1 m'), mark.format(2))}</w:tc><w:tc>"
        f"{paragraph(run('2 m'))}</w:tc></w:tr></w:tbl>"
    )
    body = paragraph(run("The tank is old."), mark.format(1)) + paragraph(run("It leaks.")) + table
    body += paragraph(DELETED.format(mark.format(3)))
    assert read_as("t.docx", word(body, footnotes=note)).text == (
        "The tank is old.\n\nNote 1.\n\nIt leaks.\n\nHeight | Width\n1 m | 2 m\n\nNote 2."
    )


def test_a_paragraph_with_a_text_box_keeps_its_own_words() -> None:
    box = "<w:txbxContent>" + paragraph(run("The lid is red.")) + "</w:txbxContent>"
    drawing = (
        f"<w:r><mc:AlternateContent><mc:Choice><w:drawing><wps:txbx>{box}</wps:txbx></w:drawing>"
        f"</mc:Choice><mc:Fallback><w:pict><v:textbox>{box}</v:textbox></w:pict></mc:Fallback>"
        "</mc:AlternateContent></w:r>"
    )
    body = paragraph(run("Open the box "), drawing, run("with care."))
    assert read_as("t.docx", word(body)).text == "Open the box with care.\n\nThe lid is red."


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (  # the end of a paragraph was deleted
            paragraph(run("The rent "), properties="<w:rPr><w:del/></w:rPr>")
            + paragraph(run("is 900 euros.")),
            "The rent is 900 euros.",
        ),
        (  # a row was deleted
            "<w:tbl>"
            + "".join(
                f"<w:tr>{'<w:trPr><w:del/></w:trPr>' if n == 2 else ''}"
                f"<w:tc>{paragraph(run(f'a{n}'))}</w:tc><w:tc>{paragraph(run(f'b{n}'))}</w:tc></w:tr>"
                for n in (1, 2, 3)
            )
            + "</w:tbl>",
            "a1 | b1\na3 | b3",
        ),
        (  # a moved paragraph
            f"<w:p><w:moveFrom>{run('The key is blue.')}</w:moveFrom></w:p>"
            + paragraph(run("Mind the step."))
            + f"<w:p><w:moveTo>{run('The key is green.')}</w:moveTo></w:p>",
            "Mind the step.\n\nThe key is green.",
        ),
        (  # two forms of the same words
            "<w:p><mc:AlternateContent><mc:Choice>" + run("New words.") + "</mc:Choice>"
            "<mc:Fallback>" + run("Old words.") + "</mc:Fallback></mc:AlternateContent></w:p>",
            "New words.",
        ),
        (  # a deletion within an insertion, a link and a field
            paragraph(
                INSERTED.format(run("Call ") + DELETED.format(run("Bob "))),
                f"<w:hyperlink>{run('Ann')}</w:hyperlink>",
                '<w:r><w:fldChar w:fldCharType="begin"/></w:r><w:r><w:instrText>REF x'
                '</w:instrText></w:r><w:r><w:fldChar w:fldCharType="separate"/></w:r>',
                run(" on 4417"),
                '<w:r><w:fldChar w:fldCharType="end"/></w:r>',
            ),
            "Call Ann on 4417",
        ),
    ],
)  # fmt: skip
def test_the_final_state_of_changes(body: str, expected: str) -> None:
    assert read_as("t.docx", word(body)).text == expected


def test_text_is_hidden_by_its_run_its_style_or_its_paragraph() -> None:
    styles = (
        '<w:style w:styleId="Base"><w:rPr><w:vanish/></w:rPr></w:style>'
        '<w:style w:styleId="Secret"><w:basedOn w:val="Base"/></w:style>'
    )
    body = (
        paragraph(run("Seen. "), run("One.", '<w:rStyle w:val="Secret"/>'), run(" Also seen."))
        + paragraph(run("Two."), properties='<w:pStyle w:val="Secret"/>')
        + paragraph(run("Three.", "<w:vanish/>"), run("Shown.", '<w:vanish w:val="0"/>'))
    )
    document = read_as("t.docx", word(body, styles=styles))
    assert document.text == "Seen.  Also seen.\n\nShown."
    assert document.meta["notes"] == ("Left out: 3 hidden passages of text.",)


@pytest.mark.parametrize("comment", ["", '<!-- <w:style w:type="table" w:styleId="No"> -->'])
def test_styles_between_those_of_tables_are_read(comment: str) -> None:
    table = '<w:style w:type="table" w:styleId="T{}"><w:name w:val="T{}"/></w:style>'
    styles = (
        table.format(1, 1)
        + '<w:style w:type="table" w:styleId="Empty"/>'
        + '<w:style w:type="paragraph" w:styleId="H"><w:name w:val="heading 2"/></w:style>'
        + comment
        + table.format(2, 2)
        + '<w:style w:styleId="I" w:type="paragraph"><w:basedOn w:val="H"/></w:style>'
    )
    body = "".join(paragraph(run(id_), properties=f'<w:pStyle w:val="{id_}"/>') for id_ in "HIT")
    document = read_as("t.docx", word(body, styles=styles))
    assert [(heading.text, heading.level) for heading in document.headings] == [("H", 2), ("I", 2)]


def test_headers_and_footers_come_once_without_page_numbers() -> None:
    number = f"<w:fldSimple w:instr=' PAGE '>{run('3')}</w:fldSimple>"
    header = paragraph(run("Lease KL-9 – Page "), number) + paragraph(run("Page "), number)
    document = read_as(
        "t.docx",
        word(paragraph(run("Rent is due.")), header=header, footer=paragraph(run("Lease KL-9"))),
    )
    assert document.text == "Lease KL-9\n\nRent is due."
    assert document.meta["header"] == document.meta["footer"] == "Lease KL-9"


def test_lines_that_are_typed_on_every_page_come_once() -> None:
    break_ = paragraph('<w:r><w:br w:type="page"/></w:r>')
    pages = (
        paragraph(run("Mill report – Page {n} of 4"))
        + paragraph(run("Chapter {n}"))
        + paragraph(run("The mill has {n} wheels."))
        + paragraph(run("Page {n}"))
    )
    body = break_.join(pages.replace("{n}", str(n)) for n in range(1, 5))
    document = read_as("t.docx", word(body))
    assert document.text.startswith(
        "Mill report\n\nChapter 1\n\nThe mill has 1 wheels.\n\nChapter 2"
    )
    assert document.text.count("Mill report") == 1
    assert "Page" not in document.text
    assert [page_of(document, f"has {n} wheels") for n in range(1, 5)] == [1, 2, 3, 4]


def test_pages_are_those_that_word_marked() -> None:
    rendered = "<w:r><w:lastRenderedPageBreak/></w:r>"
    break_ = '<w:r><w:br w:type="page"/></w:r>'
    laid_out = (
        paragraph(run("One.")) + paragraph(break_) + paragraph(rendered, run("Two."))
        + paragraph(run("Goes on."), rendered) + paragraph(run("Three."))
    )  # fmt: skip
    document = read_as("t.docx", word(laid_out))
    assert [page_of(document, words) for words in ("One.", "Two.", "Three.")] == [1, 2, 3]
    explicit = paragraph(run("One."), break_) + paragraph(run("Two."))
    assert page_of(read_as("t.docx", word(explicit)), "Two.") == 2
    assert read_as("t.docx", word(paragraph(run("One.")))).pages == ()


def test_header_rows_and_spans_of_a_word_table() -> None:
    def cell(text: str, properties: str = "") -> str:
        return f"<w:tc><w:tcPr>{properties}</w:tcPr>{paragraph(run(text))}</w:tc>"

    wide, start, goes_on = '<w:gridSpan w:val="2"/>', '<w:vMerge w:val="restart"/>', "<w:vMerge/>"
    rows = (
        cell("Ward", start) + cell("Beds", wide),
        cell("", goes_on) + cell("2024") + cell("2025"),
        cell("East") + cell("10") + cell("12"),
    )
    body = f"<w:tbl>{''.join(f'<w:tr>{row}</w:tr>' for row in rows)}</w:tbl>"
    document = read_as("t.docx", word(body))
    assert document.text == "Ward | Beds / 2024 | Beds / 2025\nEast | 10 | 12"
    assert document.tables[0].header == "Ward | Beds / 2024 | Beds / 2025"


def test_a_cell_is_no_wider_than_its_table_and_ten_thousand_columns_have_a_note() -> None:
    def cell(text: str, span: int = 1) -> str:
        return f'<w:tc><w:tcPr><w:gridSpan w:val="{span}"/></w:tcPr>{paragraph(run(text))}</w:tc>'

    huge = f"<w:tbl><w:tr>{cell('Total', 2_000_000_000)}{cell('5')}</w:tr></w:tbl>"
    assert read_as("t.docx", word(huge)).text == "Total | Total | 5"
    row = f"<w:tr>{''.join(cell(f'column {n}') for n in range(10_000))}</w:tr>"
    document = read_as("t.docx", word(f"<w:tbl>{row}{row}</w:tbl>"))
    assert "A table has 10,000 columns" in str(document.meta["notes"])


def odt(body: str, styles: str = "") -> bytes:
    urn = "urn:oasis:names:tc:opendocument:xmlns"
    names = " ".join(
        f'xmlns:{short}="{urn}:{long}:1.0"'
        for short, long in {
            "office": "office", "text": "text", "table": "table", "style": "style",
            "draw": "drawing", "presentation": "presentation", "svg": "svg-compatible",
        }.items()
    )  # fmt: skip
    return papers.zipped({
        "mimetype": "application/vnd.oasis.opendocument.text",
        "content.xml": f"<office:document-content {names}><office:automatic-styles>{styles}"
        f"</office:automatic-styles><office:body><office:text>{body}</office:text></office:body>"
        "</office:document-content>",
        "styles.xml": f"<office:document-styles {names}><office:master-styles>"
        "<style:master-page><style:header><text:p>Lease KL-9</text:p></style:header>"
        "</style:master-page></office:master-styles></office:document-styles>",
    })  # fmt: skip


def test_opendocument_text_in_its_final_state() -> None:
    hidden = (
        '<style:style style:name="h"><style:text-properties text:display="none"/></style:style>'
    )
    body = (
        "<text:tracked-changes><text:changed-region><text:deletion><text:p>Old rent.</text:p>"
        "</text:deletion></text:changed-region></text:tracked-changes>"
        '<text:h text:outline-level="1">Rent</text:h><text:p>The rent is due'
        '<text:span text:style-name="h"> or not</text:span>.<text:note><text:note-citation>1'
        "</text:note-citation><text:note-body><text:p>In advance.</text:p></text:note-body>"
        "</text:note></text:p><table:table><table:table-row><table:table-cell "
        'table:number-rows-spanned="2"><text:p>Hall</text:p></table:table-cell><table:table-cell>'
        "<text:p>Day</text:p></table:table-cell></table:table-row><table:table-row>"
        "<table:covered-table-cell/><table:table-cell><text:p>Night</text:p></table:table-cell>"
        "</table:table-row></table:table>"
    )
    document = read_as("t.odt", odt(body, hidden))
    assert document.text == (
        "Lease KL-9\n\nRent\n\nThe rent is due.\n\nIn advance.\n\nHall | Day\nHall | Night"
    )
    assert document.meta["notes"] == ("Left out: 1 hidden passage of text.",)


@pytest.mark.parametrize(
    ("rtf", "expected"),
    [
        (rb"{\rtf1\ansi\ansicpg1250{\fonttbl{\f0 Arial;}{\f1\fcharset204 Arial;}}"
         rb"\f0 mo\'f8e \f1\'ec\'ee\'f0\'e5}", "moře море"),
        (rb"{\rtf1\ansi\uc1 \u-10180?\u-9056? done}", "\U0001f0a0 done"),
        (rb"{\rtf1\ansi\uc2 \u8364\'80\'80 5}", "€ 5"),
        (rb"{\rtf1\ansi Due in {\deleted ninety }{\revised thirty }days.{\v secret}}",
         "Due in thirty days."),
        (rb"{\rtf1\ansi {\mvf The key is blue.}{\mvt The key is green.}}", "The key is green."),
        (rb"{\rtf1\ansi The tank.{\footnote \chftn It leaks.}\par Next.}",
         "The tank.\n\nIt leaks.\n\nNext."),
        (rb"{\rtf1\ansi{\header Lease KL-9\par Page 3\par}Rent is due.\par}",
         "Lease KL-9\n\nRent is due."),
        (rb"{\rtf1\trowd\clvmgf\cellx100\cellx200\intbl Hall\cell Day\cell\row"
         rb"\trowd\clvmrg\cellx100\cellx200\intbl\cell Night\cell\row\pard End.\par}",
         "Hall | Day\nHall | Night\n\nEnd."),
        (rb"{\rtf1\trowd\trhdr\cellx100\cellx300\intbl Ward\cell Beds\cell\row\trowd\trhdr"
         rb"\cellx100\cellx200\cellx300\intbl\cell 2024\cell 2025\cell\row\trowd\cellx100"
         rb"\cellx200\cellx300\intbl East\cell 10\cell 12\cell\row\pard}",
         "Ward | Beds / 2024 | Beds / 2025\nEast | 10 | 12"),
    ],
)  # fmt: skip
def test_rtf(rtf: bytes, expected: str) -> None:
    assert read_as("t.rtf", rtf).text == expected
