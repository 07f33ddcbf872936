"""Word's automatic numbers: counted from numbering.xml, and written before headings and items."""

from __future__ import annotations

import pytest

from ingest.chunkers.strategies import SectionChunker
from tests import papers
from tests.ingest.readers.test_formats import read_as
from tests.office_files import run, word


def level(at: int, form: str, text: str, more: str = "") -> str:
    return (
        f'<w:lvl w:ilvl="{at}"><w:start w:val="1"/><w:numFmt w:val="{form}"/>{more}'
        f'<w:lvlText w:val="{text}"/></w:lvl>'
    )


LEGAL = (
    level(0, "decimal", "%1.", '<w:pStyle w:val="Heading1"/>')
    + level(1, "decimal", "%1.%2", '<w:pStyle w:val="Heading2"/>')
    + level(2, "lowerLetter", "(%3)")
    + level(3, "lowerRoman", "%4.")
)
ROMAN = level(0, "upperRoman", "Article %1") + level(1, "decimal", "%1.%2", '<w:isLgl w:val="1"/>')
BULLETS = level(0, "bullet", "*")
NUMBERING = (
    f'<w:abstractNum w:abstractNumId="0">{LEGAL}</w:abstractNum>'
    f'<w:abstractNum w:abstractNumId="1">{ROMAN}</w:abstractNum>'
    f'<w:abstractNum w:abstractNumId="2">{BULLETS}</w:abstractNum>'
    f'<w:abstractNum w:abstractNumId="3">{level(0, "decimal", "%1.")}</w:abstractNum>'
    '<w:num w:numId="1"><w:abstractNumId w:val="0"/></w:num>'
    '<w:num w:numId="2"><w:abstractNumId w:val="1"/></w:num>'
    '<w:num w:numId="3"><w:abstractNumId w:val="2"/></w:num>'
    '<w:num w:numId="4"><w:abstractNumId w:val="3"/></w:num>'
    '<w:num w:numId="5"><w:abstractNumId w:val="3"/>'
    '<w:lvlOverride w:ilvl="0"><w:startOverride w:val="1"/></w:lvlOverride></w:num>'
)
STYLES = (
    '<w:style w:type="paragraph" w:styleId="Heading1"><w:name w:val="heading 1"/>'
    '<w:pPr><w:numPr><w:numId w:val="1"/></w:numPr><w:outlineLvl w:val="0"/></w:pPr></w:style>'
    '<w:style w:type="paragraph" w:styleId="Heading2"><w:name w:val="heading 2"/>'
    '<w:pPr><w:numPr><w:numId w:val="1"/></w:numPr><w:outlineLvl w:val="1"/></w:pPr></w:style>'
)


def item(text: str, num: int, at: int = 0, *, mark: str = "") -> str:
    return (
        f'<w:p><w:pPr><w:numPr><w:ilvl w:val="{at}"/><w:numId w:val="{num}"/></w:numPr>{mark}'
        f"</w:pPr>{run(text)}</w:p>"
    )


def docx(*blocks: str) -> bytes:
    return word("".join(blocks), numbering=NUMBERING, styles=STYLES)


def text(*blocks: str) -> str:
    return read_as("a.docx", docx(*blocks)).text


def test_headings_have_the_numbers_of_their_styles() -> None:
    document = read_as(
        "lease.docx",
        docx(
            papers.paragraph("Parties", "Heading1"),
            papers.paragraph("Landlord", "Heading2"),
            papers.paragraph("Tenant", "Heading2"),
            papers.paragraph("Rent", "Heading1"),
            papers.paragraph("Amount", "Heading2"),
            papers.paragraph("The rent is 900 crowns."),
        ),
    )
    assert [h.text for h in document.headings] == [
        "1. Parties",
        "1.1 Landlord",
        "1.2 Tenant",
        "2. Rent",
        "2.1 Amount",
    ]
    [*_, last] = SectionChunker(lambda texts: [len(t.split()) for t in texts]).chunk(document)
    assert last.headings[-2:] == ("2. Rent", "2.1 Amount")
    assert document.text[last.start : last.end] == last.text


def test_items_of_levels() -> None:
    assert text(
        papers.paragraph("Parties", "Heading1"),
        item("The landlord lets.", 1, 1),
        item("a house,", 1, 2),
        item("of stone,", 1, 3),
        item("a barn.", 1, 2),
        item("The tenant pays.", 1, 1),
        item("monthly.", 1, 2),
    ) == (
        "1. Parties\n\n1.1 The landlord lets.\n(a) a house,\n\ni. of stone,\n(b) a barn.\n\n"
        "1.2 The tenant pays.\n(a) monthly."
    )


def test_roman_and_legal_numbers() -> None:
    found = text(item("Scope", 2), item("Aim", 2), item("It applies.", 2, 1))
    assert found == "Article I Scope\n\nArticle II Aim\n\n2.1 It applies."


def test_lists_of_one_kind_go_on_and_restart_where_they_say() -> None:
    found = text(
        *(item(f"a{n}", 4) for n in range(2)),
        papers.paragraph("Then:"),
        item("b0", 4),
        papers.paragraph("Anew:"),
        *(item(f"c{n}", 5) for n in range(2)),
    )
    assert found == "1. a0\n2. a1\n\nThen:\n3. b0\n\nAnew:\n1. c0\n2. c1"


def test_bullets_unknown_lists_and_deleted_items_have_no_number() -> None:
    deleted = "<w:rPr><w:del/></w:rPr>"
    assert text(item("one", 3), item("two", 9), item("three", 0)) == "- one\n- two\n\nthree"
    assert text(item("", 4, mark=deleted), item("kept", 4)) == "1. kept"


@pytest.mark.parametrize(
    "numbering",
    [
        "",
        '<w:num w:numId="1"/>',
        '<w:abstractNum w:abstractNumId="0"><w:lvl/></w:abstractNum>'
        '<w:num w:numId="1"><w:abstractNumId w:val="0"/></w:num>',
        NUMBERING.replace('w:val="1"', 'w:val="999999999999999999999"'),
        NUMBERING.replace('w:val="%1."', f'w:val="{"%1" * 100_000}"'),
    ],
)
def test_odd_numbering_costs_no_words(numbering: str) -> None:
    items = item("Words.", 1) + item("Words.", 4)
    document = read_as("a.docx", word(items, numbering=numbering, styles=STYLES))
    assert document.text.count("Words.") == 2
    assert len(document.text) < 1000
