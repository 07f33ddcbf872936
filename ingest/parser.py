"""Reading in a process of its own, within limits: a bomb or a crash costs one document."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ingest.ocr import DEFAULT_OCR, Ocr
from ingest.sources import load
from rag.child_process import ChildProcess
from rag.errors import ReadError, UpstreamError
from rag.types import Document

_GRACE = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one document may cost: `file` in bytes, `text` in characters, `memory` in bytes.

    `memory` is address space and counts libraries, too: below 1 GiB they alone do not fit.
    """

    file: int = 64 << 20
    text: int = 64 << 20
    memory: int = 4 << 30
    seconds: float = 120.0


@dataclass(frozen=True, slots=True)
class _Order:
    source: Mapping[str, Any]
    path: Path
    id: str
    uri: str


class Parser:
    """Reads one document at a time; its process starts with the first."""

    def __init__(self, limits: Limits, *, ocr: Ocr = DEFAULT_OCR) -> None:
        self._limits = limits
        self._ocr = ocr
        self._turn = asyncio.Lock()
        self._process: ChildProcess[_Order, Document] | None = None

    async def read(self, source: Mapping[str, Any], path: Path, *, id_: str, uri: str) -> Document:
        """See `ingest.sources.load`.

        Raises:
            ReadError: the bytes cannot be read, or not within the limits.
        """
        async with self._turn:
            if self._process is None:
                self._process = await asyncio.to_thread(self._start)
            try:
                return await self._process.call(_Order(source, path, id_, uri))
            except TimeoutError as error:
                raise ReadError(
                    f"{path.name}: reading it took more than {self._limits.seconds:g} s. Split it,"
                    " or raise the setting reader.seconds.",
                    code="parser_timeout",
                ) from error
            except UpstreamError as error:
                if error.code != "process_died":  # it cannot be started, or is closed
                    raise
                raise ReadError(
                    f"{path.name}: the parser crashed on it, twice. It is damaged, or needs more"
                    f" than the {self._limits.memory >> 20} MiB of the setting reader.memory_mb.",
                    code="parser_crashed",
                ) from error

    def close(self) -> None:
        """Ends the process."""
        if self._process is not None:
            self._process.close()

    def _start(self) -> ChildProcess[_Order, Document]:
        return ChildProcess(
            partial(_reader, self._limits, self._ocr),
            name="parser",
            lanes=1,
            seconds=self._limits.seconds,
        )


def _reader(limits: Limits, ocr: Ocr) -> Callable[[_Order], Document]:
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    memory = limits.memory if hard == resource.RLIM_INFINITY else min(limits.memory, hard)
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def read(order: _Order) -> Document:
        try:
            with _ended_after(limits.seconds + _GRACE):
                document = load(
                    order.source,
                    order.path,
                    id_=order.id,
                    uri=order.uri,
                    max_bytes=limits.file,
                    ocr=ocr,
                )
        except MemoryError as error:
            raise ReadError(
                f"{order.path.name}: reading it takes more than {limits.memory >> 20} MiB of"
                " memory. Split it, or raise the setting reader.memory_mb.",
                code="too_large",
            ) from error
        if len(document.text) > limits.text:
            raise ReadError(
                f"{order.path.name}: holds more than {limits.text >> 20} million characters."
                " Split it, or raise the setting reader.text_mb.",
                code="too_large",
            )
        return document

    return read


@contextlib.contextmanager
def _ended_after(seconds: float) -> Iterator[None]:
    """Whoever keeps the time may be gone by then: the kernel keeps it, too, and ends us."""
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
