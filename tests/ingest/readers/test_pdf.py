"""PDF: columns, page furniture, cut words and sentences, what nobody sees, tables, pages."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingest.readers.options import ReadOptions
from ingest.readers.registry import read
from rag.errors import ReadError
from rag.text.sentences import sentence_spans
from rag.types import Document
from tests.pdfs import at, box, image, lines, pdf

DATA = Path(__file__).parents[2] / "data"
HEADER, FOOTER = 810, 30


def read_pdf(data: bytes, *, hidden: bool = False) -> Document:
    options = ReadOptions(hidden=hidden)
    return read(data, id="id", uri="file:a.pdf", name="a.pdf", options=options)


def case(name: str, *, hidden: bool = False) -> Document:
    return read_pdf((DATA / name).read_bytes(), hidden=hidden)


def sentences(document: Document) -> list[str]:
    return [" ".join(document.text[s:e].split()) for s, e in sentence_spans(document.text)]


def body(number: int, *, top: float = 750) -> str:
    """A page's own text."""
    words = ("anchor", "bollard", "capstan", "derrick", "eyebolt", "fender", "gangway", "hawser")
    word = words[number % len(words)]
    return lines(
        60,
        top,
        f"The {word} of berth {number} was inspected by a firm from outside in June.",
        f"Its {word} number {number} was worn, and the crew replaced it within a day.",
        f"Nobody was hurt, and the {word} has been in service ever since that week.",
    )


# Page furniture


def test_running_headers_and_footers_are_kept_once_and_a_sentence_goes_on_across_a_page() -> None:
    document = case("cases/10/report.pdf")
    whole = (
        "The crane may lift at most nine tonnes until the next inspection, which is due on the"
        " third of February after the winter stop."
    )
    assert sentences(document).count(whole) == 3
    assert document.text.count("CONFIDENTIAL") == 1
    assert document.text.count("Annual report 2023") == 1
    assert "ACME HARBOUR LTD - CONFIDENTIAL - internal use only" in document.text.split("\n\n")
    assert document.meta["header"] == "ACME HARBOUR LTD - CONFIDENTIAL - internal use only"
    assert document.meta["footer"] == "Annual report 2023"
    for number, start in enumerate(document.pages, start=1):
        begins = "which is due" if number % 2 == 0 else "The harbour crane"
        if number > 1:
            assert document.text[start:].startswith(begins)


def test_headers_of_left_and_right_pages_and_their_numbers_are_furniture() -> None:
    pages = [
        [
            at(60, HEADER, f"{n} | Harbour Handbook")
            if n % 2
            else at(400, HEADER, f"Moorings | {n}"),
            body(n),
        ]
        for n in range(1, 7)
    ]
    document = read_pdf(pdf(*pages))
    assert document.meta["header"] == "Harbour Handbook | Moorings"
    assert document.text.count("Harbour Handbook") == document.text.count("Moorings") == 1


def test_german_page_numbers_that_do_not_begin_at_one_are_furniture() -> None:
    pages = [[body(n), at(250, FOOTER, f"Seite {n + 41} von 57", size=8)] for n in range(1, 5)]
    document = read_pdf(pdf(*pages))
    assert "Seite" not in document.text
    assert "footer" not in document.meta  # a page's number says nothing by itself
    assert len(document.pages) == 4


def test_roman_numbers_and_a_stamp_along_the_side_are_furniture() -> None:
    numerals = ("i", "ii", "iii", "iv")
    pages = [
        [body(n), at(290, FOOTER, numeral), at(30, 300, "Copy 7 for the registry", turn=True)]
        for n, numeral in enumerate(numerals)
    ]
    document = read_pdf(pdf(*pages))
    assert document.meta["header"] == "Copy 7 for the registry"
    assert document.text.count("registry") == 1
    assert not any(paragraph in numerals for paragraph in document.text.split("\n\n"))


def test_a_header_that_begins_with_a_chapter_is_on_its_first_page() -> None:
    pages = [
        [at(60, HEADER, "Chapter Ropes" if n < 4 else "Chapter Chains"), body(n)]
        for n in range(1, 9)
    ]
    document = read_pdf(pdf(*pages))
    assert document.meta["header"] == "Chapter Ropes | Chapter Chains"
    assert document.pages[3] <= document.text.index("Chapter Chains") < document.pages[4]


def test_numbers_that_do_not_count_pages_are_no_furniture() -> None:
    pages = [
        [at(60, HEADER, f"Invoice {number}"), body(n)]
        for n, number in enumerate((4711, 4790, 5012), start=1)
    ]
    document = read_pdf(pdf(*pages))
    for number in (4711, 4790, 5012):
        assert f"Invoice {number}" in document.text


def test_headings_that_count_like_pages_stay() -> None:
    pages = [[at(60, 740, f"Article {n}"), body(n, top=700)] for n in range(1, 5)]
    document = read_pdf(pdf(*pages))
    assert [f"Article {n}" in document.text for n in range(1, 5)] == [True] * 4


def test_the_header_of_a_table_on_each_page_stays_above_its_rows() -> None:
    head = [at(60, HEADER, "Prices of 2025"), at(60, 760, "Part"), at(300, 760, "Price in pounds")]
    pages = [
        [*head]
        + [
            at(x, 740 - 20 * row, text)
            for row in range(4)
            for x, text in ((60, f"Valve {page}{row}"), (300, f"{page}{row}.50"))
        ]
        for page in range(1, 4)
    ]
    document = read_pdf(pdf(*pages))
    assert document.meta["header"] == "Prices of 2025"
    assert [table.header for table in document.tables] == ["Part | Price in pounds"] * 3


def test_headers_of_two_lines_and_two_parts_are_furniture() -> None:
    pages = [
        [
            at(60, 815, "Harbour Office"),
            at(400, 815, "File 4711"),
            at(60, 800, "Moorings"),
            at(400, 800, f"Page {n}"),
            body(n),
        ]
        for n in range(1, 4)
    ]
    document = read_pdf(pdf(*pages))
    assert document.meta["header"] == "Harbour Office File 4711 | Moorings"


def test_large_titles_that_some_pages_share_stay_headings() -> None:
    pages = [
        [at(60, 780, "Results" if n in {2, 3, 4} else f"Topic {'ABCDEFGH'[n]}", size=24), body(n)]
        for n in range(8)
    ]
    document = read_pdf(pdf(*pages))
    assert [h.text for h in document.headings].count("Results") == 3


def test_a_paragraph_that_pages_share_at_their_top_is_text() -> None:
    same = lines(60, 780, *(f"Line {word} of the same notice" for word in "abcdefgh"))
    document = read_pdf(pdf([same, body(1, top=500)], [same, body(2, top=500)]))
    assert document.text.count("Line a of the same notice") == 2


def test_a_page_of_only_furniture_is_noted_and_keeps_its_number() -> None:
    furniture = [at(60, HEADER, "Harbour Handbook"), at(60, FOOTER, "Issue of May")]
    document = read_pdf(pdf([*furniture, body(1)], furniture, [*furniture, body(3)]))
    assert document.meta["notes"] == ("Page 2: only running headers and footers.",)
    assert document.text[document.pages[2] :].startswith("The derrick of berth 3")
    only = read_pdf(pdf(*[furniture] * 400))
    assert only.text == "Harbour Handbook\n\nIssue of May"
    assert "and 390 more: only running headers" in str(only.meta["notes"])


def test_footnotes_do_not_cut_a_sentence_that_goes_on_across_the_page() -> None:
    document = read_pdf(
        pdf(
            [
                lines(60, 750, "The harbour master keeps the list of berths and gives a copy to"),
                at(60, 60, "1 The list is kept for ten years.", size=8),
            ],
            [lines(60, 750, "every skipper who asks for it before noon.")],
        )
    )
    assert (
        "The harbour master keeps the list of berths and gives a copy to every skipper who asks"
        " for it before noon." in document.text
    )
    assert document.text.index("ten years") < document.pages[1]
    assert document.text[document.pages[1] :].startswith("every skipper")


def test_a_german_sentence_goes_on_with_a_noun_on_the_next_page() -> None:
    head = [at(60, 805, "Kestrel GmbH - Vertraulich", size=9)]
    pages = [
        [
            *head,
            at(60, 788, "Seite 1 von 2", size=9),
            lines(
                60,
                760,
                "Sehr geehrte Frau Krause, hiermit bestätigen wir den Eingang Ihrer",
                "Bestellung und liefern die Ware bis spätestens",
            ),
        ],
        [
            *head,
            at(60, 788, "Seite 2 von 2", size=9),
            lines(60, 760, "Freitag, den 5. Mai, frei Haus an Ihre Adresse."),
        ],
    ]
    document = read_pdf(pdf(*pages))
    assert "die Ware bis spätestens Freitag, den 5. Mai, frei Haus" in document.text
    assert document.text[document.pages[1] :].startswith("Freitag")


def test_lines_of_a_table_of_contents_and_of_an_address_stay_lines() -> None:
    page = [
        lines(60, 780, "1 Purpose ........ 2", "2 Trains ........ 3", "3 Planes ........ 5"),
        lines(60, 600, "Harbour Office", "12 Quay Street", "Pellmouth"),
    ]
    text = read_pdf(pdf(page)).text
    assert "1 Purpose ........ 2\n2 Trains" in text
    assert "Harbour Office\n12 Quay Street\nPellmouth" in text


# Columns


def test_short_columns_are_read_one_after_the_other() -> None:
    found = sentences(case("cases/04/columns.pdf"))
    assert "The old depot in Nancy closes in August." in found
    assert "The board met in March and approved the new depot in Lyon." in found


def test_long_columns_are_read_one_after_the_other() -> None:
    text = case("cases/10/paper.pdf").text
    lines_ = [f"{side}{page}{n:02}" for page in "01" for side in "LR" for n in range(48)]
    places = [text.index(label) for label in lines_]
    assert places == sorted(places)
    assert "Depot paper" in text.split("\n\n")


def side_by_side(*columns: tuple[str, ...], top: float = 700, width: float = 170) -> list[str]:
    """Columns painted line by line across the page."""
    rows = max(map(len, columns))
    return [
        at(50 + n * width, top - row * 14, column[row])
        for row in range(rows)
        for n, column in enumerate(columns)
        if row < len(column)
    ]


def test_three_columns_below_a_title() -> None:
    page = side_by_side(
        ("The ferry leaves at nine", "and returns at noon if", "the weather is fair."),
        ("Tickets are sold by the", "master on board, and", "children ride for free."),
        ("Bicycles are carried on", "the lower deck, where", "a steward ties them."),
    )
    document = read_pdf(
        pdf([at(50, 760, "Ferry news for passengers and crews of the bay", size=20), *page])
    )
    assert sentences(document)[1:] == [
        "The ferry leaves at nine and returns at noon if the weather is fair.",
        "Tickets are sold by the master on board, and children ride for free.",
        "Bicycles are carried on the lower deck, where a steward ties them.",
    ]


def test_german_columns_of_unequal_length() -> None:
    page = side_by_side(
        (
            "Der Vorstand hat im März",
            "beschlossen, die Halle zu",
            "verkaufen. Der Käufer ist",
            "noch nicht bekannt.",
        ),
        ("Die Mitglieder werden im", "Juni darüber abstimmen."),
        width=260,
    )
    found = sentences(read_pdf(pdf(page)))
    assert found[0] == "Der Vorstand hat im März beschlossen, die Halle zu verkaufen."
    assert found[-1] == "Die Mitglieder werden im Juni darüber abstimmen."


def test_a_sentence_goes_on_in_the_next_column_below_a_wide_line() -> None:
    above = side_by_side(
        (
            "The pilot comes on board at",
            "the outer buoy and leaves the",
            "ship when she is moored at",
        ),
        (
            "the inner quay. A second pilot",
            "is needed for ships that are",
            "longer than two hundred metres.",
        ),
        width=260,
    )
    wide = at(50, 640, "Ships that carry gas wait for the harbour master, wherever they come from.")
    found = sentences(read_pdf(pdf([*above, wide])))
    assert found[0] == (
        "The pilot comes on board at the outer buoy and leaves the ship when she is moored at the"
        " inner quay."
    )


def test_rows_of_a_table_stay_rows() -> None:
    rows = (
        ("Berth", "Length in metres", "Depth in metres"),
        ("North quay", "210", "11.5"),
        ("Old basin", "95", "6.0"),
    )
    page = side_by_side(*zip(*rows, strict=True))
    document = read_pdf(pdf(page))
    assert "North quay | 210 | 11.5" in document.text
    assert document.tables[0].header == "Berth | Length in metres | Depth in metres"


# Words and headings


def test_words_cut_at_line_ends_are_joined() -> None:
    text = case("cases/10/hyph.pdf").text
    assert "The maximum pressure of the compressor is eleven bar." in text
    assert "with a well-known gauge" in text
    assert "Rotated: the spare key hangs in room twelve. It must be returned by noon." in text


@pytest.mark.parametrize(
    ("above", "below", "joined"),
    [
        ("Die Dauer richtet sich nach der Nutzungs-", "dauer der Anlage.", "der Nutzungsdauer der"),
        (
            "Wir nennen alle Vor- und Nachteile der Ein-",
            "und Ausfuhr von Holz.",
            "Ein- und Ausfuhr",
        ),
        ("The gauge that we sell most is the type T-", "40 of this year.", "type T-40 of"),
        (
            "Send an e-mail to us, and please sign your e-",
            "mail with your name.",
            "your e-mail with",
        ),
        ("Le port est ouvert du lun-", "di au samedi.", "du lundi au samedi"),
    ],
)
def test_a_cut_word_is_spelt_as_elsewhere(above: str, below: str, joined: str) -> None:
    assert joined in read_pdf(pdf(lines(60, 700, above, below))).text


def test_company_contract_has_all_its_headings() -> None:
    document = case("company/contract-office-lease.pdf")
    assert [h.text for h in document.headings] == [
        "Lease of Business Premises",
        "1. Rent",
        "2. Term",
        "3. Deposit",
        "4. Alterations and pets",
        "5. Parking",
    ]
    assert not document.tables
    parking = next(h for h in document.headings if h.text == "5. Parking")
    assert document.pages[1] < parking.start
    assert "5. Parking\n\nThe Tenant may use fourteen parking spaces" in document.text


@pytest.mark.parametrize("name", ["supply-brackwater", "office-lease"])
def test_no_sentence_of_a_contract_holds_a_heading(name: str) -> None:
    document = case(f"company/contract-{name}.pdf")
    for heading in document.headings:
        assert heading.text in sentences(document)


@pytest.mark.parametrize(
    ("heading", "text"),
    [
        ("5. Parking", ("The Tenant may use fourteen spaces in the yard behind the", "house.")),
        (
            "§ 7 Kündigung",
            ("Der Vertrag kann mit einer Frist von drei Monaten gekündigt", "werden."),
        ),
        (
            "Article 12 Liability",
            ("The carrier is liable for damage to goods, except where the", "sender packed them."),
        ),
    ],
)
def test_a_numbered_heading_in_the_letters_of_the_text_is_one(
    heading: str, text: tuple[str, ...]
) -> None:
    document = read_pdf(
        pdf(
            lines(
                60, 700, "This agreement is made between the parties named in it.", heading, *text
            )
        )
    )
    assert [h.text for h in document.headings] == [heading]
    assert " ".join(text) in sentences(document)


def test_a_bold_heading_on_the_line_of_its_text_is_apart() -> None:
    page = [
        at(60, 700, "5. Parking", bold=True),
        at(122, 700, "The Tenant may use fourteen spaces near the house."),
        at(60, 686, "They are numbered from one."),
    ]
    document = read_pdf(pdf(page))
    assert [h.text for h in document.headings] == ["5. Parking"]
    assert "The Tenant may use fourteen spaces near the house." in sentences(document)


def test_a_bold_line_in_the_size_of_the_text_is_a_heading() -> None:
    page = [
        at(60, 720, "Visiting hours", bold=True),
        lines(60, 700, "Visitors are welcome from two to five o'clock,", "except on Mondays."),
    ]
    document = read_pdf(pdf(page))
    assert [h.text for h in document.headings] == ["Visiting hours"]


def test_numbered_items_are_a_list() -> None:
    page = lines(
        60, 700, "Bring these to the boat:", "1. Boots", "2. A warm coat", "3. Food for a day"
    )
    document = read_pdf(pdf(page))
    assert document.text == "Bring these to the boat:\n1. Boots\n2. A warm coat\n3. Food for a day"
    assert not document.headings


# What nobody sees


def test_text_that_nobody_sees_is_left_out_and_counted() -> None:
    document = case("cases/04/hidden.pdf")
    assert document.text == "The deposit is refunded within ten days."
    assert document.meta["notes"] == (
        "Left out: 4 lines of text that nobody sees (2 invisible, 1 off the page, 1 tiny).",
    )


def test_hidden_text_is_kept_if_the_setting_says_so() -> None:
    document = case("cases/04/hidden.pdf", hidden=True)
    for words in ("ninety days", "never refunded", "deposit doubles", "deposit is secret"):
        assert words in document.text
    assert "notes" not in document.meta


SEEN = at(60, 700, "The deposit is refunded within ten days.")


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        (at(60, 500, "The fee is nine pounds.", colour=(1, 1, 1)), "white"),
        (at(60, 500, "The fee is nine pounds.", colour=(0.98, 1, 0.99)), "white"),
        (at(60, 500, "The fee is nine pounds.", mode=3), "invisible"),
        (at(60, 500, "The fee is nine pounds.", state="Clear"), "invisible"),
        (at(60, 500, "The fee is nine pounds.", size=1), "tiny"),
        (at(700, 500, "The fee is nine pounds."), "off the page"),
        (
            box(50, 490, 300, 30, 1) + at(60, 500, "The fee is nine pounds.", colour=(1, 1, 1)),
            "white",
        ),
    ],
    ids=["white", "nearly white", "invisible", "transparent", "tiny", "off the page", "on white"],
)
def test_hidden_text_is_left_out(page: str, reason: str) -> None:
    data = pdf([SEEN, page])
    document = read_pdf(data)
    assert "nine pounds" not in document.text
    assert document.meta["notes"] == (f"Left out: 1 line of text that nobody sees (1 {reason}).",)
    assert "nine pounds" in read_pdf(data, hidden=True).text


@pytest.mark.parametrize(
    "page",
    [
        box(50, 490, 300, 30, 0.2) + at(60, 500, "The fee is nine pounds.", colour=(1, 1, 1)),
        image() + at(60, 500, "The fee is nine pounds.", mode=3),
        image() + at(60, 500, "The fee is nine pounds.", colour=(1, 1, 1)),
        at(60, 500, "The fee is nine pounds.", colour=(0.85, 0.85, 0.85)),
        at(60, 500, "The fee is nine pounds.", size=5),
        at(60, 500, "The fee is nine pounds.", colour=(1, 1, 1), mode=2),
    ],
    ids=["white on dark", "on a scan", "white on an image", "grey", "small", "outlined"],
)
def test_what_is_seen_is_kept(page: str) -> None:
    document = read_pdf(pdf([page, SEEN]))
    assert "The fee is nine pounds." in document.text
    assert "notes" not in document.meta


def test_a_file_of_only_hidden_text_is_refused_by_name() -> None:
    with pytest.raises(ReadError, match=r"a\.pdf: holds only text that nobody sees") as caught:
        read_pdf(pdf(at(60, 500, "The fee is nine pounds.", mode=3)))
    assert caught.value.code == "empty_document"


# Tables and pages


def test_a_table_has_its_header_and_each_row_a_line() -> None:
    document = case("company/fire-safety.pdf")
    [table] = document.tables
    assert document.text[table.start : table.end] == (
        "Floor | Warden | Deputy\nGround floor | Lucan Farraday | Nerys Coldbrook\n"
        "First floor | Thessaly Quill | Bram Oakhanger"
    )


def cells(*rows: tuple[str, ...], top: float = 700, step: float = 20) -> list[str]:
    return [
        at(60 + 160 * column, top - step * row, text)
        for row, texts in enumerate(rows)
        for column, text in enumerate(texts)
        if text
    ]


def test_an_empty_cell_keeps_its_column() -> None:
    rows = (("Part", "In stock", "On order"), ("Valve", "", "40"), ("Pump", "7", ""))
    document = read_pdf(pdf(cells(*rows)))
    assert document.text == "Part | In stock | On order\nValve |  | 40\nPump | 7"


def test_a_wrapped_cell_is_one_cell() -> None:
    page = [
        *cells(("Part", "Use", "Price"), ("Valve", "Closes the pipe", "4 GBP"), top=700, step=40),
        at(220, 647, "of the engine"),
        *cells(("Pump", "Moves oil", "9 GBP"), ("Seal", "Keeps it in", "1 GBP"), top=620, step=40),
    ]
    document = read_pdf(pdf(page))
    assert "Valve | Closes the pipe of the engine | 4 GBP" in document.text.split("\n")
    assert document.tables[0].header == "Part | Use | Price"


def test_a_label_above_some_rows_does_not_end_a_table() -> None:
    rows = (
        ("Route", "Leaves", "Arrives"),
        ("To Pellmouth", "north quay", "old basin"),
        ("Summer only", "", ""),
        ("To Saltmarsh", "south quay", "ferry stage"),
        ("To Oldenwarf", "south quay", "new basin"),
    )
    document = read_pdf(pdf(cells(*rows)))
    [table] = document.tables
    assert table.header == "Route | Leaves | Arrives"
    assert document.text[table.start : table.end].count("\n") == 4


def test_rows_without_a_header_are_lines_and_no_table() -> None:
    rows = tuple((f"Quay {n}", f"{n}10", f"{n}.5") for n in range(1, 6))
    document = read_pdf(pdf(cells(*rows)))
    assert not document.tables
    assert document.text.split("\n")[2] == "Quay 3 310 3.5"


def test_pages_without_text_keep_their_numbers() -> None:
    document = read_pdf(pdf(body(1), image(), body(3)))
    assert document.text[document.pages[2] :].startswith("The derrick of berth 3")
    assert document.meta["notes"] == ("Page 2: images without text, not read.",)


def test_titles_that_tools_write_are_none() -> None:
    page = [at(60, 760, "Berths of the north quay", size=20), body(1)]
    for made_up in ("untitled", "(anonymous)", "Microsoft Word - berths.docx", "berths.indd"):
        assert read_pdf(pdf(page, title=made_up)).title == "Berths of the north quay"
    assert read_pdf(pdf(page, title="Quays")).title == "Quays"


def test_text_of_ordinary_size_on_one_long_page_is_seen() -> None:
    long = pdf(lines(60, 7000, "The fee is nine pounds."), size=(612, 14_400))
    assert "nine pounds" in read_pdf(long).text
