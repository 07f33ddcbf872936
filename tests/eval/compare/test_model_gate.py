"""The gate of a quantized model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pytest

from eval.compare.model_gate import Measured, judge
from eval.runs.run_folder import Cited, Outcome
from rag.errors import InputError


def answered(text: str, *, start: int = 0) -> Outcome:
    cited = Cited(document_id="a", start=start, end=start + 9, support=1.0)
    return Outcome(
        id="q", question="Why?", answer=text, citations=(cited,), slices={}, timings={}, measures={}
    )


def measured(
    perplexity: float = 8.0,
    scores: Sequence[float] = (1.0,) * 100,
    answers: Mapping[str, Outcome] | None = None,
) -> Measured:
    return Measured(
        losses=[math.log(perplexity)] * 3,
        scores={str(place): score for place, score in enumerate(scores)},
        answers=answers or {},
    )


def test_perplexity_is_the_exponential_of_the_mean_loss() -> None:
    uneven = Measured(losses=[math.log(2), math.log(8)], scores={"a": 1.0}, answers={})
    report = judge(uneven, uneven)
    assert report["perplexity"]["reference"] == pytest.approx(4)
    assert report["perplexity"]["rise"] == 0
    assert report["faults"] == []


@pytest.mark.parametrize(("perplexity", "passes"), [(8.07, True), (8.09, False), (6.0, True)])
def test_perplexity_may_rise_by_a_hundredth(perplexity: float, passes: bool) -> None:
    faults = judge(measured(), measured(perplexity))["faults"]
    assert (not faults) is passes
    assert passes or "perplexity is 1.1% higher (1% is allowed)" in faults[0]


@pytest.mark.parametrize(("wrong", "passes"), [(0, True), (2, True), (3, False)])
def test_the_score_may_fall_by_two_hundredths(wrong: int, passes: bool) -> None:
    scores = [0.0] * wrong + [1.0] * (100 - wrong)
    report = judge(measured(), measured(scores=scores))
    assert (not report["faults"]) is passes
    assert report["score"]["difference"]["low"] <= -wrong / 100
    assert report["score"]["difference"]["high"] >= -wrong / 100


def test_a_set_that_nobody_can_answer_says_nothing() -> None:
    faults = judge(measured(scores=[0.0]), measured(scores=[0.0]))["faults"]
    assert "the reference answers no question of the set" in faults[0]
    with pytest.raises(InputError, match="nothing to compare"):
        judge(measured(scores=[]), measured(scores=[]))


def test_answers_to_one_s_own_questions_are_compared() -> None:
    before = {
        "a": answered("The crew has five members [1]."),
        "b": answered("It weighs 40 kg."),
        "c": answered("No."),
    }
    after = {
        "a": answered("the crew has five members"),
        "b": answered("It weighs 41 kg.", start=5),
        "c": answered("Yes!"),
    }
    found = judge(measured(answers=before), measured(answers=after))["answers"]
    assert (found["questions"], found["equal"], found["citations"]) == (
        3,
        pytest.approx(1 / 3),
        pytest.approx(2 / 3),
    )
    assert found["similarity"] == pytest.approx((1 + 28 / 30 + 0) / 3)
    assert [pair["candidate"] for pair in found["unlike"]] == ["Yes!", "It weighs 41 kg."]
    assert judge(measured(), measured())["answers"]["equal"] is None
