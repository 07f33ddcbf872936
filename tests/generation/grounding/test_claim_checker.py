"""The verdict on single claims."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from generation.grounding.answer_confidence import load_answer_confidence
from generation.grounding.claims import ClaimChecker, Verdict, unstated_figures
from generation.grounding.groundedness import Grounding, load_grounding
from generation.grounding.quotes import Quoted
from rag.types import Delta, Hit
from retrieval.embedders.embedder import BertEmbedder
from tests.fakes import make_chunk

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("one_loop")]

TEXTS = [
    "The BDFL's decision is final. The flag Py_TPFLAGS_MAPPING is set by the class.",
    "A taxi ride is refunded up to £50. Dogs are not permitted in the offices.",
    "The module of C++ code has a leading underscore (e.g. ``_socket``) and is `private`.",
    "| Kind of leave | Days per year |\n|---|---|\n| Study leave | 5 |\n| Annual leave | 27 |",
]


def hits_of(*texts: str) -> list[Hit]:
    return [
        Hit(chunk=make_chunk(text, position=i), score=1.0, source="fused", ranks={})
        for i, text in enumerate(texts)
    ]


def checker_of(
    embedder: BertEmbedder, question: str, texts: Sequence[str], quote: str
) -> ClaimChecker:
    """Returns a checker for passages with these texts, of which a quote answers the question."""

    async def quotes() -> Quoted:
        return Quoted(deltas=(Delta(text=quote),), confidence=0.6)

    grounding = Grounding(embedder, load_grounding())
    return ClaimChecker(question, hits_of(*texts), grounding, quotes, load_answer_confidence())


@pytest.fixture
def checker(embedder: BertEmbedder) -> ClaimChecker:
    quote = "A taxi ride is refunded up to £50. [2]"
    return checker_of(embedder, "What is refunded for a taxi ride?", TEXTS, quote)


@pytest.mark.parametrize(
    "claim",
    [
        "The BDFL's decision is final.",
        "The flag `Py_TPFLAGS_MAPPING` is set by the class.",
        "**A taxi ride is refunded up to 50 pounds.**",
        "A taxi ride is refunded up to fifty pounds.",
        "Kind of leave: Study leave; Days per year: 5",
        "For Study leave, days per year is five.",
        "The annual leave is 27 days per year.",
        "The module of C++ code has a leading underscore (e.g. ``_socket``) and is `private`.",
        "According to the passages, a taxi ride is refunded up to £50.",
    ],
)
async def test_what_a_passage_says_is_supported(checker: ClaimChecker, claim: str) -> None:
    verdict = await checker.check(claim)
    assert verdict.objection is None, verdict


@pytest.mark.parametrize(
    ("claim", "objection"),
    [
        ("A taxi ride is refunded up to €50.", "figure"),
        ("A taxi ride is refunded up to 50 %.", "figure"),
        ("A taxi ride is refunded up to £27.", "support"),
        ("A taxi ride by Uber is refunded up to £50.", "name"),
        ("Cats are permitted in the garden.", "support"),
        ("For Study leave, days per year is 27.", "support"),
        ("The annual leave is 27 weeks per year.", "support"),
        ("The answer is: Py_TPFLAGS_MAPPING", "support"),
    ],
)
async def test_what_no_passage_says_is_refused(
    checker: ClaimChecker, claim: str, objection: str
) -> None:
    verdict: Verdict = await checker.check(claim)
    assert verdict.objection == objection, verdict


@pytest.mark.parametrize(
    ("text", "question", "right", "made_up"),
    [
        (
            "Visitors pay by card. Members of the gym pay by app. The pool closes at nine.",
            "How do members of the gym pay?",
            "Members of the gym pay by app.",
            "Members of the gym pay by fax.",
        ),
        (
            "The flag of the club is blue. The door of the club is red.",
            "What colour is the flag of the club?",
            "The flag of the club is blue.",
            "The flag of the club is tan.",
        ),
        (
            "The lamp runs on gas. The stove of the hut runs on oil, and the heater on wood.",
            "What does the stove of the hut run on?",
            "The stove of the hut runs on oil.",
            "The stove of the hut runs on air.",
        ),
        (
            "Der Ofen der Hütte läuft mit Öl. Die Lampe der Hütte läuft mit Gas.",
            "Womit läuft der Ofen der Hütte?",
            "Der Ofen der Hütte läuft mit Öl.",
            "Der Ofen der Hütte läuft mit Alu.",
        ),
    ],
)
async def test_a_short_word_that_no_passage_has_is_refused(
    embedder: BertEmbedder, text: str, question: str, right: str, made_up: str
) -> None:
    checker = checker_of(embedder, question, [text], text)
    assert (await checker.check(right)).objection is None
    assert (await checker.check(made_up)).objection == "support"


async def test_a_sentence_in_another_language_is_as_likely_as_the_quotes(
    checker: ClaimChecker,
) -> None:
    german = "Eine Fahrt mit dem Taxi wird bis zu 50 Pfund erstattet, und das ist die Grenze."
    assert await checker.answer_confidence(german) == 0.6
    assert await checker.answer_confidence("Dogs are not permitted in the offices.") < 0.3


def test_figures_of_an_answer_are_looked_for_and_numbers_of_items_are_not() -> None:
    hits = hits_of(*TEXTS)
    answer = "There are:\n\n1. Taxis, up to £50. [2]\n9) Trains, up to £80. [2]\n- 27 days. [4]"
    assert [figure.text for figure in unstated_figures(answer, hits)] == ["£80"]
