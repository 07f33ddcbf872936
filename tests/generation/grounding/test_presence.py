"""Identifiers that no passage has, beside similar ones that they have."""

from __future__ import annotations

import pytest

from generation.extractive import ExtractiveGenerator
from generation.grounding.answerability import Judge
from generation.grounding.calibration import load_calibration
from generation.grounding.evidence import EvidenceFinder
from generation.grounding.presence import missing_words
from rag.types import Delta
from retrieval.bm25 import Bm25Encoder
from retrieval.embedders.embedder import BertEmbedder
from tests.fakes import make_chunk
from tests.generation.test_extractive import EqualIdf, collect, prompt

pytestmark = pytest.mark.anyio

PAIRS = [
    ("Order SO-51138 was returned.", "What is the status of order {}?", "so51138", "SO-51139"),
    ("Error E18 means that the echo is lost.", "What does error {} mean?", "E-18", "E19"),
    ("The pump PX-345 makes 61 dB of noise.", "How loud is the pump {}?", "px 345", "PX-354"),
    ("CVE-2024-3094 is mended in 5.6.2.", "What mends {}?", "cve-2024-3094", "CVE-2024-3095"),
    ("Version 2.4.1 adds a dark mode.", "What does version {} add?", "v2.4.1", "2.4.7"),
    ("Python 3.12 came in October.", "When did the new Python {} come?", "3.12", "3.15"),
    ("We were certified to ISO 27001.", "Are we certified to {}?", "ISO-27001", "ISO 27017"),
    ("DIN 1045 is about the cover of concrete.", "What is {} about?", "DIN1045", "DIN 1054"),
    ("§ 14 regelt die Kündigung.", "Was regelt {}?", "§14", "§ 41"),
    ("Article 12 obliges tenants to clean.", "What does {} oblige to?", "article 12", "Article 21"),
    ("Clause 7.2 limits the liability.", "What does {} limit?", "clause 7.2", "clause 7.9"),
    ("Invoice INV/2024/0117 is unpaid.", "Is {} paid?", "INV-2024-0117", "INV/2024/0171"),
    (
        "Mail spares@kelmor.example for spares.",
        "Why mail {}?",
        "Spares@Kelmor.example",
        "parts@kelmor.example",
    ),
    (
        "The meeting of 2 May 2025 chose the ERP.",
        "What did the meeting of {} choose?",
        "2025-05-02",
        "12 May 2025",
    ),
    (
        "The transfer of 4,812.50 euros was for rent.",
        "For what was the transfer of {} euros?",
        "4812.50",
        "4,821.50",
    ),
    ("Ticket 7741902 is about the printer.", "What is ticket {} about?", "7741902", "7741920"),
    ("The firmware FW-8.3 mends the clock.", "What does {} mend?", "fw-8.3", "FW-8.4"),
    ("KB5031356 mends the print spooler.", "What does {} mend?", "KB-5031356", "KB5031365"),
    ("Der Fehler F-0042 heißt Überhitzung.", "Wie heißt der Fehler {}?", "f0042", "F-0024"),
    ("L'article XR-20 coûte 15 euros.", "Combien coûte l'article {} ?", "XR20", "XR-21"),
    ("RFC 2119 defines the key words.", "What does {} define?", "rfc2119", "RFC 2191"),
    ("The host 192.168.0.17 runs backups.", "What runs {}?", "192.168.0.17", "192.168.0.71"),
    ("Part 0451-22-9 fits the left door.", "Which door has {}?", "0451229", "0451-29-2"),
    ("The gauge KM-T40 costs 2,890 euros.", "What does the gauge {} cost?", "T40", "KM-T60"),
]


@pytest.fixture
def generator(embedder: BertEmbedder) -> ExtractiveGenerator:
    finder = EvidenceFinder(embedder=embedder, encoder=Bm25Encoder(), index=EqualIdf())
    return ExtractiveGenerator(Judge(finder=finder, calibration=load_calibration(), threshold=0.0))


async def answer(generator: ExtractiveGenerator, question: str, *texts: str) -> list[Delta]:
    return await collect(generator.stream(prompt(question, *texts)))


@pytest.mark.parametrize(("text", "question", "present", "absent"), PAIRS)
async def test_an_identifier_is_answered_and_a_similar_one_is_not(
    generator: ExtractiveGenerator, text: str, question: str, present: str, absent: str
) -> None:
    other = "All the other things of the house stand in the list of the year."
    [first, *_] = await answer(generator, question.format(present), other, text)
    assert first.text == f"{text} [2]"
    [delta] = await answer(generator, question.format(absent), other, text)
    assert (delta.text, delta.abstained) == ("", "unknown_identifier")
    assert delta.missing == (absent,)


async def test_the_row_of_another_order_is_not_quoted(generator: ExtractiveGenerator) -> None:
    header = "Order | Article | State"
    lines = (f"SO-5113{n} | Tide gauge | {state}" for n, state in enumerate(STATES))
    rows = "\n".join([header, *lines])
    *quotes, _ = await answer(generator, "What is the state of tide gauge SO-51132?", rows)
    text = "".join(quote.text for quote in quotes)
    assert "returned" in text
    assert not any(other in text for other in ("SO-51130", "SO-51131", "SO-51133"))


STATES = ["shipped", "open", "returned", "cancelled"]


async def test_a_title_names_what_all_of_the_text_is_about(generator: ExtractiveGenerator) -> None:
    asked = prompt("What does E17 mean?", "There is no echo. Clean the probe.", title="Error E17")
    [first, *_] = await collect(generator.stream(asked))
    assert "echo" in first.text


def test_missing_words_are_those_that_no_passage_has() -> None:
    chunks = [make_chunk("The engine was made by Watt."), make_chunk("Peru has mountains.")]
    encoder = Bm25Encoder()
    missing = missing_words("What does an engine mechanic in Peru earn?", chunks, encoder)
    assert (missing.words, missing.everything) == (("mechanic", "earn"), False)
    missing = missing_words("How do I bake sourdough?", chunks, encoder)
    assert (missing.words, missing.everything) == (("bake", "sourdough"), True)
    assert missing_words("How do I?", chunks, encoder).everything


@pytest.mark.parametrize(
    ("question", "text", "missing"),
    [
        ("How many days has the first parent?", "The second parent has 20 days.", "first parent"),
        ("Wer ist der dritte Trainer?", "Der zweite Trainer ist Bo Lund.", "dritte Trainer"),
        ("What does a second reminder cost?", "The third reminder costs £9.", "second reminder"),
    ],
)  # fmt: skip
async def test_the_second_does_not_answer_for_the_first(
    generator: ExtractiveGenerator, question: str, text: str, missing: str
) -> None:
    [delta] = await answer(generator, question, text)
    assert (delta.abstained, delta.missing) == ("unknown_identifier", (missing,))
    other = f"{text} {missing.capitalize()} as well: see there."
    [first, *_] = await answer(generator, question, other)
    assert first.text
