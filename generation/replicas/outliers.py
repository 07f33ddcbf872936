"""Ejects replicas that fail or are far slower than the others, and lets them try again."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

FAILURES = 3
"""Failures in a row after which a replica is ejected."""
PAUSE_SECONDS = 5.0
MAX_PAUSE_SECONDS = 300.0
"""The first pause of an ejected replica, and the longest: each is twice as long as the last."""
MAX_SHARE = 0.5
"""Share of the replicas that may be ejected: if more are bad, the fault is likely elsewhere."""
SLOW_RATIO, SLOW_SECONDS = 3.0, 0.1
"""A first token is slow if it takes this many times the others' median, and this much longer."""
SLOW_TOKENS = 3
"""Slow first tokens in a row after which a replica is ejected."""
SAMPLES = 5
"""First tokens of a replica after which its time says something of what is usual."""
_WEIGHT = 0.2
"""Weight of the last first token in the moving average."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A request to a replica, and the period of its record in which it was sent."""

    replica: int
    period: int


@dataclass(slots=True)
class _Record:
    period: int = 0
    """An ejection begins another, and so does a restart: earlier requests say nothing of it."""
    failures: int = 0
    slow: int = 0
    seconds: float = 0.0
    samples: int = 0
    ejections: int = 0
    is_out: bool = False
    until: float = 0.0
    trials: int = 0


class Outliers:
    """The record of each replica, by its number.

    After a pause one request tries an ejected replica: it is back if that succeeds in the usual
    time, and out for twice as long if not. After Envoy's outlier detection.
    """

    def __init__(self, count: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._records = [_Record() for _ in range(count)]
        self._most = int(count * MAX_SHARE)
        self._clock = clock

    def is_ejected(self, replica: int) -> bool:
        """True from the ejection until a request has succeeded again."""
        return self._records[replica].is_out

    def allows(self, replica: int) -> bool:
        """True if a replica is not ejected, or if its pause is over and no request tries it yet."""
        record = self._records[replica]
        return not record.is_out or (self._clock() >= record.until and not record.trials)

    def seconds_left(self, replica: int) -> float:
        """Returns the seconds until an ejected replica may be tried; 0 if it may be now."""
        record = self._records[replica]
        return max(0.0, record.until - self._clock()) if record.is_out else 0.0

    def begun(self, replica: int) -> Sent:
        """Records that a request was sent; to an ejected replica it is one that tries."""
        record = self._records[replica]
        record.trials += record.is_out
        return Sent(replica, record.period)

    def left(self, sent: Sent) -> None:
        """Records that a request ended without a verdict: its caller left, say."""
        record = self._current(sent)
        if record is not None and record.is_out:
            record.trials -= 1

    def slow_after(self, replica: int) -> float | None:
        """Returns the seconds after which a first token is slow; None if too little is known."""
        own = self._records[replica]
        others = [
            each.seconds
            for each in self._records
            if each is not own and not each.is_out and each.samples >= SAMPLES
        ]
        if not others:
            return None
        usual = median(others)
        return max(SLOW_RATIO * usual, usual + SLOW_SECONDS)

    def slow(self, sent: Sent) -> None:
        """Records a first token that is slow, before it comes, or lost to a hedged request."""
        record = self._current(sent)
        if record is not None:
            record.slow += 1
            if record.slow >= SLOW_TOKENS or record.is_out:
                self._eject(record)

    def first_token(self, sent: Sent, seconds: float, *, slow: bool = False) -> None:
        """Records a first token, its time, and whether it was recorded as slow before."""
        record = self._current(sent)
        if record is None:
            return
        if not slow:
            record.slow = 0
        record.samples += 1
        weight = _WEIGHT if record.samples > 1 else 1.0
        record.seconds += weight * (seconds - record.seconds)

    def succeeded(self, sent: Sent) -> None:
        """Records the end of an answer."""
        record = self._current(sent)
        if record is None:
            return
        record.failures = 0
        if record.is_out:
            record.is_out, record.trials, record.samples = False, 0, 0
        elif record.samples >= SAMPLES:
            record.ejections = 0

    def failed(self, sent: Sent, *, hung: bool = False) -> None:
        """Records a failure before the end of an answer.

        Args:
            sent: the request.
            hung: the replica sent nothing in all its time. Each further try would cost a question
                as much, so it is ejected at once.
        """
        record = self._current(sent)
        if record is None:
            return
        record.failures += 1
        if hung or record.failures >= FAILURES or record.is_out:
            self._eject(record)

    def restored(self, replica: int) -> None:
        """Ends the ejection of a replica that was away and is back: it may have been restarted."""
        self._records[replica] = _Record(period=self._records[replica].period + 1)

    def _current(self, sent: Sent) -> _Record | None:
        """Returns the record that a request counts for; None if its period is over."""
        record = self._records[sent.replica]
        return record if record.period == sent.period else None

    def _eject(self, record: _Record) -> None:
        out = sum(each.is_out for each in self._records)
        if not record.is_out and out >= self._most:
            return
        record.is_out, record.trials, record.slow = True, 0, 0
        record.period += 1
        pause = PAUSE_SECONDS * 2.0 ** min(record.ejections, 10)
        record.until = self._clock() + min(pause, MAX_PAUSE_SECONDS)
        record.ejections += 1
