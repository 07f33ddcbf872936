"""A question's journey."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from generation.citations import CitationChecker
from generation.prompts import build_prompt
from rag.catalog import Catalog
from rag.errors import UpstreamError
from rag.protocols import Generator
from rag.telemetry import Trace
from rag.types import Answer, Citation, Delta, Hit, Prompt, Query, Scope, Usage
from retrieval.sections import SectionReader

Event = tuple[Hit, ...] | str | Citation | Answer
"""What a stream yields: the hits, then text and citations as they come, then the whole answer."""


class Retriever(Protocol):
    """Finds what answers a query."""

    async def retrieve(self, query: Query, trace: Trace) -> list[Hit]:
        """At most `top_k` hits, best first; what had to be left out goes to the trace."""


class QueryPipeline:
    """Retrieves, generates, checks."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        retriever: Retriever,
        reader: SectionReader | None,
        generator: Generator,
        seconds: float,
    ) -> None:
        """Make a pipeline.

        Args:
            catalog: knows the collections.
            retriever: finds hits.
            reader: widens them for the generator; None: it gets them as they were found.
            generator: writes the answer.
            seconds: the deadline of a question.
        """
        self._catalog = catalog
        self._retriever = retriever
        self._reader = reader
        self._generator = generator
        self._seconds = seconds

    async def search(self, query: Query, trace: Trace) -> tuple[Hit, ...]:
        """Hits alone; timings go to the trace.

        Raises:
            NotFoundError: there is no such collection.
            UpstreamError: the deadline passed.
        """
        with trace.span("total"):
            return await self._retrieve(query, trace, self._deadline())

    async def answer(self, query: Query, trace: Trace) -> Answer:
        """The whole answer: the last event of `stream`."""
        async for event in self.stream(query, trace):
            last = event
        assert isinstance(last, Answer)  # noqa: S101 - what a stream ends with
        return last

    async def stream(self, query: Query, trace: Trace) -> AsyncIterator[Event]:
        """1. retrieve  2. widen  3. prompt  4. generate  5. check citations  6. the answer.

        Raises:
            NotFoundError: there is no such collection.
            UpstreamError: the deadline passed.
        """
        deadline = self._deadline()
        with trace.span("total"):
            hits = await self._retrieve(query, trace, deadline)  # 1.
        yield hits
        passages = await self._widen(query.scope, hits, trace, deadline)  # 2.
        prompt = build_prompt(query.text, query.scope, passages)  # 3.
        draft = _Draft(checker=CitationChecker(passages))
        async for delta in self._generate(prompt, trace, deadline):  # 4.
            for event in draft.take(delta):  # 5.
                yield event
        yield draft.answer(hits, trace)  # 6.

    async def _retrieve(self, query: Query, trace: Trace, deadline: float) -> tuple[Hit, ...]:
        try:
            async with asyncio.timeout_at(deadline):
                await self._catalog.check_exists(query.scope)
                return tuple(await self._retriever.retrieve(query, trace))
        except TimeoutError:
            raise self._late("retrieval") from None

    async def _widen(
        self, scope: Scope, hits: Sequence[Hit], trace: Trace, deadline: float
    ) -> Sequence[Hit]:
        if self._reader is None:
            return hits
        try:
            with trace.span("widen"), trace.span("total"):
                async with asyncio.timeout_at(deadline):
                    return await self._reader.read(scope, hits)
        except TimeoutError:
            raise self._late("reading around the hits") from None

    async def _generate(
        self, prompt: Prompt, trace: Trace, deadline: float
    ) -> AsyncIterator[Delta]:
        deltas = aiter(self._generator.stream(prompt))
        while True:
            try:
                with trace.span("generate"), trace.span("total"):
                    async with asyncio.timeout_at(deadline):
                        delta = await anext(deltas)
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise self._late("generation") from None
            yield delta

    def _deadline(self) -> float:
        return asyncio.get_running_loop().time() + self._seconds

    def _late(self, stage: str) -> UpstreamError:
        return UpstreamError(
            f"The question was not answered within {self._seconds:g} s: {stage} took too long."
            " Try again, or raise the setting limits.query_seconds.",
            code="deadline",
        )


@dataclass(slots=True)
class _Draft:
    """An answer as it grows."""

    checker: CitationChecker
    text: str = ""
    citations: tuple[Citation, ...] = ()
    last: Delta = field(default_factory=Delta)

    def take(self, delta: Delta) -> list[Event]:
        if delta.text:
            self.text += delta.text
        if delta.confidence is not None or delta.abstained is not None:
            self.last = delta
        citations = self.checker.feed(delta.text)
        self.citations += citations
        return [*([delta.text] if delta.text else []), *citations]

    def answer(self, hits: tuple[Hit, ...], trace: Trace) -> Answer:
        return Answer(
            text=self.text,
            citations=self.citations,
            hits=hits,
            abstained=self.last.abstained is not None,
            reason=self.last.abstained,
            confidence=self.last.confidence or 0.0,
            degraded=tuple(trace.degraded),
            usage=self.last.usage or Usage(),
            timings=dict(trace.timings),
            trace_id=trace.id,
        )
