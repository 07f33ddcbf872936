"""Slides are on the page of their number; notes are notes, hidden slides by the setting."""

from __future__ import annotations

import zipfile
from io import BytesIO

from ingest.chunkers.strategies import SectionChunker
from tests import papers
from tests.ingest.readers.reading import page_of, read_as, read_case
from tests.ingest.readers.test_word import odt
from tests.office_files import Slide, pptx, shape, slide_table


def test_every_slide_of_the_fleet_is_on_its_own_page() -> None:
    document = read_case("22/fleet.pptx")
    facts = ("ninety lorries", "bought in 2009", "eight per cent", "North | 410", "depot opens")
    assert [page_of(document, words) for words in facts] == [1, 2, 3, 4, 5]


def test_notes_of_the_launch_are_notes_and_its_hidden_slide_is_left_out() -> None:
    document = read_case("08/launch.pptx")
    assert page_of(document, "Say that Norway follows in October.") == 1
    chunks = SectionChunker(lambda texts: [len(t.split()) for t in texts]).chunk(document)
    [notes] = [chunk for chunk in chunks if "Norway" in chunk.text]
    assert notes.headings == ("Launch", "Speaker notes")
    assert "99 euros" not in document.text
    assert page_of(document, "Lamp | 40") == 3
    assert document.meta["notes"] == ("Left out: 1 hidden slide (2).",)
    shown = read_case("08/launch.pptx", hidden=True)
    assert page_of(shown, "Draft price 99 euros") == 2
    assert "Hidden slide (hidden)" in [heading.text for heading in shown.headings]


def test_the_deck_has_a_page_for_each_of_its_slides() -> None:
    document = read_case("08/deck.pptx")
    facts = [f"Fact number {n} about topic {n}." for n in range(1, 6)]
    assert [page_of(document, words) for words in facts] == [1, 2, 3, 4, 5]


def test_what_stands_on_every_slide_comes_once_and_apart() -> None:
    slides = [
        Slide(
            shapes=shape(f"Topic {n}", kind="title")
            + shape(f"The mill has {n} wheels.", at=(5, 5))
            + shape(f"Mill report – Page {n} of 4", at=(9, 90))
            + shape(f"Secret – {n}", at=(9, 95))
            + shape("Confidential", kind="ftr")
            + shape(str(n), kind="sldNum")
        )
        for n in range(1, 5)
    ]
    master = shape("Click to edit", kind="title") + shape("Acme Mills Ltd")
    document = read_as("m.pptx", pptx(*slides, master=master))
    first = ("Acme Mills Ltd", "Mill report", "Secret", "Confidential", "Topic 1", "The mill has 1")
    assert document.text.startswith("\n\n".join(first))
    assert document.text.count("Mill report") == document.text.count("Confidential") == 1
    assert document.meta["footer"] == "Acme Mills Ltd | Mill report | Secret | Confidential"
    assert [page_of(document, f"has {n} wheels") for n in range(1, 5)] == [1, 2, 3, 4]


def test_tables_of_slides_repeat_merged_labels_and_join_header_rows() -> None:
    table = slide_table(
        ['[rowSpan="2"]Ward', '[gridSpan="2"]Beds', '[hMerge="1"]'],
        ['[vMerge="1"]', "2024", "2025"],
        ['[rowSpan="2"]East', "10", "12"],
        ['[vMerge="1"]', "11", "13"],
    )
    document = read_as("t.pptx", pptx(Slide(shapes=table)))
    assert document.text == "Ward | Beds / 2024 | Beds / 2025\nEast | 10 | 12\nEast | 11 | 13"


def test_a_cell_of_a_slide_is_no_wider_than_its_table() -> None:
    table = slide_table(['[gridSpan="900000000" rowSpan="70000"]Total', "5"], ["Sum", "6"])
    assert read_as("t.pptx", pptx(Slide(shapes=table))).text.startswith("Total | Total | 5")


def test_a_slide_without_title_is_not_below_the_one_before() -> None:
    slides = (
        Slide(
            shapes=shape("Prices", kind="title") + shape("One\nTwo", kind="body"), notes="Smile."
        ),
        Slide(shapes=shape("Plain words.")),
        Slide(shapes=""),
        Slide(shapes=shape("The end.")),
    )
    document = read_as("t.pptx", pptx(*slides))
    assert document.text == (
        "Prices\n\n- One\n- Two\n\nSpeaker notes\n\nSmile.\n\nSlide 2\n\nPlain words.\n\n"
        "Slide 4\n\nThe end."
    )
    assert page_of(document, "The end.") == 4


def odp(*slides: str) -> bytes:
    pages = "".join(slides)
    hidden = (
        '<style:style style:name="h"><style:drawing-page-properties '
        'presentation:visibility="hidden"/></style:style>'
    )
    with zipfile.ZipFile(BytesIO(odt("", hidden))) as file:
        content = file.read("content.xml").decode()
    content = content.replace(
        "<office:text></office:text>", f"<office:presentation>{pages}</office:presentation>"
    )
    return papers.zipped({"mimetype": papers.ODP, "content.xml": content})


def frame(text: str, kind: str = "") -> str:
    return (
        f'<draw:frame presentation:class="{kind}"><draw:text-box><text:p>{text}</text:p>'
        "</draw:text-box></draw:frame>"
    )


def test_opendocument_slides_have_titles_captions_once_and_notes() -> None:
    caption = frame(
        f"<draw:frame><draw:image/></draw:frame>Figure 1: the mill{frame('Inner words.')}"
    )
    document = read_as(
        "t.odp",
        odp(
            f"<draw:page>{frame('Mills', 'title')}{caption}<presentation:notes>"
            f"{frame('Smile.', 'notes')}</presentation:notes></draw:page>",
            f'<draw:page draw:style-name="h">{frame("Draft")}</draw:page>',
            f"<draw:page>{frame('The end.')}</draw:page>",
        ),
    )
    assert document.text == (
        "Mills\n\nFigure 1: the mill\n\nInner words.\n\nSpeaker notes\n\nSmile.\n\nSlide 3\n\n"
        "The end."
    )
    assert page_of(document, "The end.") == 3
    assert document.meta["notes"] == ("Left out: 1 hidden slide (2).",)
