"""Adds up what one request uses of each model."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

from rag.errors import InputError
from rag.records import Feature, Outcome
from rag.types import Usage, add_usage

MILLION = 1e6


class Meter:
    """The usage of a request by the name of the model; a subclass charges it to a caller."""

    charges = False
    """True if somebody is charged: usage that is not known yet has to be counted."""

    key_id = subject = ""
    """The key and the user that are charged; empty if none is known."""

    def __init__(self) -> None:
        self.by_model: dict[str, Usage] = {}

    def __reduce__(self) -> tuple[type[Meter], tuple[()]]:
        """Leaves it behind where a trace is sent to another process."""
        return Meter, ()

    def spend(self, model: str, usage: Usage) -> None:
        """Adds the usage of a call to a model."""
        self.by_model[model] = add_usage(self.by_model.get(model, Usage()), usage)

    async def reserve(self, tokens: int) -> None:
        """Reserves the most tokens that the request may use.

        Raises:
            RateLimitedError, QuotaExceededError: The caller has no more.
        """

    def begin(self, feature: Feature) -> None:
        """Records that the work begins."""

    @contextlib.contextmanager
    def working(self, feature: Feature) -> Iterator[None]:
        """Begins the work, and ends it with the block."""
        outcome: Outcome = "hung_up"
        self.begin(feature)
        try:
            yield
            outcome = "ok"
        except Exception as error:
            outcome = failure(error)
            raise
        finally:
            self.end(outcome)

    def end(self, outcome: Outcome, *, trace_id: str = "") -> None:
        """Records that the work has ended, and what it used."""


def of_reading(
    texts: Sequence[str], *, count_tokens: Callable[[Sequence[str]], list[int]], price: float
) -> Usage:
    """Returns the usage of a model that reads these texts; `price` is that of a million tokens."""
    tokens = sum(count_tokens(texts))
    return Usage(input_tokens=tokens, cost=tokens * price / MILLION)


def failure(error: Exception) -> Outcome:
    """Returns the outcome of work that an error ended."""
    return "refused" if isinstance(error, InputError) else "failed"
