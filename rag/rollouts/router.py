"""Chooses the pipeline that answers a question, by the rollouts in force."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from rag.catalog.collections import Collections
from rag.errors import NotFoundError
from rag.records import Arm, Rollout
from rag.rollouts.assignment import ROUTES, Asker, asker, first_fitting, fits, gets_variant
from rag.rollouts.measures import observed
from rag.rollouts.observations import Observations
from rag.telemetry.trace import Trace
from rag.types import BASE, Answer, Query, Scope

if TYPE_CHECKING:
    from rag.pipeline.query import QueryPipeline


@dataclass(frozen=True, slots=True)
class Variant:
    """A pipeline under a name, and the collections that it searches in the place of others."""

    pipeline: QueryPipeline
    collections: Mapping[str, str] = field(default_factory=dict)

    def reads(self, query: Query) -> Query:
        """Returns a question to the collection that the variant searches."""
        instead = self.collections.get(query.scope.collection)
        if instead is None:
            return query
        return replace(query, scope=replace(query.scope, collection=instead))


class Routed(NamedTuple):
    """A question, and the pipeline that answers it."""

    pipeline: QueryPipeline
    query: Query


Mirror = Callable[[Rollout, Query, Trace, Answer], None]


class Router:
    """Routes questions, and observes those that a rollout is about.

    Attributes:
        variants: Those that could be built, by name.
        unavailable: Why others could not, by name.
        mirror: Has a shadow answer a question besides; returns at once.
    """

    def __init__(self, observations: Observations, collections: Collections) -> None:
        self.variants: Mapping[str, Variant] = {}
        self.unavailable: Mapping[str, str] = {}
        self.mirror: Mirror | None = None
        self._observations = observations
        self._collections = collections
        self._routing: tuple[Rollout, ...] = ()
        self._shadows: tuple[Rollout, ...] = ()

    def follow(self, rollouts: Sequence[Rollout]) -> None:
        """Has these rollouts, in the order of their names, hold from now on."""
        running = [each for each in rollouts if each.state in ROUTES]
        self._routing = tuple(each for each in running if each.kind != "shadow")
        self._shadows = tuple(each for each in running if each.kind == "shadow")

    async def route(self, query: Query, trace: Trace, base: QueryPipeline) -> Routed:
        """Returns the pipeline for a question; a task of a chat UI is the base's.

        If the variant or its version of the collection is not there, the base answers, and the
        answer says so.
        """
        if not self._routing or query.task is not None:
            return Routed(base, query)
        who = _asker(query, trace)
        rollout = first_fitting(self._routing, who)
        if rollout is None:
            return Routed(base, query)
        if not gets_variant(rollout, who):
            trace.arm = Arm(rollout.name, rollout.version, BASE)
            return Routed(base, query)
        variant = self.variants.get(rollout.variant)
        if variant is None:
            # Why is for operators: the reason may name a path or a host.
            return _without(f"{rollout.variant} is not available", query, trace, base)
        trace.arm = Arm(rollout.name, rollout.version, rollout.variant)
        asked = variant.reads(query)
        if asked is not query and not await self._exists(asked.scope):
            lacks = f"{rollout.variant} has no version of {query.scope.collection}"
            return _without(lacks, query, trace, base)
        return Routed(variant.pipeline, asked)

    def ended(self, query: Query, trace: Trace, answer: Answer | None) -> None:
        """Observes a question that has ended, and has shadows answer it; returns at once."""
        if not trace.live or query.task is not None:
            return
        if answer is not None and answer.cached:  # it says nothing of what would answer now
            return
        seconds = (trace.root.end - trace.root.start) / 1e9
        # Neither a caller's fault nor a caller who hung up says anything of a variant.
        if trace.arm is not None and (answer is not None or trace.failed):
            own = answer if answer and answer.variant == trace.arm.variant else None
            self._observations.add(trace.arm, observed(own, seconds))
        if self._shadows and self.mirror and answer is not None and answer.variant == BASE:
            who = _asker(query, trace)
            for rollout in self._shadows:
                if fits(rollout, who) and gets_variant(rollout, who):
                    self.mirror(rollout, query, trace, answer)

    async def _exists(self, scope: Scope) -> bool:
        try:
            await self._collections.check_exists(scope)
        except NotFoundError:
            return False
        return True


def _without(why: str, query: Query, trace: Trace, base: QueryPipeline) -> Routed:
    left_out = trace.degrade("variant", why)
    return Routed(base, replace(query, degraded=(*query.degraded, left_out)))


def _asker(query: Query, trace: Trace) -> Asker:
    return asker(
        tenant=query.scope.tenant,
        key_id=trace.meter.key_id,
        subject=trace.meter.subject,
        user=trace.user,
        session=trace.session,
    )
