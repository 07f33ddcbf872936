from __future__ import annotations

import pytest

from generation.replicas.outliers import (
    FAILURES,
    MAX_PAUSE_SECONDS,
    PAUSE_SECONDS,
    SAMPLES,
    SLOW_TOKENS,
    Outliers,
)
from tests.replicas import Clock


def usual(outliers: Outliers, *replicas: int, seconds: float = 0.1) -> None:
    for replica in replicas:
        for _ in range(SAMPLES):
            sent = outliers.begun(replica)
            outliers.first_token(sent, seconds)
            outliers.succeeded(sent)


def fail(outliers: Outliers, replica: int, *, hung: bool = False) -> None:
    outliers.failed(outliers.begun(replica), hung=hung)


def answer_slowly(outliers: Outliers, replica: int) -> None:
    sent = outliers.begun(replica)
    outliers.slow(sent)
    outliers.first_token(sent, 1.0, slow=True)
    outliers.succeeded(sent)


def test_failures_in_a_row_eject_and_others_do_not() -> None:
    outliers = Outliers(4, Clock())
    for _ in range(3):
        for _ in range(FAILURES - 1):
            fail(outliers, 0)
        outliers.succeeded(outliers.begun(0))
    assert outliers.allows(0)
    for _ in range(FAILURES):
        fail(outliers, 0)
    assert not outliers.allows(0)
    assert outliers.allows(1)


def test_answers_that_begin_and_break_off_are_failures_in_a_row() -> None:
    outliers = Outliers(4, Clock())
    for _ in range(FAILURES):
        sent = outliers.begun(0)
        outliers.first_token(sent, 0.1)
        outliers.failed(sent)
    assert outliers.is_ejected(0)


def test_one_that_hangs_is_ejected_at_once() -> None:
    outliers = Outliers(4, Clock())
    fail(outliers, 0, hung=True)
    assert outliers.is_ejected(0)


def test_after_the_pause_one_request_tries_and_each_pause_is_longer() -> None:
    clock = Clock()
    outliers = Outliers(4, clock)
    fail(outliers, 0, hung=True)
    for doubled in (1, 2, 4, 8):
        assert outliers.seconds_left(0) == PAUSE_SECONDS * doubled
        clock.now += PAUSE_SECONDS * doubled
        assert outliers.allows(0)
        sent = outliers.begun(0)
        assert not outliers.allows(0)
        outliers.failed(sent)
        assert not outliers.allows(0)
    for _ in range(20):
        clock.now += MAX_PAUSE_SECONDS
        fail(outliers, 0)
    assert outliers.seconds_left(0) == MAX_PAUSE_SECONDS
    clock.now += MAX_PAUSE_SECONDS
    outliers.succeeded(outliers.begun(0))
    assert outliers.allows(0)
    usual(outliers, 0)  # it is trusted again
    fail(outliers, 0, hung=True)
    assert outliers.seconds_left(0) == PAUSE_SECONDS


def test_requests_from_before_the_ejection_change_nothing() -> None:
    outliers = Outliers(4, Clock())
    earlier = [outliers.begun(0) for _ in range(FAILURES + 6)]
    for sent in earlier[:-1]:
        outliers.failed(sent)
    assert outliers.seconds_left(0) == PAUSE_SECONDS
    outliers.first_token(earlier[-1], 0.1)
    outliers.succeeded(earlier[-1])
    assert outliers.is_ejected(0)


@pytest.mark.parametrize("end", ["left", "slow", "failed", "succeeded"])
def test_requests_from_before_the_ejection_decide_no_trial(end: str) -> None:
    clock = Clock()
    outliers = Outliers(4, clock)
    earlier = outliers.begun(0)
    fail(outliers, 0, hung=True)
    clock.now = PAUSE_SECONDS
    trial = outliers.begun(0)
    getattr(outliers, end)(earlier)
    assert outliers.is_ejected(0)
    assert not outliers.allows(0)  # one tries still
    outliers.succeeded(trial)
    assert outliers.allows(0)


def test_requests_from_before_a_restart_say_nothing_of_it() -> None:
    outliers = Outliers(4, Clock())
    earlier = outliers.begun(0)
    outliers.restored(0)
    outliers.failed(earlier, hung=True)
    assert outliers.allows(0)


def test_of_two_that_try_one_that_is_left_leaves_the_other() -> None:
    clock = Clock()
    outliers = Outliers(4, clock)
    fail(outliers, 0, hung=True)
    clock.now = PAUSE_SECONDS
    first, second = outliers.begun(0), outliers.begun(0)
    outliers.left(first)
    assert not outliers.allows(0)
    outliers.left(second)
    assert outliers.allows(0)


def test_a_trial_that_its_caller_left_lets_another_try() -> None:
    clock = Clock()
    outliers = Outliers(4, clock)
    fail(outliers, 0, hung=True)
    clock.now = PAUSE_SECONDS
    outliers.left(outliers.begun(0))
    assert outliers.allows(0)
    assert outliers.is_ejected(0)


def test_a_slow_one_is_ejected_until_it_is_as_fast_as_the_others() -> None:
    clock = Clock()
    outliers = Outliers(4, clock)
    assert outliers.slow_after(0) is None
    usual(outliers, 1, 2, 3, seconds=0.2)
    assert outliers.slow_after(0) == pytest.approx(0.6)
    for _ in range(SLOW_TOKENS - 1):
        outliers.slow(outliers.begun(0))
    outliers.first_token(outliers.begun(0), 0.2)
    for _ in range(SLOW_TOKENS - 1):
        answer_slowly(outliers, 0)
    assert outliers.allows(0)
    outliers.slow(outliers.begun(0))
    assert not outliers.allows(0)
    clock.now = PAUSE_SECONDS
    answer_slowly(outliers, 0)
    assert not outliers.allows(0)
    clock.now += 2 * PAUSE_SECONDS
    sent = outliers.begun(0)
    outliers.first_token(sent, 0.2)
    outliers.succeeded(sent)
    assert outliers.allows(0)


def test_milliseconds_make_none_slow() -> None:
    outliers = Outliers(3, Clock())
    usual(outliers, 1, 2, seconds=0.001)
    assert outliers.slow_after(0) == pytest.approx(0.101)


def test_what_an_ejected_one_takes_is_not_usual() -> None:
    outliers = Outliers(3, Clock())
    usual(outliers, 1, seconds=0.2)
    usual(outliers, 2, seconds=9)
    fail(outliers, 2, hung=True)
    assert outliers.slow_after(0) == pytest.approx(0.6)


def test_no_more_than_half_are_ejected() -> None:
    outliers = Outliers(5, Clock())
    for replica in range(5):
        fail(outliers, replica, hung=True)
    assert [outliers.is_ejected(replica) for replica in range(5)] == [True] * 2 + [False] * 3


def test_the_only_one_is_never_ejected() -> None:
    outliers = Outliers(1, Clock())
    fail(outliers, 0, hung=True)
    assert outliers.allows(0)
