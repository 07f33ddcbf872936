"""Mail: what is new, what is quoted, the signature, and attachments with their structure."""

from __future__ import annotations

from email.message import EmailMessage

import pytest

from ingest.chunkers.strategies import SectionChunker
from ingest.readers.mail_quotes import parts_of
from rag.types import Document
from tests import papers
from tests.ingest.readers.test_formats import read_as
from tests.places import ROOT

CASES = ROOT / "tests" / "data" / "cases" / "11"


def kinds(text: str) -> list[tuple[str, str]]:
    return [
        (part.kind, " / ".join(filter(None, part.lines))) for part in parts_of(text.split("\n"))
    ]


def headings(document: Document, words: str) -> tuple[str, ...]:
    """Returns the path of headings above words of a document."""
    chunks = SectionChunker(lambda texts: [len(t.split()) for t in texts]).chunk(document)
    [found] = [chunk.headings for chunk in chunks if words in chunk.text]
    return found


def attached(document: Document, name: str) -> Document:
    """Returns what the reader of an attachment reads."""
    [found] = [each for each in document.attachments if each.name == name]
    return read_as(name, found.data)


@pytest.mark.parametrize(
    "attribution",
    [
        "On Mon, 4 Mar 2024 at 09:00, Ana <ana@example.org> wrote:",
        "On Mon, 4 Mar 2024 at 09:00, Ana Maria Lindqvist\n<ana.lindqvist@example.org> wrote:",
        "Am 04.03.24 um 09:00 schrieb Ana:",
        "Le lun. 4 mars 2024 à 09:00, Ana <ana@example.org> a écrit :",
        "El lun, 4 mar 2024 a las 9:00, Ana (<ana@example.org>) escribió:",
        "Il giorno lun 4 mar 2024 alle ore 09:00 Ana <ana@example.org> ha scritto:",
        "Op ma 4 mrt 2024 om 09:00 schreef Ana <ana@example.org>:",
        "Em seg., 4 de mar. de 2024 às 09:00, Ana <ana@example.org> escreveu:",
        "pon., 4 mar 2024 o 09:00 Ana <ana@example.org> napisał(a):",
        "Den mån 4 mars 2024 kl 09:00 skrev Ana <ana@example.org>:",
        "пн, 4 мар. 2024 г. в 09:00, Ana <ana@example.org>:",
        "4 Mar 2024 Pzt 09:00 tarihinde Ana <ana@example.org> şunu yazdı:",
        "2024年3月4日(月) 9:00 Ana <ana@example.org>:",
        "Ana <ana@example.org> 于2024年3月4日周一 09:00写道：",
        "-----Original Message-----\nFrom: Ana\nSent: Monday\nSubject: Pump",
        "-----Ursprüngliche Nachricht-----\nVon: Ana <ana@example.org>\nGesendet: Montag\nAn: Bo",
        "From: Ana <ana@example.org>\nSent: Monday, 4 March\nTo: Bo; Cy;\n Dee\nSubject: P",
        "________________________________\n*Von:* Ana\n*Gesendet:* Montag, 4. März\n*Betreff:* P",
        "De : Ana <ana@example.org>\nEnvoyé : lundi 4 mars 2024 09:00\nÀ : Bo\nObjet : Pompe",
        "De: Ana\nEnviado el: lunes, 4 de marzo de 2024\nPara: Bo\nAsunto: Bomba",
    ],
)
def test_an_attribution_begins_a_quotation(attribution: str) -> None:
    for mark in ("", "> "):
        quoted = "\n".join(f"{mark}{line}".rstrip() for line in ("Hello,", "", "1450 rpm."))
        new, *_, old = kinds(f"It runs at 960 rpm.\n\n{attribution}\n\n{quoted}\n")
        assert new[0] == "new"
        assert new[1].startswith("It runs at 960 rpm.")
        assert old == ("quoted", "Hello, / 1450 rpm.")


@pytest.mark.parametrize(
    "text",
    [
        "As Ana wrote:\n\nthe pump runs at 960 rpm.",
        "The order:\n\n- 4 pumps\n- 3 valves",
        "From: Rome\nTo: Oslo\n\nThe flight leaves at 9.",
        "Use a > b here.\nThen:\n  x -> y",
        "Regards, pumps and valves: see the list.",
        "--- Part 2 ---\n\nThe pump runs at 960 rpm.",
        "Write to 4 people at once:\nAna, Bo, Cy and Dee.",
    ],
)
def test_what_only_looks_like_a_quotation_is_new(text: str) -> None:
    assert [kind for kind, _ in kinds(text)] == ["new"]


def test_answers_between_quoted_lines_stay_in_their_order() -> None:
    text = (
        "On 4 March Ana wrote:\n> Which speed?\n\n960 rpm.\n\n"
        "> And hall 5?\n>\n> > 1450 rpm\n\nThe same."
    )
    assert kinds(text) == [
        ("quoted", "Which speed?"),
        ("new", "960 rpm."),
        ("quoted", "And hall 5?"),
        ("quoted", "1450 rpm"),
        ("new", "The same."),
    ]


@pytest.mark.parametrize(
    "signature",
    [
        "-- \nCy Q., Maintenance\nTel. 555 0147",
        "Best regards,\nCy",
        "Mit freundlichen Grüßen\n\nCy Q.\nInstandhaltung",
        "Bien cordialement,\nCy",
        "Un saludo\nCy",
        "Cordiali saluti\nCy",
        "Med vänliga hälsningar\nCy",
        "С уважением,\nСай",
        "Sent from my iPhone",
        "Von meinem iPhone gesendet",
    ],
)
def test_a_signature_is_one(signature: str) -> None:
    after = "\n\nOn 4 March 2024 Ana wrote:\n> Which speed?"
    found = kinds(f"It runs at 960 rpm.\n\n{signature}{after}")
    assert [kind for kind, _ in found] == ["new", "signature", "quoted"]
    assert found[0][1] == "It runs at 960 rpm."


def test_a_text_after_a_closing_formula_is_new() -> None:
    rest = "\n".join(f"{n}. A point that the letter goes on to make." for n in range(20))
    assert {kind for kind, _ in kinds(f"Words.\n\nRegards,\nCy\n\n{rest}")} == {"new"}


def test_what_is_forwarded_is_no_reply() -> None:
    text = (
        "FYI\n\n---------- Forwarded message ---------\nFrom: Ana <ana@example.org>\nDate: Monday"
        "\nSubject: Pump\n\nIt runs at 960 rpm.\n\nOn 1 March Bo wrote:\n> Which speed?"
    )
    assert [kind for kind, _ in kinds(text)] == ["new", "forwarded", "quoted"]


def test_a_thread_keeps_who_wrote_what_above_it() -> None:
    document = read_as("m3.eml", (CASES / "m3.eml").read_bytes())
    sender = (
        "From: Cy <cy@example.org>, Cy Q., Maintenance, This message is confidential., "
        "To: team@example.org, Date: Mon, 04 Mar 2024 23:30:00 -0800"
    )
    assert headings(document, "Thanks, noted.") == (sender,)
    assert headings(document, "confidential") == (sender, "Signature of the mail")
    bo = "Quoted message: From: Bo <bo@example.org>, Sent: Tuesday, Subject: Re: Pump hall 4"
    assert headings(document, "960 rpm") == (sender, bo)
    ana = "Quoted message: On Mon, 4 Mar 2024 at 09:00, Ana <ana@example.org> wrote:"
    assert headings(document, "1450 rpm") == (sender, ana)
    assert document.meta["sent"] == "2024-03-04T23:30:00-08:00"
    pumps = attached(document, "pumps.csv")
    assert pumps.tables[0].header == "Pump | Speed rpm | Flow l/min | Checked"
    rows = pumps.text[pumps.tables[0].start : pumps.tables[0].end]
    assert rows.count("\n") == 60


def test_headers_are_above_the_text_and_not_in_it() -> None:
    document = read_as("m.eml", bytes(papers.mail("Minutes", "We met on Monday.")))
    chunks = SectionChunker(lambda texts: [len(t.split()) for t in texts]).chunk(document)
    assert [chunk.text for chunk in chunks] == ["We met on Monday."]
    assert chunks[0].title == "Minutes"
    assert "From: ann@example.com, To: bo@example.com" in chunks[0].headings[0]
    bare = papers.mail("Only a subject", "")
    assert "Only a subject" in read_as("m.eml", bytes(bare)).text


def test_attachments_keep_headings_tables_and_pages() -> None:
    pages = [["Chapter one says little.", ""], ["Chapter two says more."], ["Chapter three ends."]]
    message = papers.mail(
        "Minutes",
        "See the files.",
        ("plan.md", b"# Plan\n\n## Costs\n\nTen crowns.\n\n# Annex\n\nNothing."),
        ("prices.csv", b"Item,Price\nCup,3\nPlate,5\nFork,1\n"),
        ("report.pdf", papers.pdf(*("\n".join(page) for page in pages))),
    )
    document = read_as("m.eml", bytes(message))
    assert document.meta["attachments"] == ("plan.md", "prices.csv", "report.pdf")
    plan = attached(document, "plan.md")
    assert headings(plan, "Ten crowns.") == ("Costs",)
    assert headings(plan, "Nothing.") == ("Annex",)
    prices = attached(document, "prices.csv")
    [table] = prices.tables
    assert prices.text[table.start : table.end].startswith("Item | Price\nCup | 3")
    report = attached(document, "report.pdf")
    assert [report.text[start:].split()[1] for start in report.pages] == ["one", "two", "three"]


def test_a_text_that_goes_on_is_no_attachment() -> None:
    message = papers.mail("Minutes", "We met on Monday.", ("a.txt", b"Attached words."))
    footer = EmailMessage()
    footer.set_content("The list is archived at example.org.")
    message.attach(footer)
    document = read_as("m.eml", bytes(message))
    assert document.meta["attachments"] == ("a.txt",)
    assert document.text.endswith("We met on Monday.\n\nThe list is archived at example.org.")


def test_a_mail_of_nothing_but_attachments_names_them() -> None:
    message = EmailMessage()
    message.add_attachment(b"Words.", maintype="text", subtype="plain", filename="a.txt")
    document = read_as("m.eml", bytes(message))
    assert document.text == "Attachments: a.txt"
    assert attached(document, "a.txt").text == "Words."


def test_attachments_are_found_within_a_signed_message() -> None:
    inner = papers.mail("Minutes", "We met on Monday.", ("a.txt", b"Attached words."))
    for header in list(inner.keys()):
        if not header.lower().startswith("content-"):
            del inner[header]
    message = EmailMessage()
    message["Subject"] = "Minutes"
    message["Content-Type"] = 'multipart/signed; protocol="application/pgp-signature"'
    message.attach(inner)
    message.attach(EmailMessage())
    document = read_as("m.eml", bytes(message))
    assert "We met on Monday." in document.text
    assert attached(document, "a.txt").text == "Attached words."


def test_mail_in_html_keeps_its_table_beside_what_it_quotes() -> None:
    message = papers.mail("Prices", "x")
    rows = "".join(f"<tr><td>Cup {n}</td><td>{n}</td></tr>" for n in range(3))
    message.set_content(
        "<p>The new prices:</p><table><tr><th>Item</th><th>Price</th></tr>"
        f"{rows}</table><p>On Mon, 4 Mar 2024 at 09:00, Ana wrote:</p>"
        "<blockquote><p>Which price has a cup?</p></blockquote>",
        subtype="html",
    )
    document = read_as("m.eml", bytes(message))
    [table] = document.tables
    assert document.text[table.start : table.end].startswith("Item | Price\nCup 0 | 0")
    assert headings(document, "Which price")[-1].startswith("Quoted message: On Mon, 4 Mar 2024")


@pytest.mark.parametrize(
    "body",
    [
        "\n".join(">" * n + " words" for n in range(1, 2_000)),
        "On 4 March 2024 Ana wrote:\n" * 20_000,
        "words:\n\n\n" * 50_000,
        "-" * 1_000_000,
        "Ana@" * 200_000 + ":",
        "From: a\n" * 50_000,
        "> a\n\n" * 100_000,
        ">" * 1_000_000,
    ],
    ids=["deep", "attributions", "colons", "dashes", "addresses", "headers", "gaps", "marks"],
)
@pytest.mark.timeout(60)
def test_hostile_mail_takes_linear_time_and_keeps_its_words(body: str) -> None:
    parts = parts_of(body.split("\n"))
    assert all(part.lines for part in parts)
    assert len(parts) <= body.count("\n") + 1
