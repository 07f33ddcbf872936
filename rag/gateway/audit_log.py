"""Writes the audit log in the background, or at once where a response waits for it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping
from uuid import uuid4

from rag.catalog.audit import CHECKPOINT, Audit
from rag.errors import RagError, UpstreamError, for_log
from rag.process.background import running
from rag.records import SERVICE, AuditOutcome, AuditRow
from rag.telemetry import metrics

MAX_WAITING = 10_000
"""Rows that may wait for the catalog; further ones are lost, counted and logged."""
AT_ONCE = 500
"""Rows in one transaction."""
GATHER_SECONDS = 0.1
"""Seconds in which rows that nobody waits for are gathered."""
RETRY_SECONDS = 1.0
WRITTEN_SECONDS = 5.0
"""Seconds that a response waits for a row without which it is not sent."""
SETTLED_SECONDS = 1.0
"""Seconds that the end of any other response waits for its row."""
FLUSH_SECONDS = 10.0
"""Seconds at the end for the rows that still wait."""
TIDY_SECONDS = 3600.0
LOST = "audit.lost"
"""The action of a row that says how many rows before it were lost."""
_DAY_MS = 86_400_000
_CHARS = 1024
"""Characters of a field: ids may be long, and come from callers."""
_log = logging.getLogger(__name__)


class AuditLog:
    """Takes rows in the order of their ends, and writes them in this order."""

    def __init__(self, audit: Audit, *, operator: str = "") -> None:
        """Takes the person who runs a command on this host: the subject of rows without one."""
        self._audit = audit
        self.operator = operator
        self._waiting: deque[AuditRow] = deque()
        self._written: dict[str, asyncio.Future[None]] = {}
        self._wake, self._hurry, self._empty = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._lost = 0
        self._is_down = False

    def put(self, row: AuditRow) -> None:
        """Takes a row; returns at once. It is lost if too many wait."""
        if len(self._waiting) >= MAX_WAITING:
            if not self._lost:
                _log.error(
                    "The audit log loses rows: %d wait already, and the catalog does not take"
                    " them.",
                    MAX_WAITING,
                )
            self._lost += 1
            metrics.audit_rows("lost", 1)
            return
        self._waiting.append(row)
        self._empty.clear()
        self._wake.set()

    async def write(self, row: AuditRow) -> None:
        """Takes a row, and returns once it is stored.

        Raises:
            UpstreamError: It is not stored yet: the catalog does not answer. It still waits, unless
                too many do.
        """
        if not await self._stored(row, seconds=WRITTEN_SECONDS):
            raise UpstreamError(
                "This was done, but the audit log cannot be written, so no result is given. Is the"
                " catalog there? Look before you repeat it.",
                code="audit_unavailable",
            )

    async def settle(self, row: AuditRow) -> None:
        """Takes a row, and returns once it is stored, or after `SETTLED_SECONDS`."""
        await self._stored(row, seconds=SETTLED_SECONDS)

    async def _stored(self, row: AuditRow, *, seconds: float) -> bool:
        stored = self._written[row.id] = asyncio.get_running_loop().create_future()
        self.put(row)
        self._hurry.set()
        try:
            async with asyncio.timeout(seconds):
                await stored
        except TimeoutError:
            return False
        finally:
            self._written.pop(row.id, None)
        return True

    async def flush(self) -> None:
        """Returns once everything that was taken is stored."""
        self._hurry.set()
        if self._waiting:
            await self._empty.wait()

    @contextlib.asynccontextmanager
    async def started(self) -> AsyncIterator[None]:
        """Writes what is taken until the end of the block, and then what still waits."""
        try:
            async with running(self._run()):
                try:
                    yield
                finally:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(FLUSH_SECONDS):
                            await self.flush()
        finally:
            if left := len(self._waiting):
                metrics.audit_rows("lost", left)
                _log.error("The audit log lost %d rows: the catalog did not take them.", left)

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(GATHER_SECONDS):
                    await self._hurry.wait()
            self._wake.clear()
            self._hurry.clear()
            while self._waiting:
                await self._write_first()
            self._empty.set()

    async def _write_first(self) -> None:
        """Writes the rows that have waited longest, or tries again later."""
        if lost := self._lost:
            self._waiting.append(_note(SERVICE, LOST, str(lost), "failure"))
            self._lost -= lost
        rows = list(itertools.islice(self._waiting, AT_ONCE))
        try:
            await self._audit.write(rows)
        except Exception as error:  # noqa: BLE001 - later rows must still be written
            if not self._is_down:
                text, trace = for_log(error)
                _log.error("The audit log is not written yet: %s", text, exc_info=trace)
            self._is_down = True
            await asyncio.sleep(RETRY_SECONDS)
            return
        if self._is_down:
            self._is_down = False
            _log.warning("The audit log is written again.")
        metrics.audit_rows("written", len(rows))
        for row in rows:
            self._waiting.popleft()
            stored = self._written.get(row.id)
            if stored is not None and not stored.done():
                stored.set_result(None)

    @contextlib.asynccontextmanager
    async def expiring(self, days: float, of_tenants: Mapping[str, float]) -> AsyncIterator[None]:
        """Removes the rows that are older than so many days until the end of the block."""
        async with running(self._expire_regularly(days, of_tenants)):
            yield

    async def _expire_regularly(self, days: float, of_tenants: Mapping[str, float]) -> None:
        while True:
            try:
                for head in await self._audit.heads():
                    kept = of_tenants.get(head.tenant, days)
                    await self.expire(head.tenant, days=kept)
            except RagError as error:
                _log.error("Old rows of the audit log are not removed: %s", error.in_full())
            await asyncio.sleep(TIDY_SECONDS)

    async def expire(self, tenant: str, *, days: float) -> int:
        """Removes a tenant's rows that are older than so many days; returns their number."""
        before = now_ms() - int(days * _DAY_MS)
        note = _note(tenant, CHECKPOINT, "", "success")
        return await self._audit.expire(tenant, before_ms=before, note=note)


def now_ms() -> int:
    """Returns the time in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def bounded(text: str) -> str:
    """Returns text that a caller sent, short enough and without what no database takes."""
    sendable = text[:_CHARS].encode(errors="replace").decode()
    return sendable.replace("\0", "\ufffd")


def _note(tenant: str, action: str, object_: str, outcome: AuditOutcome) -> AuditRow:
    return AuditRow(
        id=uuid4().hex,
        tenant=tenant,
        at_ms=now_ms(),
        action=action,
        object=object_,
        outcome=outcome,
        subject="service",
    )
