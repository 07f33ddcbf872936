from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from generation.query.core_question import core_question

CONTEXT = (
    "I joined the company two weeks ago and am still finding my way around the many tools and"
    " rooms. My colleague is on a journey and could not say. We talked about it in the team today."
)


@pytest.mark.parametrize(
    "question",
    [
        "How many days of annual leave do I get?",
        "When the valve is closed, what is the pressure?",
        "Which Spanish officer established the settlement at St. Augustine?",
        "Can I work from abroad, and for how long?",
        "Wie lange werden Bewerbungsunterlagen aufbewahrt?",
        "Combien coûte le T40 ?",
        "WHAT IS THE PRESSURE?",
        "Please list all allergens of the soup.",
    ],
)
@pytest.mark.parametrize(
    "message",
    [
        "{}",
        "Hi team, {}",
        "Hello!\n\n{}\n\nBest regards\nAnna Berg\nSales Manager",
        "Guten Tag Frau Berg, {} Vielen Dank im Voraus!",
        "Bonjour, {} Merci beaucoup.",
        "{} Thanks a lot!",
        "{}\n\n-- \nTom\n+49 30 1234567",
    ],
)
def test_courtesy_and_signatures_are_left_out(question: str, message: str) -> None:
    assert core_question(message.format(question)) == question


@pytest.mark.parametrize("message", [f"{CONTEXT} {{}}", f"Hi all, {CONTEXT} {{}} Thanks, Anna"])
def test_context_is_left_out_where_the_question_stands_alone(message: str) -> None:
    question = "How long are backups kept?"
    assert core_question(message.format(question)) == question


@pytest.mark.parametrize(
    ("message", "question"),
    [
        ("hi, could you please tell me how long backups are kept?", "how long backups are kept?"),
        ("I was wondering when the party is.", "when the party is."),
        ("Können Sie mir bitte sagen, wie lange sie gilt?", "wie lange sie gilt?"),
        ("pourriez-vous me dire combien coûte le T40 ?", "combien coûte le T40 ?"),
        ("你好。病假有几天？", "病假有几天？"),  # noqa: RUF001
    ],
)
def test_a_request_to_tell_is_no_part_of_the_question(message: str, question: str) -> None:
    assert core_question(message) == question


def test_a_question_keeps_the_sentence_that_it_refers_to() -> None:
    message = "We have a lot of snow. I bought the gauge T40. What does it cost?"
    assert core_question(message) == "I bought the gauge T40. What does it cost?"


@pytest.mark.parametrize(
    "message",
    ["Hello", "hi there!", "Thanks!", "Guten Tag", "Merci beaucoup.", "How are you?", "ok", "你好",
     "Hi Bob, thanks for your help yesterday.", "Good morning everyone", "¡Gracias!", " ... "],
)  # fmt: skip
def test_a_greeting_asks_nothing(message: str) -> None:
    assert core_question(message) == ""


@given(st.text(max_size=300))
def test_any_message_is_read(message: str) -> None:
    assert len(core_question(message)) <= 2 * len(message) + 1


def test_words_alone_are_a_question() -> None:
    assert core_question("Hi, James Watt engine") == "James Watt engine"


def test_a_message_that_is_a_text_is_searched_for_as_it_is() -> None:
    text = "word " * 50_000
    assert core_question(text) == text.strip()
