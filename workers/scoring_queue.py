"""Hands out answers to be scored in this process or in a worker."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence

from rag.catalog.answers import Answers
from rag.errors import RagError
from rag.process.background import running

AT_ONCE = 16
"""Number of answers that are given out together."""
POLL_SECONDS = 10.0
"""Seconds between checks for answers that were given out and not scored, or left by others."""
_log = logging.getLogger(__name__)

Dispatch = Callable[[Sequence[str]], Awaitable[None]]


class ScoringQueue:
    """Gives out the ids of answers that are to be scored, while it is started.

    They wait in the catalog: an answer that is lost with a worker or a message is given out again.
    """

    def __init__(self, answers: Answers, dispatch: Dispatch, *, due: asyncio.Event) -> None:
        """Makes a queue.

        Args:
            answers: the stored answers.
            dispatch: scores answers by their ids, or sends them to a worker.
            due: is set whenever there are new answers.
        """
        self._answers = answers
        self._dispatch = dispatch
        self._due = due

    def started(self) -> contextlib.AbstractAsyncContextManager[None]:
        """Runs the queue until the end of the block."""
        return running(self._run())

    async def _run(self) -> None:
        while True:
            self._due.clear()
            try:
                while ids := await self._answers.claim(AT_ONCE):
                    await self._dispatch(ids)
            except RagError as error:
                _log.error("Answers wait to be scored: %s", error.in_full())
            except Exception:  # noqa: BLE001 - otherwise no answer would be scored any more
                _log.exception("Answers wait to be scored")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS):
                    await self._due.wait()
