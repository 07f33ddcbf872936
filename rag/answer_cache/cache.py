"""Looks for an earlier answer to a question, and keeps the one that is made."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rag.answer_cache.answer_keys import Key, key_of
from rag.answer_cache.entries import Entry, UnreadableEntryError, read, written
from rag.answer_cache.flights import Flight, Flights, Landed
from rag.answer_cache.making import Making
from rag.answer_cache.semantic import SimilarQuestions
from rag.answer_cache.stores import AnswerStore
from rag.catalog.content_versions import Content, ContentVersions
from rag.errors import RagError, UpstreamError
from rag.telemetry import cache_metrics
from rag.telemetry.trace import Trace
from rag.types import Answer, Priority, Query

if TYPE_CHECKING:
    from rag.answer_cache.leases import Leases
STAGE = "answer_cache"
"""Its name in `degraded`, and in the stages' times."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """An earlier answer, or the making of one; neither if the question is not for the cache.

    `degraded` says what failed of the cache, as in `Answer`.
    """

    answer: Answer | None = None
    making: Making | None = None
    degraded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Found:
    """The result of a look-up: an answer, or the flight in which it is made."""

    result: cache_metrics.CacheResult
    landed: Landed | None = None
    flight: Flight | None = None
    failure: RagError | str | None = None


class AnswerCache:
    """The answers that were made, by everything that they depend on."""

    def __init__(
        self,
        *,
        store: AnswerStore,
        contents: ContentVersions,
        fingerprint: str,
        seconds: float,
        patience: Mapping[Priority, float],
        similar: SimilarQuestions | None = None,
        leases: Leases | None = None,
        tags: Collection[str] = (),
        permits: Callable[[str], bool] = lambda _tenant: True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Makes a cache.

        Args:
            store: Keeps the entries.
            contents: Tells the versions of collections' contents.
            fingerprint: That of the settings on which answers depend.
            seconds: Age past which no answer is given again.
            patience: Seconds for which a question waits for one that is the same, by its class.
            similar: Finds questions that ask the same in other words; None: equal ones alone.
            leases: Those of all processes that use the store; None: this is the only one.
            tags: Those labels of requests that decide an answer.
            permits: Returns True if a tenant's answers may be kept.
            clock: Returns the time, in seconds since 1970.
        """
        self._store = store
        self._contents = contents
        self._fingerprint = fingerprint
        self._seconds = seconds
        self._patience = patience
        self._similar = similar
        self._leases = leases
        self._tags = tags
        self._permits = permits
        self._clock = clock
        self._flights = Flights()
        self._keeping: set[asyncio.Task[None]] = set()
        self._fault: RagError | None = None
        """The failure of the last write: while writes fail, nothing is kept."""

    async def look_up(self, query: Query, content: Content, trace: Trace) -> Lookup:
        """Returns an earlier answer, or the making of one.

        A question that is the same as one under way waits for that one's answer.
        """
        if not self._may_repeat(query):
            cache_metrics.answer_cache("bypassed")
            return Lookup()
        words = await self._contents.words(content)
        key = key_of(
            query,
            version=content.version,
            words=words,
            fingerprint=self._fingerprint,
            tags=self._tags,
        )
        if query.fresh:
            cache_metrics.answer_cache("bypassed")
            return Lookup(making=self._making(query, key, content, None))
        with trace.span(STAGE) as span:
            found = await self._find(query, key)
            span.attributes["result"] = found.result
        if trace.live:
            cache_metrics.answer_cache(found.result)
        # What is in the cache is given again, though nothing can be added to it.
        cause = found.failure or (self._fault if found.landed is None else None)
        degraded = (trace.degrade(STAGE, cause),) if cause else ()
        if found.landed is None:
            return Lookup(making=self._making(query, key, content, found.flight), degraded=degraded)
        trace.degraded += found.landed.degraded
        answer = found.landed.repeated(
            query, now=self._clock(), id_=secrets.token_hex(16), trace_id=trace.id
        )
        return Lookup(answer=answer, degraded=(*degraded, *found.landed.degraded))

    async def close(self) -> None:
        """Waits for what is being kept, and closes the store."""
        await asyncio.gather(*self._keeping)
        if self._leases is not None:
            await self._leases.close()
        await self._store.close()

    def _may_repeat(self, query: Query) -> bool:
        """False if each answer is to be another, or none of the tenant's may be kept."""
        sampling = query.sampling
        is_random = bool(sampling.temperature) and sampling.seed is None
        return not is_random and self._permits(query.scope.tenant)

    def _making(self, query: Query, key: Key, content: Content, flight: Flight | None) -> Making:
        flight = flight or self._flights.alone(key.answer)
        return Making(query, key, content, flight, keep=self._keep_later, clock=self._clock)

    async def _find(self, query: Query, key: Key) -> _Found:
        while flight := self._flights.of(key.answer):
            try:
                async with asyncio.timeout(self._patience[query.priority]):
                    outcome = await flight.outcome()
            except TimeoutError:  # its client may read slowly
                return _Found("miss")
            if isinstance(outcome, Landed):
                return _Found("joined", outcome)
            if outcome == "failed":  # all try at once: one after the other would take too long
                return _Found("miss")
        flight = self._flights.begin(key.answer)
        try:
            landed, failure = await self._earlier(query, key, flight)
        except BaseException:
            flight.end("abandoned")
            flight.forget()
            raise
        if landed is None:
            return _Found("miss", flight=flight, failure=failure)
        flight.end(landed)
        flight.forget()
        return _Found(landed.match or "joined", landed)

    async def _earlier(
        self, query: Query, key: Key, flight: Flight
    ) -> tuple[Landed | None, RagError | str | None]:
        """Returns the answer of the store, or None with what failed, if something did."""
        try:
            landed = await self._stored(query, key)
            if landed is None and self._leases is not None:
                flight.lease = await self._leases.take(key.answer)
                if flight.lease is None:
                    landed = await self._from_another(query, key, self._leases)
        except UpstreamError as error:
            self._note(error)
            return None, error
        except UnreadableEntryError as error:
            cache_metrics.answer_cache("failed")
            _log.warning("Answer cache: an entry cannot be read: %s.", error)
            return None, "an entry cannot be read"
        return landed, None

    async def _stored(self, query: Query, key: Key) -> Landed | None:
        if entry := await self._entry(key.answer):
            return Landed(entry, "exact")
        if self._similar is not None:
            for answer in await self._similar.find(key, query.text):
                if entry := await self._entry(answer):
                    return Landed(entry, "semantic")
        return None

    async def _from_another(self, query: Query, key: Key, leases: Leases) -> Landed | None:
        """Waits while another process makes the answer; returns what it has kept, if anything."""
        await leases.until_free(key.answer, self._patience[query.priority])
        entry = await self._entry(key.answer)
        return Landed(entry, None) if entry else None

    async def _entry(self, key: str) -> Entry | None:
        found = await self._store.get(key)
        if found is None:
            return None
        entry = read(found)
        return entry if self._clock() - entry.made_at < self._seconds else None

    def _keep_later(self, making: Making, entry: Entry) -> None:
        task = asyncio.get_running_loop().create_task(self._keep(making, entry))
        self._keeping.add(task)
        task.add_done_callback(self._keeping.discard)

    async def _keep(self, making: Making, entry: Entry) -> None:
        """Keeps an answer if the collection is as it was when the question began."""
        before = making.content
        try:
            now = await self._contents.of(before.scope)
            if now.settled and now.version == before.version:
                await self._store.put(making.key.answer, written(entry))
                if self._similar is not None:
                    await self._similar.add(making.key, entry.question)
                self._fault = None
        except UpstreamError as error:
            self._fault = error
            self._note(error)
        except RagError as error:
            _log.info("Answer cache: an answer is not kept: %s", error.in_full())
        finally:
            making.flight.forget()

    def _note(self, error: RagError) -> None:
        cache_metrics.answer_cache("failed")
        _log.warning("Answer cache: %s", error.in_full())
