from __future__ import annotations

import pytest

from generation.query.follow_up import TURNS, UNRESOLVED, FollowUpResolver, resolve
from rag.telemetry.trace import Trace
from rag.types import Message

pytestmark = pytest.mark.anyio


def turns(*texts: str) -> list[Message]:
    return [
        Message(role="assistant" if place % 2 else "user", content=text)
        for place, text in enumerate(texts)
    ]


@pytest.mark.parametrize(
    ("before", "said", "question", "resolved"),
    [
        (
            "Where are lithium batteries stored?",
            "Lithium batteries are stored in the red cabinet. [1]",
            "And how many of them may be stored there?",
            "how many of lithium batteries stored may be stored in the red cabinet?",
        ),
        (
            "Who is the head of sales?",
            "The head of sales is Maria Lindqvist. [1]",
            "When did she start?",
            "When did Maria Lindqvist start?",
        ),
        (
            "What does Peter Quist do?",
            "He repairs gauges.",
            "Where does he live?",
            "Where does Peter Quist live?",
        ),
        (
            "How long is the reply time on the Basic plan?",
            "24 hours",
            "And on Gold?",
            "How long is the reply time on Gold?",
        ),
        ("What does error E17 mean?", "No echo.", "and E18?", "What does error E18 mean?"),
        ("Combien coûte le T40 ?", "2890 euros", "Et pour le T50 ?", "Combien coûte le T50?"),
        ("Was ist der Pegel T40?", "Ein Pegel.", "Was kostet er?", "Was kostet Pegel T40?"),
        ("What is the gauge T40?", "Ok.", "What is its price?", "What is gauge T40's price?"),
        ("Which ERP system did we choose?", "Ledgerwood", "Why?", "Why ERP system?"),
    ],
)  # fmt: skip
def test_what_a_question_refers_to_is_put_in_its_place(
    before: str, said: str, question: str, resolved: str
) -> None:
    assert resolve(question, turns(before, said)) == resolved


@pytest.mark.parametrize(
    "question",
    [
        "How long are backups kept?",
        "Is there a canteen?",
        "When a large lot of steel pipes is late, what does it cost?",
        "E-17 means what?",
        "Is it possible to work from abroad?",
    ],
)
def test_a_question_that_refers_to_nothing_stays_as_it_is(question: str) -> None:
    assert resolve(question, turns("Where are lithium batteries stored?", "There.")) == question


def test_questions_are_resolved_along_the_conversation() -> None:
    history = turns("What does error E17 mean?", "No echo.", "and E18?", "Low battery.")
    assert resolve("And E19?", history) == "What does error E19 mean?"


async def test_what_is_not_resolved_is_said_not_to_be() -> None:
    rewritten = await FollowUpResolver().rewrite("When did she start?", turns("Hi"), Trace())
    assert rewritten.question == "When did she start?"
    assert rewritten.degraded == (UNRESOLVED,)
    asked = turns("Who is the head of sales?", "The head is Maria Lindqvist.")
    rewritten = await FollowUpResolver().rewrite("When did she start?", asked, Trace())
    assert (rewritten.question, rewritten.degraded) == ("When did Maria Lindqvist start?", ())


def test_long_conversations_are_read_at_their_end() -> None:
    history = turns(*["What does it cost?", "It costs."] * 5_000)
    assert resolve("Why?", history) == resolve("Why?", history[-TURNS:])
