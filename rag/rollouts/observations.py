"""What this process sees of rollouts, told to the catalog off the path of the question."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping
from uuid import uuid4

from rag.catalog.rollouts import Rollouts
from rag.errors import RagError
from rag.process.background import running
from rag.records import Arm, Measure, Observation, Tally

TELL_SECONDS = 1.0
FLUSH_SECONDS = 5.0
"""Seconds at the end for what was not told yet."""
_log = logging.getLogger(__name__)


class Observations:
    """Adds up what is seen of each arm, and tells it in numbered batches.

    A batch that fails is told again under its number: the catalog takes each number once. Memory
    grows with the arms, and not with the questions.
    """

    def __init__(self) -> None:
        self._writer = uuid4().hex
        self._number = 1
        self._seen: dict[Arm, dict[Measure, Tally]] = {}
        self._telling: list[Observation] = []

    def add(self, arm: Arm, values: Mapping[Measure, float]) -> None:
        """Takes what was seen of one question; returns at once."""
        tallies = self._seen.setdefault(arm, {})
        for measure, value in values.items():
            tallies[measure] = tallies.get(measure, Tally()).plus(value)

    async def tell(self, rollouts: Rollouts) -> None:
        """Tells the catalog what was seen since the last time.

        Raises:
            RagError: The catalog cannot be used; the batch is kept.
        """
        if not self._telling:
            self._telling = [Observation(arm=arm, tallies=t) for arm, t in self._seen.items()]
            self._seen = {}
        if self._telling:
            await rollouts.observe(self._writer, self._number, self._telling)
            self._number += 1
            self._telling = []

    @contextlib.asynccontextmanager
    async def told(self, rollouts: Rollouts) -> AsyncIterator[None]:
        """Tells the catalog every second until the end of the block, and then what remains."""
        try:
            async with running(self._run(rollouts)):
                yield
        finally:
            await self._flush(rollouts)

    async def _run(self, rollouts: Rollouts) -> None:
        while True:
            await asyncio.sleep(TELL_SECONDS)
            try:
                await self.tell(rollouts)
            except RagError as error:
                _log.error("Observations of rollouts wait: %s", error.in_full())

    async def _flush(self, rollouts: Rollouts) -> None:
        try:
            async with asyncio.timeout(FLUSH_SECONDS):
                await self.tell(rollouts)  # perhaps a batch that had failed
                await self.tell(rollouts)
        except (TimeoutError, RagError) as error:
            _log.error("The last observations of rollouts are lost (%s).", type(error).__name__)
