"""Chooses the generator of each question by the rules of routes."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace

from generation.grounding.answerability import Judge
from generation.routing.rules import Question, asks_for_evidence, reasons_for
from rag.protocols import Generator
from rag.settings.routing import MAIN, RouteSettings
from rag.types import Delta, Prompt, Route


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteTo:
    """A route's conditions, and its generator."""

    settings: RouteSettings
    generator: Generator


class RoutedGenerator:
    """`Generator` that lets the first route whose conditions hold write, else the main one.

    A second try, after the check refused a claim of the first, is written by the main one.
    """

    def __init__(
        self,
        routes: Sequence[RouteTo],
        *,
        main: Generator,
        judge: Judge,
    ) -> None:
        """Make a generator.

        Args:
            routes: in the order in which they are tried.
            main: writes where none fits.
            judge: gives the confidence that routes ask for.
        """
        self._routes = routes
        self._main = main
        self._judge = judge
        self._asks = any(asks_for_evidence(route.settings) for route in routes)

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Delta, None]:
        """Yields the deltas of the generator that was chosen, with the route."""
        generator, taken = await self._choose(prompt)
        async with contextlib.aclosing(generator.stream(prompt)) as deltas:
            async for delta in deltas:
                yield replace(delta, route=taken)

    async def _choose(self, prompt: Prompt) -> tuple[Generator, Route]:
        verdict = await self._judge.judge(prompt) if self._asks and prompt.hits else None
        question = Question(prompt, verdict)
        for route in self._routes:
            reasons = reasons_for(route.settings, question)
            if reasons is None:
                continue
            name = route.settings.name
            if prompt.revision is None:
                return route.generator, Route(name=name, reasons=reasons)
            refused = f"the check refused a sentence of the route {name}"
            return self._main, Route(name=MAIN, reasons=(refused,), escalated_from=name)
        return self._main, Route(name=MAIN, reasons=("no route fits",))
