"""The replicas of a model: their loads, whether they are ready, and which one is asked next."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Sequence
from typing import Literal

from generation.replicas.balancer import Balancer, Choice
from generation.replicas.engine_metrics import EngineState
from generation.replicas.outliers import Outliers, Sent
from rag.privacy.redaction import masked
from rag.telemetry import replica_metrics

TYPICAL_TOKENS = 1000.0
"""Tokens of a request that waits in an engine's queue, until one of ours was sent."""
Readiness = Literal["ready", "away", "without the model"]

_log = logging.getLogger(__name__)


class Pool:
    """The state of each replica, by its number.

    A replica is in rotation if it is ready and not ejected. Its load is the tokens of our requests
    under way, and of the requests in its engine's queue as far as it tells: these may be another
    process's, and a queue means that the engine has no room, so they count beside ours.
    """

    def __init__(self, urls: Sequence[str], *, clock: Callable[[], float] = time.monotonic) -> None:
        """Make a pool of replicas, all of which count as ready until they are checked."""
        self.names = tuple(masked(url) for url in urls)
        """Their addresses without secrets, for operators."""
        self._balancer = Balancer(urls)
        self._outliers = Outliers(len(urls), clock)
        self._readiness: list[Readiness] = ["ready"] * len(urls)
        self._ejected: set[int] = set()
        self._waiting = [0.0] * len(urls)
        self._tokens = 0.0
        self._requests = 0
        for name in self.names:
            replica_metrics.state(name, ready=True, ejected=False)

    def __len__(self) -> int:
        return len(self.names)

    def called(self, replica: int) -> str:
        """Returns a replica's name in messages to users, which name no host."""
        return f"replica {replica + 1} of {len(self)}"

    def load(self, replica: int) -> float:
        """Returns a replica's load in tokens."""
        return self._balancer.load(replica)

    def is_in(self, replica: int) -> bool:
        """True if a replica is in rotation now."""
        return self._readiness[replica] == "ready" and self._outliers.allows(replica)

    def is_ejected(self, replica: int) -> bool:
        """True from a replica's ejection until a request has succeeded there again."""
        return self._outliers.is_ejected(replica)

    def choose(
        self, key: bytes | None, tokens: float, tried: Collection[int] = ()
    ) -> Choice | None:
        """Returns the replica for a request; None if all were tried.

        If no other is in rotation, that is the least bad: ready rather than not, then the one whose
        pause ends first.
        """
        for replica in self._ejected:  # pauses end with time
            self._balancer.put(replica, is_in=self.is_in(replica))
        choice = self._balancer.choose(key, tokens, tried)
        if choice is not None:
            return choice
        left = [replica for replica in range(len(self)) if replica not in tried]
        return Choice(min(left, key=self._badness), "least bad") if left else None

    def begin(self, replica: int, tokens: float) -> Sent:
        """Records that a request is sent, and returns it for what is recorded of it later."""
        self._tokens += tokens
        self._requests += 1
        self._balancer.add(replica, tokens)
        replica_metrics.load(self.names[replica], requests=1, tokens=tokens)
        return self._outliers.begun(replica)

    def end(self, replica: int, tokens: float) -> None:
        """Records that a request has ended, in whichever way."""
        self._balancer.add(replica, -tokens)
        replica_metrics.load(self.names[replica], requests=-1, tokens=-tokens)

    def slow_after(self, replica: int) -> float | None:
        """Returns the seconds after which a first token is slow; None if too little is known."""
        return self._outliers.slow_after(replica)

    def slow(self, sent: Sent) -> None:
        """Records a first token that is slow, before it comes, or lost to a hedged request."""
        self._outliers.slow(sent)
        self._update(sent.replica)

    def first_token(self, sent: Sent, seconds: float, *, slow: bool = False) -> None:
        """Records a first token, its time, and whether it was recorded as slow before."""
        self._outliers.first_token(sent, seconds, slow=slow)

    def succeeded(self, sent: Sent) -> None:
        """Records the end of an answer."""
        self._outliers.succeeded(sent)
        self._update(sent.replica)

    def failed(self, sent: Sent, *, hung: bool = False) -> None:
        """Records a failure; `hung`: the replica sent nothing in all its time."""
        self._outliers.failed(sent, hung=hung)
        self._update(sent.replica)

    def left(self, sent: Sent) -> None:
        """Records that a request ended before it could succeed or fail."""
        self._outliers.left(sent)

    def checked(self, replica: int, readiness: Readiness) -> None:
        """Records what a check found."""
        before, self._readiness[replica] = self._readiness[replica], readiness
        if before == readiness:
            return
        _log.warning("The replica %s is %s.", self.names[replica], readiness)
        if readiness == "ready":
            self._outliers.restored(replica)
        self._update(replica)

    def told(self, replica: int, state: EngineState | None) -> None:
        """Records what an engine says of itself; None: it says nothing."""
        mean = self._tokens / self._requests if self._requests else TYPICAL_TOKENS
        waiting = state.waiting * mean if state else 0.0
        self._balancer.add(replica, waiting - self._waiting[replica])
        self._waiting[replica] = waiting
        if state:
            replica_metrics.engine(
                self.names[replica],
                waiting=state.waiting,
                kv_cache_usage=state.kv_cache_usage,
                preemptions=state.preemptions,
                prefix_hits=state.prefix_hits,
                prefix_queries=state.prefix_queries,
            )

    def _update(self, replica: int) -> None:
        was_ejected, is_ejected = replica in self._ejected, self.is_ejected(replica)
        if is_ejected != was_ejected:
            (self._ejected.add if is_ejected else self._ejected.discard)(replica)
            verdict = (
                "ejected: it fails, or is far slower than the others" if is_ejected else "back"
            )
            _log.warning("The replica %s is %s.", self.names[replica], verdict)
        self._balancer.put(replica, is_in=self.is_in(replica))
        ready = self._readiness[replica] == "ready"
        replica_metrics.state(self.names[replica], ready=ready, ejected=is_ejected)

    def _badness(self, replica: int) -> tuple[bool, float, float]:
        away = self._readiness[replica] != "ready"
        return away, self._outliers.seconds_left(replica), self.load(replica)
