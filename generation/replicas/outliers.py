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
"""A replica is slow if its first tokens take this many times as long as the others' median, and
this much longer."""
SAMPLES = 5
"""First tokens after which a replica's time says something."""
_WEIGHT = 0.2
"""Weight of the last first token in the moving average."""


@dataclass(slots=True)
class _Record:
    failures: int = 0
    seconds: float = 0.0
    samples: int = 0
    ejections: int = 0
    is_out: bool = False
    until: float = 0.0
    on_trial: bool = False


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
        return not record.is_out or (self._clock() >= record.until and not record.on_trial)

    def seconds_left(self, replica: int) -> float:
        """Returns the seconds until an ejected replica may be tried; 0 if it may be now."""
        record = self._records[replica]
        return max(0.0, record.until - self._clock()) if record.is_out else 0.0

    def begun(self, replica: int) -> None:
        """Records that a request was sent; to an ejected replica it is the one that tries."""
        record = self._records[replica]
        record.on_trial = record.is_out

    def left(self, replica: int) -> None:
        """Records that a request ended without a verdict: its caller left, say."""
        self._records[replica].on_trial = False

    def first_token(self, replica: int, seconds: float) -> None:
        """Records the seconds from a request to the first token."""
        record = self._records[replica]
        if record.is_out and not record.on_trial:
            return  # it was sent before the ejection
        if record.on_trial:
            record.samples = 0
        record.samples += 1
        weight = _WEIGHT if record.samples > 1 else 1.0
        record.seconds += weight * (seconds - record.seconds)
        if self._is_slow(record, of=1 if record.on_trial else SAMPLES):
            self._eject(record)

    def succeeded(self, replica: int) -> None:
        """Records the end of an answer."""
        record = self._records[replica]
        if record.is_out and not record.on_trial:
            return
        record.failures, record.is_out, record.on_trial = 0, False, False
        if record.samples >= SAMPLES:
            record.ejections = 0

    def failed(self, replica: int, *, hung: bool = False) -> None:
        """Records a failure before the end of an answer.

        Args:
            replica: its number.
            hung: it sent nothing in all its time. Each further try would cost a question as much,
                so it is ejected at once.
        """
        record = self._records[replica]
        if record.is_out and not record.on_trial:
            return
        record.failures += 1
        if hung or record.failures >= FAILURES or record.on_trial:
            self._eject(record)

    def restored(self, replica: int) -> None:
        """Ends the ejection of a replica that was away and is back: it may have been restarted."""
        self._records[replica] = _Record()

    def _is_slow(self, record: _Record, *, of: int) -> bool:
        others = [
            each.seconds
            for each in self._records
            if each is not record and not each.is_out and each.samples >= SAMPLES
        ]
        if record.samples < of or not others:
            return False
        usual = median(others)
        return record.seconds > max(SLOW_RATIO * usual, usual + SLOW_SECONDS)

    def _eject(self, record: _Record) -> None:
        out = sum(each.is_out for each in self._records)
        if not record.is_out and out >= self._most:
            return
        record.is_out, record.on_trial = True, False
        pause = PAUSE_SECONDS * 2.0 ** min(record.ejections, 10)
        record.until = self._clock() + min(pause, MAX_PAUSE_SECONDS)
        record.ejections += 1
