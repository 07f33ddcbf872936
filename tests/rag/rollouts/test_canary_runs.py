"""Whole canaries, simulated: worse variants are rolled back, equal ones promoted."""

from __future__ import annotations

import pytest

from tests.canaries import Engine, simulate

RUNS = 200


def test_equal_variants_are_promoted() -> None:
    runs = [simulate(Engine(), Engine(), seed, look=30.0) for seed in range(RUNS)]
    false = [run for run in runs if run.state == "rolled_back"]
    assert len(false) <= 0.05 * RUNS, [run.reason for run in false]


@pytest.mark.parametrize(
    ("variant", "measure"),
    [
        pytest.param(Engine(loss=0.4), "loss", id="worse prompt"),
        pytest.param(Engine(seconds=1.6), "seconds", id="engine twice as slow"),
        pytest.param(Engine(abstained=1.0), "abstained", id="index emptied"),
        pytest.param(Engine(errors=0.5), "errors", id="engine that fails half the time"),
    ],
)
def test_a_regression_is_rolled_back(variant: Engine, measure: str) -> None:
    for seed in range(10):
        run = simulate(variant, Engine(), seed, look=10.0)
        assert run.state == "rolled_back"
        assert run.reason.startswith(f"{measure}:"), run


def test_an_outage_is_rolled_back_at_the_first_step() -> None:
    run = simulate(Engine(errors=1.0), Engine(), 0)
    assert run.state == "rolled_back"
    assert run.questions < 60
