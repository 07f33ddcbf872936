"""Finds the evidence of a prompt once for all who ask."""

from __future__ import annotations

from collections import OrderedDict

from generation.grounding.answerability import Finder
from generation.grounding.evidence import Evidence
from generation.grounding.presence import Missing
from rag.types import Hit, Prompt

KNOWN = 64
"""Questions whose evidence is kept: as many are rarely answered at once."""


class SharedEvidence:
    """`Finder` over another, which is asked once for a question and its passages.

    The router, the generators behind it and the check of what they write need the same evidence.
    """

    def __init__(self, finder: Finder) -> None:
        self._finder = finder
        self._known: OrderedDict[tuple[str, int], tuple[tuple[Hit, ...], Evidence | None]] = (
            OrderedDict()
        )
        """By the identity of the passages, which are kept so that it stays theirs."""

    async def find(self, prompt: Prompt) -> Evidence | None:
        """Returns the sentences to answer with; None if question or passages have no words."""
        key = (prompt.question, id(prompt.hits))
        if key not in self._known:
            self._known[key] = (prompt.hits, await self._finder.find(prompt))
            if len(self._known) > KNOWN:
                self._known.popitem(last=False)
        return self._known[key][1]

    def missing(self, prompt: Prompt) -> Missing:
        """Returns the words of the question that none of its passages has."""
        return self._finder.missing(prompt)
