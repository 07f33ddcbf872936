from __future__ import annotations

import pytest

from generation.grounding.answer_types import lacks_count, lacks_type, stem


@pytest.mark.parametrize(
    ("question", "has", "lacks"),
    [
        ("When does the season end?", "It ends on 14 September.", "It ends early."),
        ("What does a card cost?", "A card is 12 pounds a year.", "A card is not transferable."),
        ("Was kostet die Tonne?", "Sie kostet 142 Euro.", "Sie wird jede Woche geleert."),
        ("Why is it closed?", "It is closed because the filter is replaced.", "It is closed."),
        ("Warum ist zu?", "Es ist zu, weil der Boden versiegelt wird.", "Es ist seit Mai zu."),
        ("How much does it weigh?", "It weighs 23.4 kilograms.", "It draws 1450 watts."),
        ("How loud is it?", "It is heard with 41 decibels.", "It weighs 41 kilograms."),
        ("Wie tief ist der See?", "Er ist 40 Meter tief.", "Er ist blau."),
        ("How often does it run?", "It runs every hour.", "It runs to the harbour."),
        ("Who is the warden?", "The warden is Imogen Sayle.", "The fen has a warden."),
        ("Wer leitet den Kurs?", "Ihn leitet Nadja Frohwein.", "Der Kurs beginnt im Mai."),
        ("Which colour is the ring?", "The ring lights blue.", "The ring is round."),
        ("How many beds are there?", "There are 22 beds.", "There are beds."),
    ],
)  # fmt: skip
def test_a_text_has_or_lacks_the_kind_of_answer(question: str, has: str, lacks: str) -> None:
    lacking = lacks_type(question)
    assert not lacking(has)
    assert lacking(lacks)


def test_the_first_word_that_asks_decides() -> None:
    assert not lacks_type("Who decides when my lead is away?")("Marta Quist decides.")


def test_a_name_of_the_question_is_no_answer_to_who() -> None:
    lacking = lacks_type("Who was mayor before Daniel Osei?")
    assert lacking("The mayor since 2019 is Daniel Osei.")
    assert not lacking("Daniel Osei followed Ann Lee.")


@pytest.mark.parametrize("question", ["Can I cross by bike?", "¿Cuándo murió?", "谁是市长?", ""])
def test_other_questions_lack_nothing(question: str) -> None:
    assert not lacks_type(question)("The bridge is closed.")
    assert not lacks_count(question)("The bridge is closed.")


@pytest.mark.parametrize(
    ("question", "has", "lacks"),
    [
        ("How many ships were lost?", "The storm took 27 large ships.", "Many ships were lost."),
        ("How many players are there?", "The orchestra has 71 players.", "Players pay a fee."),
        ("Wie viele Mitglieder hat er?", "Er hat 640 Mitglieder.", "Mitglieder zahlen viel."),
        ("Wie viele Boote gibt es?", "Der Verein hat 46 alte Ruderboote.", "Er hat 46 Paddel."),
    ],
)  # fmt: skip
def test_a_count_is_close_to_what_it_counts(question: str, has: str, lacks: str) -> None:
    lacking = lacks_count(question)
    assert not lacking(has)
    assert lacking(lacks)


def test_inflections_share_a_stem() -> None:
    assert stem("Boats") == stem("boat") == "boat"
    assert stem("Eis") == "eis"
