"""Measures how long the stages of a request take."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


@dataclass(slots=True)
class Stopwatch:
    """Milliseconds by stage, in the order in which the stages first ended."""

    milliseconds: dict[str, float] = field(default_factory=dict)

    def time(self, stage: str) -> Timing:
        """Times a stage or a part of one in a block; times of the same name are added up."""
        return Timing(stage, self.milliseconds)


class Timing:
    """Adds the time of a block to that of its stage."""

    __slots__ = ("_milliseconds", "_stage", "_start")

    def __init__(self, stage: str, milliseconds: dict[str, float]) -> None:
        self._stage = stage
        self._milliseconds = milliseconds

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        spent = (time.perf_counter() - self._start) * 1e3
        before = self._milliseconds.get(self._stage, 0.0)
        self._milliseconds[self._stage] = round(before + spent, 3)
