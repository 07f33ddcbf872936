"""Editions of one document: the year asked for, the newest, and contradictions."""

from __future__ import annotations

import pytest

from generation.drafts.draft import Draft
from generation.extractive import ExtractiveGenerator
from generation.grounding.answerability import Judge
from generation.grounding.calibration import load_calibration
from generation.grounding.evidence import EvidenceFinder
from rag.text.document_names import date_of, family_of
from rag.types import Hit, Prompt, Scope
from retrieval.bm25 import Bm25Encoder
from retrieval.embedders.embedder import BertEmbedder
from tests.fakes import CharacterSupport, make_chunk
from tests.generation.test_extractive import EqualIdf

pytestmark = pytest.mark.anyio

POLICIES = {
    "travel-policy-2023.docx": "The mileage allowance for private cars is 40 pence per mile.",
    "travel-policy-2025.docx": "The mileage allowance for private cars is 45 pence per mile.",
}
MEMOS = {
    f"memo-2024-{month:02}-01.txt": f"The canteen opens at 8:00. Menu {month} has soup and fish."
    for month in range(1, 9)
} | {"memo-2025-02-01.txt": "The canteen opens at 9:30. Menu 9 has soup and fish."}
PRICES = {
    "preisliste_2022.pdf": "Der Preis für eine Wartung beträgt 120 Euro je Stunde.",
    "preisliste_2024.pdf": "Der Preis für eine Wartung beträgt 140 Euro je Stunde.",
}

NEWS = {
    "newsletter-2025-03.html": "The summer party takes place on Friday, 27 June, from 16:00 at the"
    " old lifeboat station.",
    "newsletter-2025-06.html": "Because of the forecast the summer party has been moved to Friday,"
    " 11 July. It begins at 15:00; the place stays the same.",
}
AUSHANG = {
    "aushang-2024-02.txt": "Das Sommerfest findet am 27. Juni ab 16 Uhr am Hafen statt.",
    "aushang-2024-04.txt": "Wegen der Bauarbeiten wurde das Sommerfest auf den 11. Juli verlegt.",
}


@pytest.fixture
def generator(embedder: BertEmbedder) -> ExtractiveGenerator:
    finder = EvidenceFinder(embedder=embedder, encoder=Bm25Encoder(), index=EqualIdf())
    return ExtractiveGenerator(Judge(finder=finder, calibration=load_calibration(), threshold=0.0))


async def written(
    generator: ExtractiveGenerator,
    question: str,
    texts: dict[str, str],
    titles: dict[str, str] | None = None,
) -> Draft:
    """Returns the answer with its citations checked."""
    hits = tuple(
        Hit(
            chunk=make_chunk(
                text,
                document_id=name,
                uri=f"file:///docs/{name}",
                title=(titles or {}).get(name, ""),
            ),
            score=1.0,
            source="fused",
            ranks={},
        )
        for name, text in texts.items()
    )
    asked = Prompt(question=question, scope=Scope(tenant="t", collection="c"), hits=hits)
    draft = Draft(hits, CharacterSupport())
    async for delta in generator.stream(asked):
        await draft.take(delta)
    await draft.finish()
    return draft


async def answer(
    generator: ExtractiveGenerator,
    question: str,
    texts: dict[str, str],
    titles: dict[str, str] | None = None,
) -> str:
    return (await written(generator, question, texts, titles)).text


@pytest.mark.parametrize(
    ("question", "texts", "there", "gone"),
    [
        ("What was the mileage allowance in the 2023 policy?", POLICIES, "40", "45"),
        ("What is the mileage allowance in the travel policy of 2025?", POLICIES, "45", "40"),
        ("What is the current mileage allowance?", POLICIES, "45", "40"),
        ("When does the canteen open now?", MEMOS, "9:30", "8:00"),
        ("Was kostet eine Wartung aktuell?", PRICES, "140", "120"),
        ("Was kostet eine Wartung in der Preisliste 2022?", PRICES, "120", "140"),
    ],
)
async def test_the_edition_asked_for_answers_alone(
    generator: ExtractiveGenerator, question: str, texts: dict[str, str], there: str, gone: str
) -> None:
    text = await answer(generator, question, texts)
    assert there in text
    assert gone not in text


@pytest.mark.parametrize(
    ("question", "texts", "newer", "older"),
    [
        (
            "What is the mileage allowance for private cars?",
            POLICIES,
            ("45", "2025"),
            ("40", "2023"),
        ),
        ("When does the canteen open?", MEMOS, ("9:30", "2025-02-01"), ("8:00", "2024-08-01")),
        ("Was kostet eine Wartung?", PRICES, ("140", "2024"), ("120", "2022")),
        ("When is the summer party?", NEWS, ("11 July", "2025-06"), ("27 June", "2025-03")),
        ("Wann ist das Sommerfest?", AUSHANG, ("11. Juli", "2024-04"), ("27. Juni", "2024-02")),
    ],
)
async def test_where_editions_contradict_both_are_shown_with_their_dates_the_newer_first(
    generator: ExtractiveGenerator,
    question: str,
    texts: dict[str, str],
    newer: tuple[str, str],
    older: tuple[str, str],
) -> None:
    text = await answer(generator, question, texts)
    for figure, date in (newer, older):
        assert figure in text
        assert f"({date})" in text
    assert text.index(newer[0]) < text.index(older[0])


async def test_the_edition_that_the_question_names_stays_first(
    generator: ExtractiveGenerator,
) -> None:
    question = "When is the summer party, in the news of March?"
    titles = {"newsletter-2025-03.html": "News, March", "newsletter-2025-06.html": "News, June"}
    text = await answer(generator, question, NEWS, titles)
    assert text.index("27 June") < text.index("11 July")


async def test_dates_cost_no_quote_its_citation(generator: ExtractiveGenerator) -> None:
    draft = await written(generator, "When does the canteen open?", MEMOS)
    assert (draft.unsupported, draft.uncited) == ((), ())
    assert {citation.support for citation in draft.citations} == {1.0}
    assert len(draft.citations) == draft.text.count("[")


@pytest.mark.parametrize(
    ("name", "date", "family"),
    [
        ("travel-policy-2025.docx", "2025", ("travel", "policy")),
        ("newsletter-2025-06.html", "2025-06", ("newsletter",)),
        ("Minutes%2020250408.txt", "2025-04-08", ("minutes",)),
        ("handbook_v2_final.md", "", ("handbook",)),
        ("2024.pdf", "2024", ()),
    ],
)
def test_name_and_date_of_a_document(name: str, date: str, family: tuple[str, ...]) -> None:
    chunk = make_chunk("Text.", uri=f"file:///docs/{name}")
    assert (date_of(chunk), family_of(chunk)) == (date, family)


def test_equal_passages_of_two_documents_have_their_own_dates() -> None:
    text = "The allowance is 40 pence."
    chunks = [make_chunk(text, uri=f"file:///docs/policy-{year}.md") for year in (2023, 2025)]
    assert [date_of(chunk) for chunk in chunks] == ["2023", "2025"]


def test_a_date_in_the_text_counts_where_the_name_has_none() -> None:
    assert date_of(make_chunk("Memo of 3 March 2025: the canteen is closed.")) == "2025-03-03"
