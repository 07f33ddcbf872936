"""Recognition of questions that are answered by yes or no."""

from __future__ import annotations

import pytest

from rag.text.yes_no import asks_yes_or_no


@pytest.mark.parametrize(
    "question",
    [
        "Don't members pay a fee?",
        "won’t members pay a fee",
        "Hello, isn't there a fee?",
        "Members pay for their work, don't they?",
        "Zahlen Mitglieder nicht wieder eine Gebühr?",
        "Les membres ne paient-ils pas une cotisation ?",
        "¿No pagan los socios una cuota?",
    ],
)
def test_yes_or_no_answers_it(question: str) -> None:
    assert asks_yes_or_no(question)


@pytest.mark.parametrize(
    "question",
    [
        "Which city could not be built in a day?",
        "Do you know which city was not built in a day?",
        "In which year was no fee paid?",
        "Wonach wird nicht gefragt?",
        "Wann zahlen Mitglieder nicht?",
        "Name a city that was not built in a day.",
        "Rome was not built in",
    ],
)
def test_something_else_answers_it(question: str) -> None:
    assert not asks_yes_or_no(question)
