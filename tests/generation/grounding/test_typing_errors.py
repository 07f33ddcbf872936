from __future__ import annotations

import numpy as np
import pytest

from generation.grounding.typing_errors import mended

PASSAGES = ["Error E17: the gauge receives no echo.", "Reimbursement of expenses may take a week."]


def pieces(question: str) -> np.ndarray:
    """Every two characters as a token: no word of four letters is one of the encoder's."""
    return np.array([(i, i + 2) for i in range(len(question) - 1)], np.int32)


@pytest.mark.parametrize(
    ("question", "right"),
    [
        ("waht does eror E17 meen on the guage?", "what does error E17 mean on the gauge?"),
        ("does the reimbursment take long", "does the reimbursement take long"),
        ("which gauges are there?", "which gauge are there?"),
        ("Who is Guage?", "Who is Guage?"),
        ("what about elephants?", "what about elephants?"),
    ],
)  # fmt: skip
def test_mistyped_words_are_those_of_the_passages(question: str, right: str) -> None:
    assert mended(question, pieces(question), PASSAGES) == right


def test_words_that_the_encoder_knows_stay() -> None:
    question = "the guage"
    assert mended(question, np.array([(0, 3), (4, 9)], np.int32), PASSAGES) == question
