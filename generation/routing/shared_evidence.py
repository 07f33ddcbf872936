"""Finds the evidence of a prompt once for all who ask."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from generation.grounding.answerability import Finder
from generation.grounding.evidence import Evidence
from generation.grounding.presence import Missing
from rag.types import Prompt


class SharedEvidence:
    """`Finder` over another: of a prompt that is held, it is asked once.

    The router and the generators behind it each judge the same passages.
    """

    def __init__(self, finder: Finder) -> None:
        self._finder = finder
        self._held: dict[int, list[Evidence | None]] = {}
        """What was found, by the identity of the passages, which a second try has as well."""

    @contextlib.contextmanager
    def holding(self, prompt: Prompt) -> Iterator[None]:
        """Keeps what is found about the prompt within the block; it is held once at a time."""
        key = id(prompt.hits)
        self._held[key] = []
        try:
            yield
        finally:
            del self._held[key]

    async def find(self, prompt: Prompt) -> Evidence | None:
        """Returns the sentences to answer with; None if question or passages have no words."""
        found = self._held.get(id(prompt.hits))
        if found is None:
            return await self._finder.find(prompt)
        if not found:
            found.append(await self._finder.find(prompt))
        return found[0]

    def missing(self, prompt: Prompt) -> Missing:
        """Returns the words of the question that none of its passages has."""
        return self._finder.missing(prompt)
