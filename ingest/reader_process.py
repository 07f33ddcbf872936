"""Reads documents in separate processes, within limits: a bomb or a crash costs one document."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ingest.readers.options import DEFAULT_OPTIONS, ReadOptions
from ingest.sources.files import load, name_for
from ingest.turns import Turns
from rag.errors import ReadError, UpstreamError
from rag.process.child_process import ChildProcess
from rag.types import Document

_GRACE = 5.0
IDLE_SECONDS = 30.0
"""Seconds after which an idle process ends, unless it is the only one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of one document: `file` in bytes, `text` in characters, `memory` in bytes.

    `parts` counts headings, tables and pages: each costs some hundred bytes wherever it is stored.

    `memory` is address space and includes libraries: below 1 GiB they alone do not fit.
    """

    file: int = 64 << 20
    text: int = 64 << 20
    parts: int = 100_000
    memory: int = 4 << 30
    seconds: float = 120.0


@dataclass(frozen=True, slots=True)
class _Order:
    source: Mapping[str, Any]
    path: Path
    id: str
    uri: str


_Process = ChildProcess[_Order, Document]


class Parser:
    """Reads a few documents at once, each in a separate process.

    A process starts when a document comes and none is idle. `Turns` decides whose document is next.
    """

    def __init__(
        self,
        limits: Limits,
        *,
        options: ReadOptions = DEFAULT_OPTIONS,
        processes: int = 2,
    ) -> None:
        self._limits = limits
        self._options = options
        self._turns = Turns(processes)
        self._all: set[_Process] = set()
        self._idle: list[_Process] = []
        """Idle processes; the one that was used last is at the end, and is used next."""
        self._closed = False

    async def read(self, source: Mapping[str, Any], path: Path, *, id_: str, uri: str) -> Document:
        """Reads a document; see `ingest.sources.load`.

        Raises:
            ReadError: The bytes cannot be read, or not within the limits.
        """
        name = name_for(source, path, uri=uri)
        async with self._turns.taken(), self._process() as process:
            try:
                return await process.call(_Order(source, path, id_, uri))
            except TimeoutError as error:
                raise ReadError(
                    f"{name}: reading it took more than {self._limits.seconds:g} s. Split it,"
                    " or raise the setting reader.seconds.",
                    code="parser_timeout",
                ) from error
            except UpstreamError as error:
                if error.code != "process_died":  # it cannot be started, or is closed
                    raise
                raise ReadError(
                    f"{name}: the parser crashed on it, twice. It is damaged, or needs more"
                    f" than the {self._limits.memory >> 20} MiB of the setting reader.memory_mb.",
                    code="parser_crashed",
                ) from error

    def close(self) -> None:
        """Ends the processes."""
        self._closed = True
        for process in self._all:
            process.close()

    @contextlib.asynccontextmanager
    async def _process(self) -> AsyncIterator[_Process]:
        """Provides an idle process, or a new one; it is idle again after the block."""
        process = self._idle.pop() if self._idle else await self._start()
        self._all.add(process)
        if self._closed:  # while it started
            process.close()
        try:
            yield process
        finally:
            self._idle.append(process)
            if len(self._all) > 1:
                asyncio.get_running_loop().call_later(IDLE_SECONDS, self._end_idle)

    def _end_idle(self) -> None:
        """Ends idle processes, except one: the memory of each is some hundred MiB."""
        while len(self._all) > 1 and self._idle:
            process = self._idle.pop(0)
            self._all.remove(process)
            process.close()

    async def _start(self) -> _Process:
        return await ChildProcess.started(
            partial(_reader, self._limits, self._options),
            name="parser",
            lanes=1,
            seconds=self._limits.seconds,
        )


def _reader(limits: Limits, options: ReadOptions) -> Callable[[_Order], Document]:
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    memory = limits.memory if hard == resource.RLIM_INFINITY else min(limits.memory, hard)
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def read(order: _Order) -> Document:
        name = name_for(order.source, order.path, uri=order.uri)
        try:
            with _ended_after(limits.seconds + _GRACE):
                document = load(
                    order.source,
                    order.path,
                    id_=order.id,
                    uri=order.uri,
                    max_bytes=limits.file,
                    options=options,
                )
        except MemoryError as error:
            raise ReadError(
                f"{name}: reading it takes more than {limits.memory >> 20} MiB of"
                " memory. Split it, or raise the setting reader.memory_mb.",
                code="too_large",
            ) from error
        if len(document.text) > limits.text:
            raise ReadError(
                f"{name}: holds more than {limits.text >> 20} million characters."
                " Split it, or raise the setting reader.text_mb.",
                code="too_large",
            )
        if len(document.headings) + len(document.tables) + len(document.pages) > limits.parts:
            raise ReadError(
                f"{name}: holds more than {limits.parts:,} headings, tables and pages. Split it.",
                code="too_large",
            )
        return document

    return read


@contextlib.contextmanager
def _ended_after(seconds: float) -> Iterator[None]:
    """Has the kernel end this process after `seconds`, as the parent may be gone by then."""
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
