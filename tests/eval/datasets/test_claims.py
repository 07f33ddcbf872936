from __future__ import annotations

import re
from random import Random

import pytest

from eval.datasets.claims import (
    PARAGRAPH,
    change_number,
    claim_text,
    make_claims,
    negate,
    other_answers,
    unanswered_claims,
)
from eval.datasets.corpus import Corpus, Passage, Question

ENGINE = (
    "James Watt patented an engine in 1769. Matthew Boulton and John Roebuck paid for it."
    " Richard Trevithick built a locomotive in 1804, and Robert Stephenson another in 1829."
)


@pytest.mark.parametrize(
    ("question", "answer", "claim"),
    [
        ("Who was the Norse leader?", "Rollo", "Rollo was the Norse leader."),
        ("In what year did the war end?", "1763", "The war end in 1763."),
        ("In what year did the war end?", "in 1763", "The war end in 1763."),
        ("Which party won the election?", "The Whigs", "The Whigs won the election."),
        ("How many pounds of steam does it use?", "8.8", "It use 8.8 pounds of steam."),
        ("The street is named after whom?", "a sheriff", "The street is named after a sheriff."),
        ("What religion did they spread in Asia?", "Islam", "They spread in Asia Islam."),
        ("Name the leader of the Normans", "Rollo", None),
        ("Who won?", "the one that had been there for a long, long time", None),
    ],
)
def test_the_answer_takes_the_place_of_what_is_asked(
    question: str, answer: str, claim: str | None
) -> None:
    assert claim_text(question, answer) == claim


def test_a_swapped_answer_has_the_same_shape_and_cannot_be_right_as_well() -> None:
    asked = _question("q", "Who paid for the engine?", "Matthew Boulton")
    others = ["John Roebuck", "1804", "a locomotive", "Richard Trevithick", "Boulton", "engine"]
    assert other_answers(asked, ENGINE, others) == ["Richard Trevithick"]


def test_a_changed_number_is_not_one_of_the_text() -> None:
    for seed in range(20):
        changed = change_number("Watt had 2 engines in 1,769.", "2 3 4 5 6 7 8", Random(seed))
        assert changed is not None
        assert re.fullmatch(r"Watt had ([019] engines in 1,769|2 engines in 1,7\d\d)\.", changed)
    assert change_number("Two engines.", "", Random(0)) not in {None, "Two engines."}
    assert change_number("Some engines.", "", Random(0)) is None


def test_a_negation_is_put_in_or_taken_out() -> None:
    assert negate("Rollo was the leader.", Random(0)) in {
        "Rollo was not the leader.",
        "Rollo was never the leader.",
    }
    assert negate("Rollo was not the leader.", Random(0)) == "Rollo was the leader."
    assert negate("Rollo led them.", Random(0)) is None


def test_claims_are_the_same_every_time_and_each_kind_says_what_was_done() -> None:
    passages = (
        _passage("steam#0", "Steam", ENGINE),
        _passage("steam#1", "Steam", "Steam drives the pistons."),
        _passage("rome#0", "Rome", "Rome is old."),
    )
    questions = (
        _question("when", "When was the first locomotive built by Trevithick?", "1804"),
        _question("watt", "When was the patent of Watt?", "1769"),
        _question("who", "Who was the one to patent an engine in 1769?", "James Watt"),
    )
    corpus = Corpus(
        name="small",
        passages=passages,
        questions=questions,
        qrels={question.id: {"steam#0": 1} for question in questions},
    )
    claims = make_claims(corpus)
    assert claims == make_claims(corpus)
    text = {(claim.question, claim.kind): claim.text for claim in claims}
    assert text["watt", "supported"] == "1769 was the patent of Watt."
    assert text["watt", "answer of another sentence"] == "1804 was the patent of Watt."
    assert text["when", "number changed"] != text["when", "supported"]
    assert ("who", "answer of another sentence") not in text
    against = {(claim.question, claim.kind): claim.passage for claim in claims}
    assert [against["watt", kind] for kind in PARAGRAPH] == ["rome#0", "steam#1"]
    assert {p for (_, kind), p in against.items() if kind not in PARAGRAPH} == {"steam#0"}


def test_a_question_without_an_answer_gets_that_of_one_that_asks_alike() -> None:
    meta = {"source_doc": "steam#0"}
    unanswered = [
        Question(id=id_, text=text, answers=(), answerable=False, meta=meta)
        for id_, text in (
            ("bought", "Who bought the locomotive?"),
            ("watt", "Who sold Watt the locomotive?"),
            ("where", "Where was the locomotive built?"),
        )
    ]
    corpus = Corpus(
        name="small",
        passages=(_passage("steam#0", "Steam", ENGINE),),
        questions=(
            _question("when", "When was the patent?", "1769"),
            _question("who", "Who had a patent?", "James Watt"),
            _question("paid", "Who paid for the engine?", "Matthew Boulton"),
            *unanswered,
        ),
        qrels={id_: {"steam#0": 1} for id_ in ("when", "who", "paid")},
    )
    claims = unanswered_claims(corpus)
    assert [(claim.question, claim.text, claim.passage) for claim in claims] == [
        ("bought", "James Watt bought the locomotive.", "steam#0"),
        ("watt", "Matthew Boulton sold Watt the locomotive.", "steam#0"),
    ]


def _passage(id_: str, title: str, text: str) -> Passage:
    return Passage(id=id_, title=title, text=text, meta={})


def _question(id_: str, text: str, answer: str) -> Question:
    return Question(id=id_, text=text, answers=(answer,), answerable=True, meta={})
