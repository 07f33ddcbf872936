"""A language model on several servers, which are asked as one."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from generation.replicas.attempt import Asked, Attempt, Kind
from generation.replicas.hedging import Delay, faster
from generation.replicas.pool import Pool
from generation.replicas.prefix import prefix_key
from rag.errors import UpstreamError
from rag.protocols import ChatModel
from rag.telemetry.trace import current_session, note
from rag.types import Message, Piece, Sampling, Usage, add_usage

TRIES = 3
"""Replicas that a request is sent to because the one before failed. More would multiply the load
of servers that fail for their load."""
CHARS_PER_TOKEN = 4
"""Characters of a token, to weigh prompts by: a rough measure is enough for loads."""
Affinity = Literal["prefix", "session", "none"]

_FAULTS: Mapping[str, str] = {
    "failed": "failed",
    "late": "sent nothing in its time",
    "busy": "has too many requests",
}
"""Outcomes of attempts after which another replica is asked, as the end of a sentence."""


@dataclass(slots=True)
class _Run:
    """A request to the model, and the requests to replicas that were sent for it."""

    asked: Asked
    attempts: list[Attempt] = field(default_factory=list)

    async def close(self, *, keep: Attempt | None = None) -> None:
        """Ends all requests to replicas, or all but one."""
        for attempt in self.attempts:
            if attempt is not keep:
                await attempt.close()

    async def lost(self) -> Usage | None:
        """Returns the usage of a hedged request that was slower; None if there was none."""
        for attempt in self.attempts:
            if attempt.outcome == "lost":
                return await attempt.spent()
        return None


class ReplicatedModel:
    """`ChatModel` over one for each replica: the first that begins writes all of the answer.

    A replica that fails or sends nothing in its time is passed over, and `degraded` says so. After
    the first token nothing is retried: an answer never has parts of two replicas.
    """

    def __init__(
        self,
        models: Sequence[ChatModel],
        pool: Pool,
        *,
        affinity: Affinity,
        hedge: bool,
        first_token_seconds: float,
    ) -> None:
        """Make a model.

        Args:
            models: one for each replica; each piece with text has a usage.
            pool: the replicas.
            affinity: what requests have in common that should go to the same replica.
            hedge: a second replica is asked if the first one is late.
            first_token_seconds: longest time of a replica to its first token.
        """
        self._models = models
        self._pool = pool
        self._affinity = affinity
        self._delay = Delay() if hedge else None
        self._seconds = first_token_seconds

    @property
    def name(self) -> str:
        """The model's name on its servers."""
        return self._models[0].name

    @property
    def context_tokens(self) -> int:
        """The model's context length in tokens."""
        return self._models[0].context_tokens

    async def count_tokens(self, messages: Sequence[Message]) -> int:
        """Counts as the model does, which is the same on each replica."""
        return await self._models[0].count_tokens(messages)

    async def stream(
        self, messages: Sequence[Message], *, sampling: Sampling
    ) -> AsyncGenerator[Piece, None]:
        """Streams as the replica does that is chosen; a usage includes that of a lost hedge.

        Raises:
            InputError: The model cannot take the prompt, on whichever replica.
            BusyError, UpstreamError: All replicas that were tried failed, or one after its first
                token.
        """
        run = _Run(self._asked(messages, sampling))
        try:
            attempt = await self._begin(run)
            await run.close(keep=attempt)
            spent = await run.lost()
            note(
                replica=self._pool.names[attempt.choice.replica],
                replica_reason=attempt.choice.reason,
                replica_requests=len(run.attempts),
                replica_hedged=any(each.kind == "hedge" for each in run.attempts),
            )
            piece = attempt.first.result()
            degraded = tuple(self._faults(run, attempt))
            yield replace(piece, usage=_sum(spent, piece.usage), degraded=degraded)
            async for piece in attempt.rest():
                yield replace(piece, usage=_sum(spent, piece.usage))
        finally:
            await run.close()

    def _asked(self, messages: Sequence[Message], sampling: Sampling) -> Asked:
        chars = sum(len(message.content) for message in messages)
        tokens = chars / CHARS_PER_TOKEN + sampling.max_tokens
        key = None
        if self._affinity == "session":
            key = current_session()
        if self._affinity == "prefix" or (self._affinity == "session" and key is None):
            key = prefix_key(messages)
        return Asked(messages=messages, sampling=sampling, key=key, tokens=tokens)

    async def _begin(self, run: _Run) -> Attempt:
        """Returns an attempt that has begun to answer."""
        attempt = self._send(run, "first")
        while attempt is not None:
            try:
                return await self._first_of(run, attempt)
            except UpstreamError:
                await run.close()
                retry = self._send(run, "retry") if len(run.attempts) < TRIES else None
                if retry is None:
                    raise
                attempt = retry
        raise UpstreamError(f"The model {self.name} has no replicas.")

    async def _first_of(self, run: _Run, attempt: Attempt) -> Attempt:
        """Waits for the first token, of this attempt or of one beside it."""
        if self._delay is None:
            await attempt.first
            return attempt
        began, after = time.monotonic(), self._delay.seconds()
        if after is None:
            await attempt.first
        else:
            attempt = await faster(attempt, lambda: self._send(run, "hedge"), after)
        self._delay.add(time.monotonic() - began)
        return attempt

    def _send(self, run: _Run, kind: Kind) -> Attempt | None:
        """Sends the request to a replica that has not had it; None if there is none for it."""
        tried = [attempt.choice.replica for attempt in run.attempts]
        choice = self._pool.choose(run.asked.key, run.asked.tokens, tried)
        if choice is None or (kind == "hedge" and choice.reason == "least bad"):
            return None
        attempt = Attempt(
            self._pool,
            choice,
            self._models[choice.replica],
            run.asked,
            kind=kind,
            seconds=self._seconds,
        )
        run.attempts.append(attempt)
        return attempt

    def _faults(self, run: _Run, chosen: Attempt) -> Iterator[str]:
        """Yields, for `degraded`, the replicas that failed, and a choice that was none."""
        for attempt in run.attempts:
            fault = _FAULTS.get(attempt.outcome)
            if fault is not None and attempt.kind != "hedge":
                who = self._pool.called(attempt.choice.replica)
                yield f"generate: {who} of the model {self.name} {fault}, and another was asked"
        if chosen.choice.reason == "least bad":
            who = self._pool.called(chosen.choice.replica)
            yield (
                f"generate: no replica of the model {self.name} was left in rotation, and {who} was"
                " asked all the same"
            )


def _sum(before: Usage | None, usage: Usage | None) -> Usage | None:
    if before is None or usage is None:
        return usage
    return add_usage(before, usage)
