"""Readers of formats other than plain text."""

from __future__ import annotations

import contextlib
import mailbox
import tracemalloc
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest

from ingest.chunkers.strategies import SectionChunker
from ingest.readers.media_types import MEDIA_TYPES, media_type
from ingest.readers.ocr import Ocr
from ingest.readers.options import ReadOptions
from ingest.readers.registry import read
from rag.errors import ReadError
from rag.types import Document
from tests import papers
from tests.papers import paragraph, word_table

JPEG = b"\xff\xd8\xff\xe0" + bytes(64)
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"


def read_as(name: str, data: bytes) -> Document:
    return read(data, id="id", uri=f"file:{name}", name=name)


def refused(name: str, data: bytes) -> str:
    with pytest.raises(ReadError) as caught:
        read_as(name, data)
    assert name in str(caught.value)
    return caught.value.code


def section(document: Document, heading: str) -> str:
    return next(document.text[h.start :] for h in document.headings if h.text == heading)


def test_word_keeps_headings_lists_and_tables() -> None:
    data = papers.docx(
        paragraph("Ponds", "Heading1"),
        paragraph("Ducks swim there."),
        word_table(("Bird", "Eats"), ("Duck", "Weed"), ("Heron", "Fish")),
        paragraph("Lakes", "Heading1"),
        paragraph("Swans swim here."),
    )
    document = read_as("birds.docx", data)
    assert [h.text for h in document.headings] == ["Ponds", "Lakes"]
    assert section(document, "Lakes") == "Lakes\n\nSwans swim here."
    [table] = document.tables
    assert document.text[table.start : table.end] == "Bird | Eats\nDuck | Weed\nHeron | Fish"


def test_excel_has_a_page_for_each_sheet_and_finds_the_header_below_a_caption() -> None:
    data = papers.xlsx("Counts", ("Ducks by year",), ("Year", "Ducks"), (2020, 120), (2021, 160))
    document = read_as("ducks.xlsx", data)
    assert [h.text for h in document.headings] == ["Counts"]
    assert document.tables[0].header == "Year | Ducks"
    assert document.text.endswith("Year | Ducks\n2020 | 120\n2021 | 160")


def test_pdf_pages_are_offsets_into_the_text() -> None:
    document = read_as("p.pdf", papers.pdf("The first page speaks.", "The second one answers."))
    first, second = document.pages
    assert document.text[first:second].strip() == "The first page speaks."
    assert document.text[second:] == "The second one answers."
    chunks = SectionChunker(lambda texts: [len(t.split()) for t in texts], max_tokens=4).chunk(
        document
    )
    assert [(c.text, c.page) for c in chunks] == [
        ("The first page speaks.", 1),
        ("The second one answers.", 2),
    ]


def test_epub_follows_its_spine_and_names_its_author() -> None:
    document = read_as("b.epub", papers.epub("A Book", ("One", "First."), ("Two", "Second.")))
    assert (document.title, document.meta["author"]) == ("A Book", "A. Writer")
    assert document.text == "One\n\nFirst.\n\nTwo\n\nSecond."


def test_presentations_have_a_page_for_each_slide() -> None:
    document = read_as("talk.odp", papers.odp("What we saw", "What we did"))
    assert document.text == "What we saw\n\nWhat we did"
    assert document.pages == (0, len("What we saw\n\n"))


def test_rtf_in_another_code_page() -> None:
    data = rb"{\rtf1\ansi\ansicpg1250 Svitky od Mrtv\'e9ho mo\'f8e.}"
    assert read_as("a.rtf", data).text == "Svitky od Mrtvého moře."


def test_mail_has_its_headers_its_body_and_what_is_attached() -> None:
    inner = papers.mail("Inner", "Forwarded words.")
    message = papers.mail(
        "Minutes",
        "Please read.",
        ("notes.txt", b"Attached words."),
        ("sheet.xlsx", papers.xlsx("S", ("a", "b"), (1, 2), (3, 4))),
        ("inner.eml", bytes(inner)),
        ("tool.zip", papers.zipped({"x": "y"})),
    )
    document = read_as("m.eml", bytes(message))
    assert document.title == "Minutes"
    assert document.meta == {
        "author": "ann@example.com",
        "to": "bo@example.com",
        "created": "2024-10-01",
        "sent": "2024-10-01T12:34:56-05:00",
        "attachments": ("notes.txt", "sheet.xlsx", "inner.eml"),
        "unread": ("tool.zip",),
        "notes": document.meta["notes"],
    }
    assert "tool.zip: cannot be read: an archive" in str(document.meta["notes"])
    assert document.text.startswith("Subject: Minutes\nFrom: ann@")
    assert document.text.endswith("Please read.")
    texts = [read_as(each.name, each.data).text for each in document.attachments]
    for text, words in zip(texts, ("Attached words.", "3 | 4", "Forwarded words."), strict=True):
        assert words in text


def test_a_forwarded_message_is_read() -> None:
    message = papers.mail("Fwd: Minutes", "See below.")
    message.add_attachment(papers.mail("Minutes", "Forwarded words."))
    document = read_as("m.eml", bytes(message))
    assert document.text.endswith("See below.")
    [forwarded] = document.attachments
    assert forwarded.name == "attachment.eml"
    inner = read_as(forwarded.name, forwarded.data)
    assert (inner.title, inner.text[-16:]) == ("Minutes", "Forwarded words.")


def test_messages_in_messages_have_a_floor() -> None:
    message = papers.mail("m0", "words 0", ("m.eml", bytes(papers.mail("m", "words"))))
    for depth in range(4):
        document = read(bytes(message), id="id", uri="file:m", name="m.eml", depth=depth)
        assert len(document.attachments) == (depth < 3)
    assert document.meta["unread"] == ("m.eml",)


def test_mail_in_html_and_in_utf_16() -> None:
    message = papers.mail("Offer", "x")
    message.set_content("<p>Only <b>markup</b>.</p><script>bad()</script>", subtype="html")
    assert read_as("m.eml", bytes(message)).text.endswith("Only markup.")
    wide = bytes(papers.mail("Wide", "Wide words.")).decode().encode("utf-16")
    assert "Wide words." in read_as("m.eml", wide).text


def test_a_mailbox_has_a_section_for_each_message(tmp_path: Path) -> None:
    box = mailbox.mbox(tmp_path / "box")
    for n in (1, 2):
        box.add(papers.mail(f"Subject {n}", f"Body {n}."))
    box.close()
    document = read_as("box", (tmp_path / "box").read_bytes())
    assert document.media_type == "application/mbox"
    assert [h.text for h in document.headings if h.level == 1] == ["Subject 1", "Subject 2"]
    assert "Body 1." in document.text


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_separated_values(delimiter: str) -> None:
    rows = [("Name", "Says"), ("Ann", '"one, two; three"'), ("Bo", "four"), ("Cy", "five")]
    data = "\n".join(delimiter.join(row) for row in rows).encode()
    document = read_as("a.csv", data)
    assert document.text.split("\n")[1] == "Ann | one, two; three"
    assert document.tables[0].header == "Name | Says"


def test_html_tables_have_a_header() -> None:
    rows = "".join(f"<tr><td>s{n}</td><td>{n}</td></tr>" for n in range(3))
    html = f"<h1>T</h1><p>Intro.</p><table><tr><th>State</th><th>Area</th></tr>{rows}</table>"
    document = read_as("t.html", html.encode())
    [table] = document.tables
    assert document.text[table.start : table.end].startswith("State | Area\ns0 | 0\n")
    assert table.header == "State | Area"


def test_a_chunk_that_begins_within_a_table_carries_its_header() -> None:
    rows = [(f"Country {n}", f"Capital {n}") for n in range(40)]
    data = papers.docx(paragraph("Intro."), word_table(("Country", "Capital"), *rows))
    document = read_as("w.docx", data)
    chunker = SectionChunker(lambda texts: [len(t.split()) for t in texts], max_tokens=30)
    first, *others = chunker.chunk(document)
    assert first.text.startswith("Intro.")
    assert first.headings == ()
    assert len(others) > 3
    for chunk in others:
        assert chunk.headings == ("Country | Capital",)
        assert chunk.text == document.text[chunk.start : chunk.end]
        assert all(line.count(" | ") == 1 for line in chunk.text.split("\n"))  # no row is cut


@pytest.mark.parametrize(
    ("name", "make", "expected"),
    [
        ("report.txt", lambda: papers.pdf("Words."), "application/pdf"),
        ("report.pdf", lambda: b"Only plain words.", "text/plain"),
        ("noname", lambda: papers.epub("T", ("a", "b")), "application/epub+zip"),
        ("page.txt", lambda: b"<!DOCTYPE html><p>Words.", "text/html"),
        ("letter", lambda: bytes(papers.mail("s", "b")), "message/rfc822"),
        ("article", lambda: b"<?xml version='1.0'?><article/>", "application/x-jats+xml"),
    ],
)  # fmt: skip
def test_content_decides_not_the_name(name: str, make: Callable[[], bytes], expected: str) -> None:
    assert media_type(make(), name=name) == expected


def test_what_cannot_be_read_is_refused_with_its_reason() -> None:
    whole = papers.docx(paragraph("Words."))
    assert refused("locked.pdf", papers.pdf("x", encrypt=True)) == "encrypted"
    assert refused("cut.docx", whole[: len(whole) // 2]) == "damaged"
    assert refused("cut.pdf", b"%PDF-1.7\n1 0 obj\n<<") == "damaged"
    assert refused("odd.doc", OLE + bytes(512)) == "damaged"
    assert refused("odd.rtf", b"{\\rtf1 ") == "empty_document"
    assert refused("files.zip", papers.zipped({"a.txt": "Words."})) == "unsupported_type"
    assert refused("junk.bin", bytes(range(256)) * 4) == "unsupported_type"
    assert refused("empty.pdf", b"") == "empty_document"
    assert refused("blank.xlsx", papers.xlsx("", ("",))) in {"empty_document", "damaged"}
    assert refused("broken.odp", papers.zipped({"mimetype": papers.ODP})) == "damaged"


def test_the_message_of_a_library_in_an_error_ends_with_one_full_stop() -> None:
    with pytest.raises(ReadError) as caught:
        read(b"%PDF-1.7\n1 0 obj\n<<", id="i", uri="u", name="cut.pdf")
    assert str(caught.value) == (
        "cut.pdf: the file is damaged: Failed to load document (PDFium: Data format error). Save or"
        " send it again."
    )


def test_images_without_character_recognition_say_what_is_missing() -> None:
    with pytest.raises(ReadError, match="tesseract's language data 'xyz'") as caught:
        read(JPEG, id="i", uri="u", name="scan.jpg", options=ReadOptions(ocr=Ocr("xyz")))
    assert caught.value.code == "needs_ocr"
    blank = papers.pdf("")
    with pytest.raises(ReadError) as caught:
        read(blank, id="i", uri="u", name="scan.pdf", options=ReadOptions(ocr=Ocr("xyz")))
    assert caught.value.code == "needs_ocr"


@pytest.mark.skipif(Ocr().config() is None, reason="tesseract's English data are not installed")
def test_images_are_read_where_tesseract_is_installed() -> None:
    from io import BytesIO

    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 2), dpi=150)
    figure.text(0.05, 0.4, "Grounded answers only", fontsize=40)
    target = BytesIO()
    figure.savefig(target, format="png")
    document = read_as("scan.png", target.getvalue())
    assert "grounded answers" in document.text.lower()


@pytest.mark.parametrize("sender", ["x <", "a@", '"', "g:a@b;@c", "<a@[", "=?utf-8?q?=?= <"])
def test_a_header_that_python_cannot_parse_is_kept_as_it_is(sender: str) -> None:
    data = f"Subject: Ponds\nFrom: {sender}\nTo: b@example.com\n\nDucks swim there.\n".encode()
    document = read_as("m.eml", data)
    assert document.title == "Ponds"
    assert document.meta["author"] == sender
    assert document.text.endswith("Ducks swim there.")


def nested_mail(depth: int) -> bytes:
    parts = (
        f'Content-Type: multipart/mixed; boundary="b{n}"\n\n--b{n}\n'.encode() for n in range(depth)
    )
    return b"Subject: Ponds\nFrom: a@example.com\n" + b"".join(parts) + b"\nDeep.\n"


def corrupt_epub() -> bytes:
    data = bytearray(papers.zipped({"mimetype": "application/epub+zip" * 30}))
    start = 30 + len("mimetype")
    data[start + 2 : start + 12] = b"\xff" * 10
    return bytes(data)


def deep_slides() -> bytes:
    with zipfile.ZipFile(BytesIO(papers.odp("Deep."))) as file:
        members = {name: file.read(name) for name in file.namelist()}
    spans = b"<text:span>" * 5_000 + b"Deep." + b"</text:span>" * 5_000
    return papers.zipped(members | {"content.xml": members["content.xml"].replace(b"Deep.", spans)})


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("nested.eml", nested_mail(3_000)),
        ("corrupt.epub", corrupt_epub()),
        ("deep.odp", deep_slides()),
        ("long.rtf", rb"{\rtf1 Hello \u99999999999999 ?}"),
        ("notes.docx", papers.docx(paragraph("Words."), footnotes="<not xml")),
    ],
)
def test_what_libraries_fail_over_is_a_damaged_document(name: str, data: bytes) -> None:
    assert refused(name, data) == "damaged"


def test_a_bomb_for_a_media_type_is_not_unpacked() -> None:
    bomb = papers.zipped({"mimetype": b"a" * (200 << 20)})
    tracemalloc.start()
    try:
        assert refused("bomb.odt", bomb) == "unsupported_type"
        assert tracemalloc.get_traced_memory()[1] < 10 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("extension", sorted(set(MEDIA_TYPES)))
def test_every_extension_has_a_reader(extension: str) -> None:
    with contextlib.suppress(ReadError):  # for formats that two words are not in
        read_as(f"document{extension}", b"two words")
