"""The steps of a call, for both clients: one waits for each step, the other one awaits it.

A flow is a generator, as in httpx' own authentication: it yields the next step, is sent what that
comes to, and returns the result of the call.
"""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx

from .call import Call
from .document_responses import Job
from .errors import (
    LOADING,
    PlumblineError,
    RateLimitedError,
    UnavailableError,
    UnreachableError,
    error_of,
    unreachable,
)
from .jobs import get_job

T = TypeVar("T")
FIRST_PAUSE_SECONDS = 0.5
"""Seconds before a second attempt to connect; each further pause is twice as long."""
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_LATE = (httpx.ReadTimeout, httpx.WriteTimeout)
_SHORTEST_LOOK_SECONDS, _LONGEST_LOOK_SECONDS = 0.1, 1.0
"""Seconds between looks at a job: a twentieth of the time since the first look, in these bounds."""


@dataclass(frozen=True, slots=True)
class Send:
    """Send a request; with `stream`, of a successful response only the beginning is awaited."""

    request: httpx.Request
    stream: bool = False


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait so many seconds."""

    seconds: float


Outcome = httpx.Response | httpx.RequestError | None
"""The outcome of a step: a response, the reason why there is none, or None after a pause."""
Flow = Generator[Send | Pause, Any, T]


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """Limits on repeating calls.

    A call that the server refuses with `Retry-After` is made again after that time, if waiting
    takes no more than `seconds` over all its attempts. One to which no answer comes is made again
    `reconnects` times. A call that is not repeatable is made again only if nothing can have come of
    it: it was not sent, the caller is over a limit, or the server is loading.
    """

    seconds: float = 60.0
    reconnects: int = 2


NEVER = Retries(seconds=0.0, reconnects=0)
"""Each call is made once."""


def result(call: Call[T], http: httpx.Client | httpx.AsyncClient, retries: Retries) -> Flow[T]:
    """Makes a call; returns its result.

    Raises:
        PlumblineError: It failed.
    """
    response = yield from answered(call, http, retries)
    return call.read(response)


def answered(
    call: Call[Any],
    http: httpx.Client | httpx.AsyncClient,
    retries: Retries,
    *,
    stream: bool = False,
) -> Flow[httpx.Response]:
    """Sends a call's request, repeatedly where that is safe; returns the successful response.

    Raises:
        PlumblineError: No attempt was successful.
    """
    waited = 0.0
    for failed in itertools.count():
        with call.request(http) as request:
            outcome: httpx.Response | httpx.RequestError = yield Send(request, stream)
            if isinstance(outcome, httpx.RequestError):
                failure: PlumblineError = unreachable(request, outcome)
                failure.__cause__ = outcome
            elif outcome.is_success:
                return outcome
            else:
                failure = error_of(outcome)
        pause = _pause(failure, failed, call, retries)
        if pause is None or waited + pause > retries.seconds:
            raise failure
        waited += pause
        yield Pause(pause)
    raise AssertionError("unreachable")


def ended(
    job_id: str,
    http: httpx.Client | httpx.AsyncClient,
    retries: Retries,
    *,
    timeout: float | None,
    on_progress: Callable[[Job], None] | None,
) -> Flow[Job]:
    """Looks at a job until it has ended, and returns it; `on_progress` gets it at each look.

    Raises:
        TimeoutError: It has not ended after `timeout` seconds.
        PlumblineError: A look failed.
    """
    began = time.monotonic()
    while True:
        job = yield from result(get_job(job_id), http, retries)
        if on_progress:
            on_progress(job)
        if job.ended:
            return job
        lasted = time.monotonic() - began
        if timeout is not None and lasted >= timeout:
            raise TimeoutError(f"The job {job_id} has not ended after {timeout:g} s: {job.state}.")
        pause = min(max(lasted / 20, _SHORTEST_LOOK_SECONDS), _LONGEST_LOOK_SECONDS)
        yield Pause(pause if timeout is None else min(pause, timeout - lasted))


def _pause(failure: PlumblineError, failed: int, call: Call[Any], retries: Retries) -> float | None:
    """Returns the seconds before another attempt; None if there is none."""
    if isinstance(failure, UnreachableError):
        cause = failure.__cause__
        is_safe = isinstance(cause, _NOT_SENT) or (call.repeatable and not isinstance(cause, _LATE))
        if failed >= retries.reconnects or not is_safe:
            return None
        return FIRST_PAUSE_SECONDS * 2.0**failed * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
    was_refused = isinstance(failure, RateLimitedError) or failure.code == LOADING
    if was_refused or (call.repeatable and isinstance(failure, UnavailableError)):
        return failure.retry_after
    return None
