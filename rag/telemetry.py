"""What a request does and how long it takes."""

from __future__ import annotations

import contextlib
import re
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from rag.types import Usage

_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


@dataclass(slots=True)
class Trace:
    """One journey: its id, milliseconds by stage, what had to be left out, tokens spent.

    `outcome` says how it ended: found, answered, the reason to abstain, an error's code, cancelled.
    """

    id: str = field(default_factory=lambda: secrets.token_hex(16))
    timings: dict[str, float] = field(default_factory=dict)
    degraded: list[str] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)
    outcome: str = ""

    @contextlib.contextmanager
    def span(self, stage: str) -> Iterator[None]:
        """Times a stage; one that runs twice adds up."""
        start = time.perf_counter()
        try:
            yield
        finally:
            spent = (time.perf_counter() - start) * 1e3
            self.timings[stage] = round(self.timings.get(stage, 0.0) + spent, 3)

    def degrade(self, stage: str, cause: str) -> None:
        """Says that a stage was left out of the answer, and why."""
        self.degraded.append(f"{stage}: {cause}")

    def spend(self, usage: Usage) -> None:
        """Adds tokens that went through a language model."""
        self.usage = Usage(
            input_tokens=self.usage.input_tokens + usage.input_tokens,
            output_tokens=self.usage.output_tokens + usage.output_tokens,
        )


def trace_id_of(traceparent: str | None) -> str | None:
    """The trace id of a W3C `traceparent` header; None where there is no valid one."""
    match = _TRACEPARENT.fullmatch(traceparent or "")
    return match[1] if match else None
