"""Quotes the documents' own sentences that answer a question."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from rag.protocols import Generator
from rag.types import Delta, Prompt, SamplingOverrides


@dataclass(frozen=True, slots=True, kw_only=True)
class Quoted:
    """The deltas of an extractive answer that have text, and the confidence in it, 0 to 1."""

    deltas: tuple[Delta, ...]
    confidence: float

    @property
    def text(self) -> str:
        """The whole answer, with its markers."""
        return "".join(delta.text for delta in self.deltas)


Quotes = Callable[[], Awaitable[Quoted]]
"""Returns the documents' own sentences that answer the question."""


def quotes_for(prompt: Prompt, extractive: Generator) -> Quotes:
    """Returns what quotes the passages of a prompt when it is first called, and then the same."""
    prose = replace(prompt, sampling=SamplingOverrides())  # quotes are no JSON
    found: list[Quoted] = []

    async def quotes() -> Quoted:
        if not found:
            async with contextlib.aclosing(extractive.stream(prose)) as stream:
                deltas = [delta async for delta in stream]
            confidence = deltas[-1].confidence or 0.0
            found.append(Quoted(deltas=tuple(d for d in deltas if d.text), confidence=confidence))
        return found[0]

    return quotes
