"""The freeze of rollouts: while an error budget is spent, nothing new reaches more users.

What is left is not known while Prometheus does not answer, and then rollouts are frozen as well: a
rollout can wait, and one that goes on while nobody measures is what the objectives forbid.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from rag.errors import ConflictError, RagError
from rag.operations.slo.error_budgets import Budget, read_budgets
from rag.settings.slo import SloSettings

FRESH_SECONDS = 15.0
"""Seconds for which an answer of Prometheus holds: its rules are evaluated every two minutes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frozen:
    """The reason why rollouts are frozen."""

    code: Literal["budget_spent", "budget_unknown"]
    reason: str


class Freeze:
    """Says if rollouts are frozen."""

    def __init__(self, read: Callable[[], Awaitable[Sequence[Budget]]]) -> None:
        """Makes a freeze by what `read` returns; it raises a RagError if that is not known."""
        self._read = read
        self._found: Frozen | None = None
        self._asked = float("-inf")
        self._turn = asyncio.Lock()

    async def look(self) -> Frozen | None:
        """Returns the reason why rollouts are frozen; None if they are not."""
        async with self._turn:
            if time.monotonic() - self._asked > FRESH_SECONDS:
                self._found = await self._look()
                self._asked = time.monotonic()
            return self._found

    async def check(self, override: str | None) -> Frozen | None:
        """Returns the freeze that `override`, a reason, passes over; None if there is none.

        Raises:
            ConflictError: Rollouts are frozen, and there is no reason.
        """
        frozen = await self.look()
        if frozen and override is None:
            raise ConflictError(
                f"Rollouts are frozen: {frozen.reason} To go on nevertheless, send the reason as"
                " `override_freeze` (`rag rollout … --override-freeze REASON`).",
                code=frozen.code,
            )
        return frozen

    async def _look(self) -> Frozen | None:
        try:
            budgets = await self._read()
        except RagError as error:
            reason = f"what is left of the error budgets is not known. {error}"
            return Frozen(code="budget_unknown", reason=reason)
        spent = [f"{each.sli} of {each.job}" for each in budgets if each.spent]
        if not spent:
            return None
        reason = f"the error budget is spent ({', '.join(spent)})."
        return Frozen(code="budget_spent", reason=reason)


def freeze_of(settings: SloSettings) -> Freeze | None:
    """Returns the freeze by the Prometheus of the settings; None if they name none."""
    if settings.prometheus_url is None:
        return None
    return Freeze(lambda: read_budgets(settings))
