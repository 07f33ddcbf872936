"""Checks an answer's markers as it grows, and makes text by a model safe to render."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace

from generation.grounding.citations import CitationChecker, uncited
from generation.sanitizing import SafeText, addresses, without_halves
from rag.protocols import SupportScorer
from rag.types import Citation, Delta, Hit

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"(?P<key>\s*:)?')
"""A string literal of valid JSON, and the colon behind one that is a key."""


SENTENCE_WORDS = 4
"""Words from which a string in JSON may claim something: a shorter one is a name or a choice."""


class Draft:
    """An answer's text, checked and returned as it grows."""

    def __init__(
        self,
        passages: Sequence[Hit],
        support: SupportScorer,
        known: AbstractSet[str] | None = None,
    ) -> None:
        """Make a draft; `known` are the passages' addresses, if collected before."""
        self._checker = CitationChecker(passages, support)
        self._safe = SafeText(addresses(passages) if known is None else known)
        self._by_model = False
        self.text = ""
        self.citations: tuple[Citation, ...] = ()

    @property
    def unsupported(self) -> tuple[int, ...]:
        """The markers that were removed."""
        return self._checker.unsupported

    @property
    def uncited(self) -> tuple[str, ...]:
        """The sentences that no citation supports."""
        return uncited(self.text, self.citations)

    async def take(self, delta: Delta) -> list[str | Citation]:
        """Returns text to send after the next delta, and citations behind their markers."""
        self._by_model = delta.model is not None
        return self._write(await self._checker.feed(delta.text))

    async def finish(self) -> list[str | Citation]:
        """Returns the text held back, once the answer is complete."""
        out = self._write(self._checker.finish())
        if rest := self._safe.finish():
            self.text += rest
            out.append(rest)
        return out

    def _write(self, events: Sequence[str | Citation]) -> list[str | Citation]:
        out: list[str | Citation] = []
        for event in events:
            if isinstance(event, Citation):  # behind its marker
                start, end = self.text.rindex("["), len(self.text)
                citation = replace(event, marker_start=start, marker_end=end)
                self.citations += (citation,)
                out.append(citation)
            elif text := self._safe.feed(event) if self._by_model else event:
                self.text += text
                out.append(text)
        return out


class JsonDraft:
    """An answer in JSON, each of whose strings is a draft; keys are unchanged.

    It is sent once it is complete: a string can be checked, and written anew, when it has ended.
    """

    def __init__(self, passages: Sequence[Hit], support: SupportScorer) -> None:
        self._passages = passages
        self._support = support
        self._known = addresses(passages)  # once, and not for each string
        self._written = ""
        self.text = ""
        self.citations: tuple[Citation, ...] = ()
        self.unsupported: tuple[int, ...] = ()
        self.uncited: tuple[str, ...] = ()

    async def take(self, delta: Delta) -> list[str | Citation]:
        """Returns nothing yet."""
        self._written += delta.text
        return []

    async def finish(self) -> list[str | Citation]:
        """Returns the whole answer, then the citations."""
        end = 0
        for literal in _STRING.finditer(self._written):
            if literal["key"] is None:
                self.text += self._written[end : literal.start()]
                await self._add(without_halves(json.loads(literal[0])))
                end = literal.end()
        self.text += self._written[end:]
        return [self.text, *self.citations] if self.text else []

    async def _add(self, value: str) -> None:
        draft = Draft(self._passages, self._support, self._known)
        await draft.take(Delta(text=value, model="its"))
        await draft.finish()
        at = len(self.text) + 1
        for citation in draft.citations:
            before, marker = (
                _inside(draft.text[:place])
                for place in (citation.marker_start, citation.marker_end)
            )
            moved = replace(citation, marker_start=at + len(before), marker_end=at + len(marker))
            self.citations += (moved,)
        self.text += f'"{_inside(draft.text)}"'
        self.unsupported += draft.unsupported
        if len(value.split()) >= SENTENCE_WORDS:
            self.uncited += draft.uncited


def _inside(text: str) -> str:
    """Returns a text as JSON, without the quotation marks around it."""
    return json.dumps(text, ensure_ascii=False)[1:-1]
