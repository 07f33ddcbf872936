"""One request to one replica, from its start to its end."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Literal

from generation.replicas.balancer import Choice
from generation.replicas.pool import Pool
from rag.errors import BusyError, RagError, UpstreamError
from rag.protocols import ChatModel
from rag.telemetry import replica_metrics
from rag.types import Message, Piece, Sampling, Usage

LATE = "late"
"""Code of the error for a replica that sent nothing in its time."""
Kind = Literal["first", "retry", "hedge"]
Outcome = Literal["answered", "failed", "late", "busy", "refused", "lost", "left"]
_NO_VERDICT = ("busy", "refused", "lost", "left")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request to a model: its key on the ring, and its size in tokens, prompt and answer."""

    messages: Sequence[Message]
    sampling: Sampling
    key: bytes | None
    tokens: float


class Attempt:
    """A request that was sent; its load is the replica's until `close`."""

    def __init__(
        self,
        pool: Pool,
        choice: Choice,
        model: ChatModel,
        asked: Asked,
        *,
        kind: Kind,
        seconds: float,
    ) -> None:
        """Sends the request, in a task.

        Args:
            pool: counts its load, and learns how it ends.
            choice: the replica.
            model: the model there.
            asked: the request.
            kind: the first of the request, or after one that failed, or beside one that is late.
            seconds: longest time to the first token.
        """
        self.choice = choice
        self.kind = kind
        self.outcome: Outcome = "left"
        self._pool = pool
        self._model = model
        self._asked = asked
        self._usage: Usage | None = None
        self._is_closed = False
        self._is_slow = False
        self._began = time.monotonic()
        self._pieces = model.stream(asked.messages, sampling=asked.sampling)
        self._sent = pool.begin(choice.replica, asked.tokens)
        self._timers = contextlib.ExitStack()
        if (late := pool.slow_after(choice.replica)) is not None:
            timer = asyncio.get_running_loop().call_later(late, self.slow)
            self._timers.callback(timer.cancel)
        self.first = asyncio.create_task(self._first(seconds))
        """Returns the first piece.

        Raises:
            InputError, BusyError, UpstreamError: The model raised it, or was late.
        """

    def slow(self) -> None:
        """Records that the replica is slow, once."""
        if not self._is_slow:
            self._is_slow = True
            self._pool.slow(self._sent)

    async def rest(self) -> AsyncGenerator[Piece, None]:
        """Yields the pieces after the first; raises what the model raises."""
        try:
            async for piece in self._pieces:
                self._usage = piece.usage or self._usage
                yield piece
        except RagError as error:
            self._record(error)
            raise
        self.outcome = "answered"
        self._pool.succeeded(self._sent)

    async def spent(self) -> Usage:
        """Returns the usage so far; if the model has told none, the prompt's, estimated."""
        if self._usage is not None:
            return self._usage
        tokens = await self._model.count_tokens(self._asked.messages)
        return Usage(input_tokens=tokens, estimated=True)

    async def close(self) -> None:
        """Ends the request, and counts it; again: nothing."""
        if self._is_closed:
            return
        self._is_closed = True
        self._timers.close()
        replica = self.choice.replica
        try:
            self.first.cancel()
            await asyncio.gather(self.first, return_exceptions=True)
            await self._pieces.aclose()
        finally:
            self._pool.end(replica, self._asked.tokens)
            if self.outcome in _NO_VERDICT:
                self._pool.left(self._sent)
            replica_metrics.request(self._pool.names[replica], self.kind, self.outcome)

    async def _first(self, seconds: float) -> Piece:
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    piece = await anext(self._pieces)
                self._usage = piece.usage
                spent = time.monotonic() - self._began
                self._pool.first_token(self._sent, spent, slow=self._is_slow)
                return piece
            who = self._pool.called(self.choice.replica)
            raise UpstreamError(
                f"The model {self._model.name}, {who}, did not begin within {seconds:g} s"
                " (generator.first_token_seconds)",
                code=LATE,
                detail=f"It is at {self._pool.names[self.choice.replica]}.",
            )
        except RagError as error:
            self._record(error)
            raise
        finally:
            self._timers.close()

    def _record(self, error: RagError) -> None:
        """Counts a failure, unless the replica is busy or the request itself is at fault."""
        if isinstance(error, BusyError):
            self.outcome = "busy"
        elif isinstance(error, UpstreamError):
            self.outcome = "late" if error.code == LATE else "failed"
            self._pool.failed(self._sent, hung=error.code == LATE)
        else:
            self.outcome = "refused"
