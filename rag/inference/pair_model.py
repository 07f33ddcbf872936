"""A model that reads two texts together, in a child process."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rag.inference.batching import Batcher
from rag.process.child_process import ChildProcess

Pair = tuple[str, str]
Scorer = Callable[[list[Pair]], list[float]]

MAX_BATCH_CHARS = 32_768
"""Characters in one forward pass: about 8,000 tokens. Further pairs go into the next pass."""
MAX_WAITING = 4096
"""Maximum number of pairs that wait."""


class PairModel:
    """Scores pairs of texts on one thread; the pairs that wait are scored in batches."""

    def __init__(self, load: Callable[[], Scorer], *, name: str) -> None:
        """Loads the model.

        Args:
            load: picklable; makes the function that scores pairs, in the process.
            name: the model's, for messages.

        Raises:
            RagError: Raised by `load`.
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
        """Returns a score for each pair, in their order.

        Raises:
            BusyError: The queue of the model is full.
            UpstreamError: The process died twice.
        """
        return await self._batcher.submit(pairs)

    def close(self) -> None:
        """Ends the process."""
        self._process.close()
