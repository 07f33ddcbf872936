"""A question's journey."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterator, Sequence

from generation.citations import CitationChecker, uncited
from generation.rendering import SafeText
from rag.catalog import Catalog
from rag.errors import UpstreamError
from rag.protocols import Generator
from rag.telemetry import Trace
from rag.types import Answer, Citation, Delta, Hit, Prompt, Query, Scope, Usage
from retrieval.hybrid import HybridRetriever
from retrieval.sections import SectionReader

Event = tuple[Hit, ...] | str | Citation | Answer
"""What a stream yields: the hits, then text and citations as they come, then the whole answer."""


class QueryPipeline:
    """Retrieves, generates, checks."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        retriever: HybridRetriever,
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

    async def stream(self, query: Query, trace: Trace) -> AsyncGenerator[Event, None]:
        """1. retrieve  2. widen  3. generate  4. check what is written  5. the answer.

        Raises:
            NotFoundError: there is no such collection.
            UpstreamError: the deadline passed, or the generator failed.
        """
        deadline = self._deadline()
        with trace.span("total"):
            hits = await self._retrieve(query, trace, deadline)  # 1.
        yield hits
        passages = tuple(await self._widen(query.scope, hits, trace, deadline))  # 2.
        prompt = Prompt(question=query.text, scope=query.scope, hits=passages)
        draft = _Draft(passages)
        async with contextlib.aclosing(self._generate(prompt, trace, deadline)) as deltas:
            async for delta in deltas:  # 3.
                for event in draft.take(delta):  # 4.
                    yield event
        for event in draft.finish():
            yield event
        yield draft.answer(hits, trace)  # 5.

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
    ) -> AsyncGenerator[Delta, None]:
        async with contextlib.aclosing(self._generator.stream(prompt)) as deltas:
            while True:
                try:
                    with trace.span("generate"), trace.span("total"):
                        async with asyncio.timeout_at(deadline):
                            delta = await anext(deltas)
                except StopAsyncIteration:
                    return
                except TimeoutError:
                    raise self._late("generation") from None
                trace.degraded.extend(delta.degraded)
                yield delta

    def _deadline(self) -> float:
        return asyncio.get_running_loop().time() + self._seconds

    def _late(self, stage: str) -> UpstreamError:
        return UpstreamError(
            f"The question was not answered within {self._seconds:g} s: {stage} took too long."
            " Try again, or raise the setting limits.query_seconds.",
            code="deadline",
        )


class _Draft:
    """An answer as it grows: its markers checked, and safe to render where a model wrote it."""

    def __init__(self, passages: Sequence[Hit]) -> None:
        self._checker = CitationChecker(passages)
        self._safe = SafeText(passages)
        self._text = ""
        self._citations: tuple[Citation, ...] = ()
        self._last = Delta()

    def take(self, delta: Delta) -> Iterator[Event]:
        self._last = delta
        yield from self._write(self._checker.feed(delta.text))

    def finish(self) -> Iterator[Event]:
        yield from self._write(self._checker.finish())
        if rest := self._safe.finish():
            self._text += rest
            yield rest

    def _write(self, events: Sequence[str | Citation]) -> Iterator[Event]:
        for event in events:
            if isinstance(event, Citation):
                self._citations += (event,)
                yield event
            elif text := self._safe.feed(event) if self._last.model else event:
                self._text += text
                yield text

    def answer(self, hits: tuple[Hit, ...], trace: Trace) -> Answer:
        return Answer(
            text=self._text,
            citations=self._citations,
            unsupported=self._checker.unsupported,
            uncited=uncited(self._text, self._citations),
            hits=hits,
            abstained=self._last.abstained is not None,
            reason=self._last.abstained,
            confidence=self._last.confidence or 0.0,
            degraded=tuple(trace.degraded),
            usage=self._last.usage or Usage(),
            finish_reason=self._last.finish_reason,
            timings=dict(trace.timings),
            trace_id=trace.id,
        )
