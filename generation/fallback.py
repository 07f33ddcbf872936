"""Tries one generator after another until one answers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace

from generation.chat import NOT_JSON
from rag.errors import BusyError, InputError, RagError, UpstreamError
from rag.process.circuit_breaker import Breaker
from rag.protocols import Generator
from rag.types import Delta, Prompt, Usage, add_usage

PROBE_SECONDS = 0.25
"""Seconds between checks of a server that is not called."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """A generator and its name for users."""

    name: str
    generator: Generator
    breaker: Breaker = field(default_factory=Breaker)
    answers: Callable[[], Awaitable[bool]] | None = None
    """Checks whether its server is up, if it has one."""


class FallbackGenerator:
    """`Generator` over several: the first that begins to answer writes all of the answer.

    One that fails or is late before its first text, or whose breaker is open, is skipped, and the
    answer says so in `degraded`. If one fails later, the answer fails: it should not silently
    continue in another generator's words. The last one is always tried. One that is skipped for its
    breaker is tried again after a pause, or as soon as its server is back.
    """

    def __init__(self, engines: Sequence[Engine], *, seconds: float) -> None:
        """Make a generator; each engine but the last has `seconds` to begin."""
        self._engines = engines
        self._seconds = seconds
        self._watches: dict[Breaker, asyncio.Task[None]] = {}

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Delta, None]:
        """Yields the deltas of the first engine that begins.

        Raises:
            InputError, BusyError, UpstreamError: The last engine failed, or one after its first
                text.
        """
        passed: list[str] = []
        spent: Usage | None = None  # by engines that were skipped
        failure: UpstreamError | InputError | None = None
        for engine in self._engines[:-1]:
            if not engine.breaker.allows():
                failure = UpstreamError(
                    f"{engine.name} is left alone, having failed repeatedly",
                    retry_after=engine.breaker.seconds_left(),
                )
                passed.append(f"generate: {failure}")
                continue
            begun, model_called, usage = False, False, spent
            try:
                async with contextlib.aclosing(self._in_time(engine, prompt)) as deltas:
                    async for delta in deltas:
                        usage = _sum(spent, delta.usage)
                        yield replace(delta, degraded=(*passed, *delta.degraded), usage=usage)
                        begun, model_called = begun or bool(delta.text), delta.model is not None
                        passed = []
            except (UpstreamError, InputError) as error:
                self._count(engine, error)
                if begun:
                    raise
                # Without its message, which may repeat what was asked.
                reason = f"{error.code}. {error.detail}".rstrip()
                _log.warning("The generator %s is passed over: %s", engine.name, reason)
                passed.append(f"generate: {error}")
                spent = usage
                if failure is None or isinstance(error, UpstreamError):
                    failure = error
            else:
                if model_called:  # False if there was no evidence
                    engine.breaker.succeeded()
                return
        try:
            async with contextlib.aclosing(self._engines[-1].generator.stream(prompt)) as deltas:
                async for delta in deltas:
                    usage = _sum(spent, delta.usage)
                    yield replace(delta, degraded=(*passed, *delta.degraded), usage=usage)
                    passed = []
        except InputError as error:
            if failure is None:
                raise
            raise failure from error  # an earlier engine could have taken the question

    async def close(self) -> None:
        """Stops checking servers."""
        watches = list(self._watches.values())
        for watch in watches:
            watch.cancel()
        await asyncio.gather(*watches, return_exceptions=True)

    def _count(self, engine: Engine, error: RagError) -> None:
        """Counts a failure, unless the engine is busy, cannot take the prompt or writes no JSON."""
        failed = isinstance(error, UpstreamError) and not isinstance(error, BusyError)
        if not failed or error.code == NOT_JSON:
            return
        breaker = engine.breaker
        breaker.failed()
        if breaker.is_open and engine.answers and breaker not in self._watches:
            self._watches[breaker] = asyncio.create_task(self._watch(breaker, engine.answers))

    async def _watch(self, breaker: Breaker, answers: Callable[[], Awaitable[bool]]) -> None:
        """Ends the pause when a server that was away is back.

        A server that was never away stays paused for the whole time, and is asked no longer.
        """
        was_down = False
        try:
            while breaker.seconds_left():
                is_there = await answers()
                if was_down and is_there:
                    breaker.may_try()
                    return
                was_down = not is_there
                await asyncio.sleep(PROBE_SECONDS)
        finally:
            del self._watches[breaker]

    async def _in_time(self, engine: Engine, prompt: Prompt) -> AsyncGenerator[Delta, None]:
        async with contextlib.aclosing(engine.generator.stream(prompt)) as deltas:
            try:
                async with asyncio.timeout(self._seconds):
                    first = await anext(deltas, None)
            except TimeoutError:
                raise UpstreamError(
                    f"{engine.name} did not begin within {self._seconds:g} s", code="late"
                ) from None
            if first is not None:
                yield first
            async for delta in deltas:
                yield delta


def _sum(before: Usage | None, usage: Usage | None) -> Usage | None:
    if before is None or usage is None:
        return before or usage
    return add_usage(before, usage)
