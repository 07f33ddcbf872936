"""A model that reads two texts together, in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rag.inference.batching import Batcher
from rag.process.child_process import ChildProcess

Pair = tuple[str, str]
Scorer = Callable[[list[Pair]], list[float]]

MAX_BATCH_CHARS = 32_768
"""Of one forward pass: some 8,000 tokens. What more waits goes into the next."""
MAX_WAITING = 4096
"""Pairs that may wait."""


class PairModel:
    """One thread has the model, and what waits for it goes together."""

    def __init__(self, load: Callable[[], Scorer], *, name: str) -> None:
        """Loads the model.

        Args:
            load: picklable; makes what scores pairs, in the process.
            name: the model's, for messages.

        Raises:
            RagError: What `load` raised.
        """
        self._process: ChildProcess[list[Pair], list[float]] = ChildProcess(
            load, name=name, lanes=1
        )
        self._batcher: Batcher[Pair, float] = Batcher(
            self._process.call,
            at_once=1,
            cost=lambda pair: len(pair[0]) + len(pair[1]),
            max_cost=MAX_BATCH_CHARS,
            max_bulk_cost=MAX_BATCH_CHARS,
            max_waiting=MAX_WAITING,
            name=name,
        )

    async def score(self, pairs: Sequence[Pair]) -> list[float]:
        """A number for each pair, in their order.

        Raises:
            BusyError: More wait for the model than may.
            UpstreamError: Its process died twice.
        """
        return await self._batcher.submit(pairs)

    def close(self) -> None:
        """Ends the process."""
        self._process.close()
