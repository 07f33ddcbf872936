"""Wrong credentials are limited by their address; good ones are not shut out by others."""

from __future__ import annotations

import contextlib
import time

import pytest

from rag.errors import RateLimitedError, TokenExpiredError, UnauthenticatedError, UpstreamError
from rag.gateway import failed_attempts
from rag.gateway.failed_attempts import FailedAttempts


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The monotonic clock, in a list of one."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def attempts(clock: list[float]) -> FailedAttempts:
    del clock
    return FailedAttempts(per_minute=6)


def fail(attempts: FailedAttempts, address: str, credential: str = "wrong") -> None:
    with pytest.raises(UnauthenticatedError), attempts.attempt(credential, address):
        raise UnauthenticatedError


def passes(attempts: FailedAttempts, address: str, credential: str) -> bool:
    try:
        with attempts.attempt(credential, address):
            return True
    except RateLimitedError:
        return False


def test_an_address_has_so_many_failures_a_minute(
    attempts: FailedAttempts, clock: list[float]
) -> None:
    for n in range(6):
        fail(attempts, "192.0.2.1", f"wrong {n}")
    with (
        pytest.raises(RateLimitedError, match="in 10 seconds") as caught,
        attempts.attempt("w", "192.0.2.1"),
    ):
        pytest.fail("it was looked at")
    assert (caught.value.retry_after, caught.value.code) == (10, "too_many_failures")
    assert passes(attempts, "192.0.2.2", "another's")
    clock[0] += 10
    fail(attempts, "192.0.2.1")
    assert not passes(attempts, "192.0.2.1", "w")
    clock[0] += 3600
    for _ in range(6):
        fail(attempts, "192.0.2.1")
    assert not passes(attempts, "192.0.2.1", "w")


def test_a_credential_that_was_good_before_is_not_shut_out(attempts: FailedAttempts) -> None:
    assert passes(attempts, "192.0.2.1", "good")
    for _ in range(6):
        fail(attempts, "192.0.2.1")
    assert not passes(attempts, "192.0.2.1", "new")
    assert passes(attempts, "192.0.2.1", "good")
    fail(attempts, "192.0.2.1", "good")  # it was revoked
    assert not passes(attempts, "192.0.2.1", "good")


def test_good_credentials_and_failures_of_ours_do_not_count(attempts: FailedAttempts) -> None:
    for n in range(20):
        assert passes(attempts, "192.0.2.1", f"good {n}")
    for _ in range(20):
        with pytest.raises(UpstreamError), attempts.attempt("x", "192.0.2.1"):
            raise UpstreamError("The catalog does not answer.")
    for _ in range(6):
        fail(attempts, "192.0.2.1")


def test_many_good_credentials_may_be_checked_at_once(attempts: FailedAttempts) -> None:
    with contextlib.ExitStack() as stack:
        for n in range(100):
            stack.enter_context(attempts.attempt(f"good {n}", "192.0.2.1"))
    assert passes(attempts, "192.0.2.1", "another")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("", "", True),
        ("unknown", "unknown", True),
        ("x" * 64 + "a", "x" * 64 + "b", True),
    ],
)
def test_addresses_of_one_site_count_as_one(
    attempts: FailedAttempts, one: str, other: str, same: bool
) -> None:
    for _ in range(6):
        fail(attempts, one)
    assert passes(attempts, other, "w") is not same


def test_memory_is_bounded(attempts: FailedAttempts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failed_attempts, "REMEMBERED", 10)
    for n in range(100):
        fail(attempts, f"198.51.100.{n}")
        assert passes(attempts, "192.0.2.1", f"good {n}")
    assert len(attempts._left) == len(attempts._good) == 10


def test_good_tokens_pass_whatever_came_from_their_address(
    attempts: FailedAttempts, clock: list[float]
) -> None:
    for _ in range(6):
        with pytest.raises(UnauthenticatedError), attempts.attempt_by_token("192.0.2.1"):
            raise UnauthenticatedError
    with pytest.raises(RateLimitedError), attempts.attempt_by_token("192.0.2.1"):
        raise UnauthenticatedError
    with attempts.attempt_by_token("192.0.2.1"):
        pass
    assert not passes(attempts, "192.0.2.1", "a key")
    clock[0] += 10
    assert passes(attempts, "192.0.2.1", "a key")


def test_expired_tokens_count_for_nothing(attempts: FailedAttempts) -> None:
    for error in [TokenExpiredError(), UpstreamError("The issuer is away.")] * 50:
        with pytest.raises(type(error)), attempts.attempt_by_token("192.0.2.1"):
            raise error
    assert passes(attempts, "192.0.2.1", "a key")
