"""Keeps the rollouts of this process up to date, and decides about canaries.

Every process reads the rollouts. One of them at a time decides: it holds a lock of the catalog, and
each of its changes is one transaction that names the version it was made on. A process that is
killed leaves what it had not stored to the next one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

from rag.catalog.catalog import Catalog
from rag.catalog.rollouts import OBSERVATIONS_AT_ONCE
from rag.errors import BusyError, RagError
from rag.process.background import running
from rag.records import Observation, Rollout
from rag.rollouts.canary import decide, folded, watched
from rag.rollouts.lifecycle import advanced, rolled_back
from rag.rollouts.router import Router
from rag.telemetry import rollout_metrics

READ_SECONDS = 1.0
"""Seconds between reads of the rollouts: a change holds in all processes soon after."""
LOOK_SECONDS = 1.0
ASK_SECONDS = 15.0
"""Seconds between questions if canaries may grow."""
TIDY_SECONDS = 3600.0
Frozen = Callable[[], Awaitable[str]]
"""Returns why canaries do not grow; empty if they may."""
_log = logging.getLogger(__name__)


class Controller:
    """Reads rollouts for a router, adds up what all processes saw, and decides."""

    def __init__(self, catalog: Catalog, router: Router, frozen: Frozen | None = None) -> None:
        """Makes a controller; canaries do not grow while `frozen` returns a reason."""
        self._catalog = catalog
        self._frozen = frozen
        self._held = "the error budgets were not read yet" if frozen else ""
        self._rollouts = catalog.rollouts
        self._router = router

    @contextlib.asynccontextmanager
    async def started(self) -> AsyncIterator[None]:
        """Works until the end of the block; rollouts are read before it begins.

        Raises:
            RagError: The catalog cannot be used.
        """
        await self.read()
        works = [
            _repeat(self.read, READ_SECONDS),
            _repeat(self.look, LOOK_SECONDS),
            _repeat(self._rollouts.tidy, TIDY_SECONDS),
        ]
        if self._frozen:
            rollout_metrics.frozen(held=True)
            works.append(self._follow(self._frozen))
        async with running(*works):
            yield

    async def read(self) -> None:
        """Has the router follow the rollouts of the catalog."""
        self._router.follow(await self._rollouts.all())

    async def _follow(self, frozen: Frozen) -> None:
        """Asks again and again if canaries may grow; while that is not known, they do not."""
        while True:
            before = self._held
            try:
                self._held = await frozen()
            except Exception as error:  # noqa: BLE001 - otherwise nobody would ask again
                self._held = f"it is not known if they may ({type(error).__name__})"
                _log.error("What holds canaries cannot be read.", exc_info=error)
            rollout_metrics.frozen(held=bool(self._held))
            if self._held and self._held != before:
                _log.warning("Canaries do not grow: %s", self._held)
            elif before and not self._held:
                _log.warning("Canaries may grow.")
            await asyncio.sleep(ASK_SECONDS)

    async def look(self) -> None:
        """Adds up what was seen, and decides, unless another process does."""
        try:
            async with self._catalog.alone("rollouts", wait=False):
                while await self._settle(time.time()) == OBSERVATIONS_AT_ONCE:
                    """There are more."""
        except BusyError:
            return

    async def _settle(self, now: float) -> int:
        """Returns the number of observations that were added up."""
        rows = await self._rollouts.observations()
        seen = [observation for _, observation in rows]
        held = bool(self._held)
        pairs = [(each, after(each, seen, now, held=held)) for each in await self._rollouts.all()]
        changed = [(old.version, new) for old, new in pairs if new != old]
        if rows or changed:
            await self._rollouts.settle(changed, [id_ for id_, _ in rows])
        return len(rows)


def after(rollout: Rollout, seen: list[Observation], now: float, *, held: bool = False) -> Rollout:
    """Returns a rollout with the evidence of observations, and after the decision about it.

    One that is `held` may be rolled back, and does not advance.
    """
    mine = [each for each in seen if each.arm.rollout == rollout.name]
    if mine:
        rollout = replace(rollout, evidence=folded(rollout, mine))
    if not watched(rollout, now):
        return rollout
    decision = decide(rollout, now)
    if decision.action == "hold" or (held and decision.action != "roll_back"):
        return rollout
    if decision.action == "roll_back":
        moved = rolled_back(rollout, decision.reason, now)
        rollout_metrics.decision("roll_back")
    else:
        moved = advanced(rollout, decision.reason, now)
        rollout_metrics.decision("promote" if moved.state == "promoted" else "advance")
    _log.warning(
        "The rollout %s of %s is %s at %g %%: %s.",
        *(moved.name, moved.variant, moved.state, moved.percent, decision.reason),
    )
    return moved


async def _repeat(work: Callable[[], Awaitable[None]], seconds: float) -> None:
    while True:
        await asyncio.sleep(seconds)
        try:
            await work()
        except RagError as error:
            _log.error("Rollouts stay as they are: %s", error.in_full())
        except Exception as error:  # noqa: BLE001 - a row of a newer version must not end it
            _log.error("Rollouts stay as they are.", exc_info=error)
