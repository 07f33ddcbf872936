"""Shadows: a variant answers a question besides, off the path of the request, for nobody."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import replace
from typing import NamedTuple

from rag.errors import RagError
from rag.process.background import running
from rag.records import Arm, Measure, Rollout
from rag.rollouts.measures import observed
from rag.rollouts.observations import Observations
from rag.rollouts.router import Variant
from rag.telemetry import rollout_metrics
from rag.telemetry.metering import Meter
from rag.telemetry.trace import Trace, is_sampled
from rag.types import BASE, Answer, Query

AT_ONCE = 2
"""Shadows under way: the questions that somebody waits for need the process more."""
MOST_WAITING = 64
"""Questions that wait for a shadow; further ones are dropped, and counted."""
_log = logging.getLogger(__name__)


Score = Callable[[Query, Answer], Awaitable[float | None]]
"""Returns how good an answer is, 0 to 1; None: it has no score."""


async def unscored(_query: Query, _answer: Answer) -> None:
    """Returns no score; the default for `score`."""


class _Mirrored(NamedTuple):
    rollout: Rollout
    query: Query
    trace: Trace
    answer: Answer


class Shadows:
    """Has variants answer questions that were answered already, and compares the answers.

    What it uses is charged to the question's tenant as `shadow`, and counts for no budget. Its
    traces are sent as others are, and its answers are not kept.
    """

    def __init__(
        self,
        variants: Mapping[str, Variant],
        observations: Observations,
        *,
        meter: Callable[[str], Meter],
        score: Score = unscored,
        rate: float = 0.0,
    ) -> None:
        """Makes shadows.

        Args:
            variants: Those that could be built.
            observations: Takes the comparisons.
            meter: Returns what a tenant's shadow is charged by.
            score: Scores both answers of a question.
            rate: The share of the questions whose answers are scored.
        """
        self._variants = variants
        self._observations = observations
        self._meter = meter
        self._score = score
        self._rate = rate
        self._waiting: asyncio.Queue[_Mirrored] = asyncio.Queue(MOST_WAITING)

    def mirror(self, rollout: Rollout, query: Query, trace: Trace, answer: Answer) -> None:
        """Takes a question that the base has answered; returns at once."""
        try:
            self._waiting.put_nowait(_Mirrored(rollout, query, trace, answer))
        except asyncio.QueueFull:
            rollout_metrics.shadow("dropped")

    @contextlib.asynccontextmanager
    async def started(self) -> AsyncIterator[None]:
        """Answers what is taken until the end of the block; what waits then is dropped."""
        async with running(*(self._run() for _ in range(AT_ONCE))):
            yield

    async def _run(self) -> None:
        while True:
            mirrored = await self._waiting.get()
            variant = self._variants.get(mirrored.rollout.variant)
            if variant is None:
                rollout_metrics.shadow("dropped")
                continue
            try:
                await self._compare(mirrored, variant)
            except Exception as error:  # noqa: BLE001 - one failure must not stop the rest
                # Without its message, which may hold words of the question.
                _log.error("A shadow failed (%s).", type(error).__name__)
                rollout_metrics.shadow("failed")

    async def _compare(self, mirrored: _Mirrored, variant: Variant) -> None:
        rollout, query, served, answer = mirrored
        arm = Arm(rollout.name, rollout.version, rollout.variant)
        trace = Trace(tenant=query.scope.tenant, shadow=True, sampled=served.sampled, arm=arm)
        trace.meter = self._meter(query.scope.tenant)
        trace.meter.begin("shadow")  # before the pipeline begins it as a question
        begun = time.perf_counter()
        found: Answer | None = None
        asked = replace(variant.reads(query), priority="batch")  # behind those that somebody awaits
        try:
            found = await variant.pipeline.answer(asked, trace)
        except RagError as error:
            if trace.arm is None:  # no place was free, which says nothing of the variant
                rollout_metrics.shadow("dropped")
                return
            _log.warning("A shadow of %s failed: %s.", rollout.variant, error.code)
        rollout_metrics.shadow("answered" if found else "failed")
        base = observed(answer, (served.root.end - served.root.start) / 1e9 - _queued(answer))
        shadow = observed(found, time.perf_counter() - begun - _queued(found))
        if found is not None and is_sampled(answer.id, self._rate):
            for values, each in ((base, answer), (shadow, found)):
                if (score := await self._score(query, each)) is not None:
                    values["loss"] = 1 - score
        self._observations.add(arm._replace(variant=BASE), base)
        self._observations.add(arm, shadow)
        if found is not None:
            differences = _differences(base, shadow) | _overlap(answer, found)
            self._observations.add(arm._replace(paired=True), differences)


def _queued(answer: Answer | None) -> float:
    """Returns the seconds that a question waited for its place, which a shadow does for longer."""
    return answer.timings.get("queue", 0.0) / 1e3 if answer else 0.0


def _differences(
    base: Mapping[Measure, float], shadow: Mapping[Measure, float]
) -> dict[Measure, float]:
    """Returns the differences of the shadow from the base, from -1 … 1 put on 0 … 1."""
    both = [measure for measure in base if measure in shadow]
    return {measure: (shadow[measure] - base[measure] + 1) / 2 for measure in both}


def _overlap(answer: Answer, shadow: Answer) -> dict[Measure, float]:
    """Returns the share of the base's documents among the shadow's; chunks may be cut otherwise."""
    ours = {hit.chunk.document_id for hit in answer.hits}
    theirs = {hit.chunk.document_id for hit in shadow.hits}
    return {"overlap": len(ours & theirs) / len(ours)} if ours else {}
