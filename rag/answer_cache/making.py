"""An answer that has to be made, because there is no earlier one."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

from rag.answer_cache.answer_keys import Key
from rag.answer_cache.entries import Entry, entry_of
from rag.answer_cache.flights import Flight, Landed
from rag.catalog.content_versions import Content
from rag.types import Answer, Query


class Making:
    """The making of an answer: a block, in which `made` is called with it.

    However the block ends, those who wait for the answer are told.
    """

    def __init__(
        self,
        query: Query,
        key: Key,
        content: Content,
        flight: Flight,
        *,
        keep: Callable[[Making, Entry], None],
        clock: Callable[[], float],
    ) -> None:
        self.key = key
        self.content = content
        self.flight = flight
        self._query = query
        self._keep = keep
        self._clock = clock
        self._is_kept = False

    def __enter__(self) -> Making:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        failed = kind is not None and issubclass(kind, Exception)
        self.flight.end("failed" if failed else "abandoned")
        if not self._is_kept:
            self.flight.forget()

    def made(self, answer: Answer) -> None:
        """Gives the answer to those who wait, and keeps it unless a stage was left out of it.

        Until it is kept, its question is under way, and others get it from here.
        """
        entry = entry_of(self._query.text, answer, now=self._clock())
        before = len(self._query.degraded)  # was left out for this caller, not of the answer
        degraded = answer.degraded[before:]
        self.flight.end(Landed(entry, None, degraded))
        if self.content.settled and not degraded:
            self._is_kept = True
            self._keep(self, entry)
