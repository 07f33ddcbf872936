"""The writer of the audit log, over a real catalog that is away, slow or full."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from rag.catalog.audit import Audit
from rag.catalog.sqlite_database import SqliteDatabase
from rag.errors import StorageError, UpstreamError
from rag.gateway import audit_log
from rag.gateway.audit_log import LOST, AuditLog, bounded, now_ms
from rag.records import SERVICE, AuditRow

pytestmark = pytest.mark.anyio


class Away(Audit):
    """A catalog that can be made to refuse rows."""

    away = False

    async def write(self, rows: list[AuditRow]) -> None:  # type: ignore[override]
        if self.away:
            raise StorageError("The disk is full.", code="disk_full")
        await super().write(rows)


@pytest.fixture
async def audit(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Away]:
    monkeypatch.setattr(audit_log, "RETRY_SECONDS", 0.02)
    database = SqliteDatabase(folder / "catalog.sqlite")
    await database.open()
    yield Away(database)
    await database.close()


def row(number: int, tenant: str = "acme") -> AuditRow:
    return AuditRow(
        id=f"{tenant}{number}", tenant=tenant, at_ms=now_ms(), action="document.read",
        object=str(number), outcome="success",
    )  # fmt: skip


async def objects(audit: Audit, tenant: str = "acme") -> list[str]:
    return [entry.row.object async for entry in audit.entries(tenant)]


def counted(outcome: str) -> float:
    return REGISTRY.get_sample_value("plumbline_audit_rows_total", {"outcome": outcome}) or 0.0


async def test_rows_are_written_in_their_order(audit: Away) -> None:
    log = AuditLog(audit)
    async with log.started():
        for number in range(1200):
            log.put(row(number))
            if not number % 300:
                await asyncio.sleep(0.01)
    assert await objects(audit) == [str(number) for number in range(1200)]
    assert not (await audit.verify("acme")).fault


async def test_a_row_that_is_waited_for_is_stored_with_those_before_it(audit: Away) -> None:
    log = AuditLog(audit)
    async with log.started():
        log.put(row(1))
        await log.write(row(2))
        assert await objects(audit) == ["1", "2"]


async def test_rows_wait_for_a_catalog_that_is_away(
    audit: Away, caplog: pytest.LogCaptureFixture
) -> None:
    log = AuditLog(audit)
    async with log.started():
        audit.away = True
        for number in range(3):
            log.put(row(number))
        await asyncio.sleep(0.3)
        assert await objects(audit) == []
        audit.away = False
        await log.flush()
        assert await objects(audit) == ["0", "1", "2"]
    failures = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert len(failures) == 1, "not one for each attempt"
    assert "disk is full" in failures[0].message
    assert "written again" in caplog.text


async def test_who_waits_for_a_row_gets_an_error_and_the_row_is_written_later(
    audit: Away, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_log, "WRITTEN_SECONDS", 0.2)
    log = AuditLog(audit)
    async with log.started():
        audit.away = True
        with pytest.raises(UpstreamError, match="This was done, but") as caught:
            await log.write(row(1))
        assert caught.value.code == "audit_unavailable"
        audit.away = False
        await log.flush()
        assert await objects(audit) == ["1"]


async def test_what_is_lost_is_counted_logged_and_in_the_log_itself(
    audit: Away, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(audit_log, "MAX_WAITING", 5)
    log, before = AuditLog(audit), counted("lost")
    async with log.started():
        audit.away = True
        for number in range(9):
            log.put(row(number))
        assert "loses rows" in caplog.text
        audit.away = False
        await log.flush()
    assert await objects(audit) == ["0", "1", "2", "3", "4"]
    [note] = [entry.row async for entry in audit.entries(SERVICE)]
    assert (note.action, note.object, note.outcome) == (LOST, "4", "failure")
    assert counted("lost") == before + 4


async def test_rows_that_cannot_be_written_at_the_end_are_counted(
    audit: Away, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(audit_log, "FLUSH_SECONDS", 0.1)
    log, before = AuditLog(audit), counted("lost")
    async with log.started():
        audit.away = True
        log.put(row(1))
    assert counted("lost") == before + 1
    assert "lost 1 rows" in caplog.text


async def test_old_rows_are_removed_by_tenant(audit: Away) -> None:
    log = AuditLog(audit)
    old = now_ms() - 10 * 86_400_000
    for tenant in ("acme", "rival", ""):
        await audit.write(
            [
                AuditRow(id=f"old{tenant}", tenant=tenant, at_ms=old, action="a", outcome="denied"),
                row(1, tenant),
            ]
        )
    async with log.expiring(30, {"acme": 5}):
        async with asyncio.timeout(30):
            oldest = await audit.entry("acme", 1)
            while oldest is not None:
                await asyncio.sleep(0.01)
                oldest = await audit.entry("acme", 1)
    assert [entry.number async for entry in audit.entries("acme")] == [2, 3]
    assert [entry.number async for entry in audit.entries("rival")] == [1, 2]
    for head in await audit.heads():
        assert not (await audit.verify(head.tenant)).fault


def test_text_of_callers_is_bounded_and_fits_any_database() -> None:
    assert bounded("a\0b\ud800") == "a\ufffdb?"
    assert len(bounded("x" * 10_000)) == 1024
