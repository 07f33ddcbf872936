"""The confidence of a model's answers: its fit, and what quotes add to them."""

from __future__ import annotations

import pytest

from eval.calibration.answers import Sentence, Written, record_of
from generation.grounding.answer_confidence import GivenAnswer


def written(*told: float, quotes_right: bool = True, answerable: bool = True) -> Written:
    """Returns an answer whose sentences are right from half of the quotes' words on."""
    return Written(
        answerable=answerable,
        sentences=tuple(
            Sentence(
                given=GivenAnswer(evidence=0.0, told=share, type_missing=0.0),
                right=answerable and share > 1 / 2,
            )
            for share in told
        ),
        confidence=0.5,
        quotes_right=quotes_right,
    )


GROUPS = {
    "answerable": [written(0.0, 0.1), written(0.2), written(0.8), written(1.0, 0.3)] * 5,
    "not": [written(0.0, 0.2, quotes_right=False, answerable=False)] * 5,
}


def test_sentences_that_tell_what_quotes_tell_are_likely() -> None:
    record, judged = record_of(GROUPS, GROUPS)
    assert record["coefficients"]["told"] > 5
    assert record["coefficients"]["evidence"] == record["coefficients"]["type_missing"] == 0
    assert record["sentences"]["auroc"] == 1.0
    assert record["sentences"]["right"] == pytest.approx(10 / 40)
    assert judged.confidence[judged.correct == 1].min() > 0.5


def test_quotes_follow_sentences_that_are_less_likely() -> None:
    record, _ = record_of(GROUPS, GROUPS)
    answers = record["answers"]
    assert answers["quotes"] == answers["quotes_where_likelier"] == 1.0
    assert answers["sentences_alone"] == 0.5  # two of four say nothing that is right
    assert answers["without_quotes"] == 0.5
    assert answers["with_sentences"] == 1.0
