"""Answers on their way to whoever scores them: this process, or a worker."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence

from rag.catalog.answers import Answers
from rag.errors import RagError
from workers.local_queue import running

AT_ONCE = 16
"""Answers that are given out together."""
POLL_SECONDS = 10.0
"""Between looks for what was given out and not scored, and for what other processes left."""
_log = logging.getLogger(__name__)

GiveOut = Callable[[Sequence[str]], Awaitable[None]]


class ScoringQueue:
    """Gives out the ids of answers that are to be scored, for as long as it is started.

    They wait in the catalog: what is lost on the way, with a worker or a message, is given out
    again.
    """

    def __init__(self, answers: Answers, give_out: GiveOut, *, due: asyncio.Event) -> None:
        """Make a queue.

        Args:
            answers: where they are.
            give_out: scores answers by their ids, or has them scored.
            due: is set whenever there are new ones.
        """
        self._answers = answers
        self._give_out = give_out
        self._due = due

    def started(self) -> contextlib.AbstractAsyncContextManager[None]:
        """Runs until the end of the block."""
        return running(self._run())

    async def _run(self) -> None:
        while True:
            self._due.clear()
            try:
                while ids := await self._answers.claim(AT_ONCE):
                    await self._give_out(ids)
            except RagError as error:
                _log.error("Answers wait to be scored: %s", error.in_full())
            except Exception:  # noqa: BLE001 - without it nothing would be scored any more
                _log.exception("Answers wait to be scored")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS):
                    await self._due.wait()
