"""The state of what a service depends on: each is asked within a time, and not too often."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from rag.errors import RagError

ASK_SECONDS = 2.0
"""Seconds in which a dependency has to answer."""
FRESH_SECONDS = 5.0
"""Seconds for which an answer is given again: many may look, and dependencies do not feel it."""
State = Literal["up", "down"]
Overall = Literal["ok", "degraded", "down"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependency:
    """Something that a service depends on; `ask` raises what is wrong with it.

    Without one that is `needed` no question is answered.
    """

    name: str
    ask: Callable[[], Awaitable[object]]
    needed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A fault of a dependency, and its time in seconds since 1970."""

    at: float
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """The state of a dependency when it was asked last, `at` seconds since 1970.

    `milliseconds` are those of its answer. `last_error` stays when it is up again.
    """

    name: str
    needed: bool
    state: State
    milliseconds: float
    at: float
    last_error: Fault | None


class Health:
    """Asks the dependencies of a service, all at once."""

    def __init__(self, dependencies: Sequence[Dependency]) -> None:
        self._dependencies = dependencies
        self._faults: dict[str, Fault] = {}
        self._found: list[Condition] = []
        self._asked = float("-inf")
        self._turn = asyncio.Lock()

    async def look(self) -> list[Condition]:
        """Returns the conditions, not older than `FRESH_SECONDS`."""
        async with self._turn:
            if time.monotonic() - self._asked > FRESH_SECONDS:
                self._found = await asyncio.gather(*map(self._ask, self._dependencies))
                self._asked = time.monotonic()
            return self._found

    async def _ask(self, dependency: Dependency) -> Condition:
        began, at, wrong = time.perf_counter(), time.time(), ""
        try:
            async with asyncio.timeout(ASK_SECONDS):
                await dependency.ask()
        except TimeoutError:
            wrong = f"It did not answer within {ASK_SECONDS:g} s."
        except RagError as error:
            wrong = str(error)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it, it is down
            wrong = f"It failed: {type(error).__name__}."
        if wrong:
            self._faults[dependency.name] = Fault(at=at, message=wrong)
        return Condition(
            name=dependency.name,
            needed=dependency.needed,
            state="down" if wrong else "up",
            milliseconds=1e3 * (time.perf_counter() - began),
            at=at,
            last_error=self._faults.get(dependency.name),
        )


def overall(conditions: Sequence[Condition]) -> Overall:
    """Returns `down` if something needed is, `degraded` if something else is, and `ok`."""
    down = [condition for condition in conditions if condition.state == "down"]
    if not down:
        return "ok"
    return "down" if any(condition.needed for condition in down) else "degraded"
