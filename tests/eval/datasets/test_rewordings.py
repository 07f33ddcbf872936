"""Rewordings keep the meaning: figures compare as equal, and clauses keep their words."""

from __future__ import annotations

import pytest

from eval.datasets.rewordings import clauses_turned, figure_reformed, reworded
from rag.text.stated_figures import missing_figures


@pytest.mark.parametrize(
    ("sentence", "language", "written"),
    [
        ("The limit is £50 for it.", "en", "The limit is 50 pounds for it."),
        ("The limit is £1.5 million.", "en", None),
        ("A discount of 5 % is granted.", "en", "A discount of 5 percent is granted."),
        ("Ein Rabatt von 5 % auf 40 €.", "de", "Ein Rabatt von 5 Prozent auf 40 €."),
        ("It holds 12,500 words.", "en", "It holds 12500 words."),
        ("Wait for three days.", "en", "Wait for 3 days."),
        ("Wait for 3 days.", "en", "Wait for three days."),
        ("It began on 2025-05-02.", "en", "It began on 2 May 2025."),
        ("It began on 2 May 2025.", "en", "It began on 2025-05-02."),
        ("Es begann am 02.05.2025 dort.", "de", "Es begann am 2025-05-02 dort."),
        ("It began on 2 May.", "en", None),
        ("Otters sleep in the reeds.", "en", None),
    ],
)
def test_a_figure_in_another_form(sentence: str, language: str, written: str | None) -> None:
    assert figure_reformed(sentence, language) == written
    if written:
        assert missing_figures(written, [sentence]) == []


@pytest.mark.parametrize(
    ("sentence", "turned"),
    [
        ("If it rains, the otters sleep.", "The otters sleep if it rains."),
        ("The otters sleep when it rains.", "When it rains, the otters sleep."),
        ("Leeds is wet because it rains.", "Because it rains, Leeds is wet."),
        ("Because of the rain the day was moved to Friday, 11 July.", None),
        ("Although it is wet it is warm if it rains.", None),
        ("The otters sleep.", None),
    ],
)
def test_clauses_in_another_order(sentence: str, turned: str | None) -> None:
    assert clauses_turned(sentence) == turned


def test_kinds_and_languages() -> None:
    assert dict(reworded("If you wait for three days, the limit is high.")) == {
        "figure in another form": "If you wait for 3 days, the limit is high.",
        "clauses in another order": "The limit is high if you wait for three days.",
        "source named": (
            "According to the documents, if you wait for three days, the limit is high."
        ),
    }
    assert list(reworded("Python is in the list.")) == [
        ("source named", "According to the documents, Python is in the list.")
    ]
    assert list(reworded("Die Frist ist für den Antrag lang.")) == []
