"""Gives an earlier answer again; without one, has the question answered, and keeps the answer."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from rag.answer_cache.replay import pieces
from rag.catalog.content_versions import ContentVersions
from rag.pipeline.search import Run
from rag.types import Answer, Query

if TYPE_CHECKING:
    from rag.answer_cache.cache import AnswerCache
    from rag.pipeline.query import Event


class Repeater:
    """Stands before the stages of a question."""

    def __init__(self, cache: AnswerCache, contents: ContentVersions) -> None:
        """Makes a repeater of a cache, and of the versions of what the answers are made of."""
        self._cache = cache
        self._contents = contents

    async def stream(
        self,
        query: Query,
        run: Run,
        answering: Callable[[Query, Run], AsyncGenerator[Event, None]],
    ) -> AsyncGenerator[Event, None]:
        """Yields the events of a question, as `QueryPipeline.stream` does.

        Args:
            query: The question.
            run: Has its deadline.
            answering: Runs the stages of a question whose collection exists.
        """
        with run.stopwatch.time("total"):
            async with run.in_time("looking for an earlier answer"):
                content = await self._contents.of(query.scope)
                query = replace(query, scope=content.scope)
                found = await self._cache.look_up(query, content, run.trace)
        if found.answer is not None:
            yield found.answer.hits
            for piece in pieces(found.answer):
                yield piece
            timings = dict(run.stopwatch.milliseconds)
            degraded = (*run.degraded, *found.degraded)
            yield replace(found.answer, degraded=degraded, timings=timings)
            return
        with found.making or contextlib.nullcontext() as making:
            async with contextlib.aclosing(answering(query, run)) as events:
                async for event in events:
                    if isinstance(event, Answer):
                        if making is not None:
                            making.made(event)
                        yield replace(event, degraded=(*found.degraded, *event.degraded))
                    else:
                        yield event
