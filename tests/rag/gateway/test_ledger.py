"""The ledger's writer, charges, outliers and budgets over a real catalog."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import Any

import pytest

from generation.models.pricing import Prices
from rag.catalog.catalog import Catalog
from rag.catalog.usage import Period
from rag.errors import QuotaExceededError, UpstreamError
from rag.gateway import ledger as ledgers
from rag.gateway.accounts import Accounts, Outliers
from rag.gateway.budgets import FRESH_SECONDS, Budget, Budgets, BudgetsOf, next_start, start_of
from rag.gateway.charges import charge_of
from rag.gateway.ledger import Ledger
from rag.gateway.limits import Limiter, Tiers
from rag.records import LedgerRow
from rag.telemetry import instruments
from rag.types import Principal, Usage

pytestmark = pytest.mark.anyio
CALLER = Principal(tenant="acme", subject="jane", key_id="k1")
SPENT = Usage(input_tokens=100, output_tokens=10, cost=2.0)
ALL = Period(tenant=None, since=0, until=1e12)


async def sums(catalog: Catalog, *by: Any) -> list[dict[str, Any]]:
    return await catalog.usage.sums(ALL, by)


def counted(name: str) -> float:
    """Returns the counter of rows with this outcome."""
    value: float = instruments.usage_rows.labels(name)._value.get()
    return value


class TestLedger:
    async def test_a_charge_is_open_while_it_runs_and_closed_once(self, catalog: Catalog) -> None:
        ledger = Ledger(catalog.usage)
        async with ledger.started():
            charge = charge_of(ledger, "acme", key_id="k1", subject="jane")
            charge.begin("ask")
            charge.begin("ask")
            await ledger.flush()
            (found,) = await sums(catalog, "outcome", "key", "subject")
            assert (found["outcome"], found["key"], found["subject"]) == ("open", "k1", "jane")
            charge.spend("small", SPENT)
            charge.spend("large", replace(SPENT, cost=5.0))
            charge.spend("small", SPENT)
            charge.end("ok", trace_id="t")
            charge.end("failed")
            await ledger.flush()
        groups = await sums(catalog, "model", "outcome")
        assert [(s["model"], s["outcome"], s["requests"], s["cost"]) for s in groups] == [
            *(("large", "ok", 0, 5.0), ("small", "ok", 1, 4.0))
        ]

    async def test_work_that_used_no_model_has_a_row(self, catalog: Catalog) -> None:
        ledger = Ledger(catalog.usage)
        async with ledger.started():
            with charge_of(ledger, "acme").working("embed"):
                pass
            with pytest.raises(RuntimeError), charge_of(ledger, "acme").working("embed"):
                raise RuntimeError
        outcomes = await sums(catalog, "outcome")
        assert {s["outcome"]: s["requests"] for s in outcomes} == {"ok": 1, "failed": 1}

    async def test_work_that_never_began_has_none(self, catalog: Catalog) -> None:
        ledger = Ledger(catalog.usage)
        async with ledger.started():
            charge = charge_of(ledger, "acme")
            charge.end("ok")
            await ledger.flush()
        assert await sums(catalog, "outcome") == []

    async def test_rows_wait_while_the_catalog_is_away(
        self, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ledgers, "RETRY_SECONDS", 0.01)
        write, failures = catalog.usage.write, 3

        async def failing(rows: Any) -> None:
            nonlocal failures
            failures -= 1
            if failures >= 0:
                raise UpstreamError("PostgreSQL is away.")
            await write(rows)

        monkeypatch.setattr(catalog.usage, "write", failing)
        ledger = Ledger(catalog.usage)
        async with ledger.started():
            charges = [charge_of(ledger, "acme") for _ in range(50)]
            for charge in charges:
                charge.begin("ask")
                await asyncio.sleep(0.001)
                charge.end("ok")
            await ledger.flush()
        assert (await sums(catalog, "outcome"))[0]["requests"] == 50
        assert failures < 0

    async def test_what_does_not_fit_is_counted_and_logged(
        self,
        catalog: Catalog,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        monkeypatch.setattr(ledgers, "MAX_WAITING", 5)
        ledger, before = Ledger(catalog.usage), counted("lost")
        for _ in range(8):
            charge_of(ledger, "acme").begin("ask")
        assert counted("lost") == before + 3
        assert [r.levelno for r in caplog.records] == [logging.ERROR]
        assert "The ledger loses rows" in caplog.text

    async def test_the_next_process_says_what_a_killed_one_left(
        self, catalog: Catalog, caplog: pytest.LogCaptureFixture
    ) -> None:
        dead = Ledger(catalog.usage)
        await catalog.usage.begin_writer(dead.writer)
        row = LedgerRow(id="a", writer=dead.writer, tenant="acme", feature="ask", started_at=1.0)
        await catalog.usage.write([row])
        before = counted("interrupted")
        async with Ledger(catalog.usage).started():
            (found,) = await sums(catalog, "outcome")
        assert (found["outcome"], found["interrupted"]) == ("interrupted", 1)
        assert counted("interrupted") == before + 1
        assert "died while it wrote the ledger: what 1 requests used" in caplog.text
        assert "Those that began in its last moment may have no row" in caplog.text


class TestBudgets:
    def budgets(self, catalog: Catalog, **of: Any) -> tuple[Budgets, list[float]]:
        now = [1_760_000_000.0]  # 2025-10-09, 08:53 UTC
        made = BudgetsOf(**{"tenants": {}, "keys": {}, **of})
        return Budgets(catalog.usage, made, clock=lambda: now[0]), now

    async def test_each_of_tenant_and_key_has_its_own(self, catalog: Catalog) -> None:
        budgets, _ = self.budgets(
            catalog, tenant=Budget(day=10), keys={"k1": Budget(month=4, soft=0.5)}
        )
        assert await budgets.check(CALLER) == {}
        budgets.add(CALLER, 2.0)
        (warning,) = (await budgets.check(CALLER)).values()
        assert warning.startswith('"key-month";used=0.500;t=')
        budgets.add(CALLER, 2.0)
        with pytest.raises(QuotaExceededError, match=r"budget key-month of 4\.00 is spent"):
            await budgets.check(CALLER)
        other = Principal(tenant="acme", key_id="k2")
        assert await budgets.check(other) == {}
        budgets.add(other, 6.0)
        with pytest.raises(QuotaExceededError, match="tenant-day"):
            await budgets.check(other)
        assert await budgets.check(Principal(tenant="globex")) == {}

    async def test_it_begins_anew_with_the_day(self, catalog: Catalog) -> None:
        budgets, now = self.budgets(catalog, tenant=Budget(day=1))
        await budgets.check(CALLER)
        budgets.add(CALLER, 1.0)
        with pytest.raises(QuotaExceededError) as refused:
            await budgets.check(CALLER)
        now[0] += (refused.value.retry_after or 0) - 1
        with pytest.raises(QuotaExceededError):
            await budgets.check(CALLER)
        now[0] += 1
        assert await budgets.check(CALLER) == {}

    async def test_what_was_spent_before_the_start_and_elsewhere_counts(
        self, catalog: Catalog
    ) -> None:
        budgets, now = self.budgets(catalog, tenant=Budget(day=5))
        row = LedgerRow(
            id="a", writer="w", tenant="acme", feature="ask", outcome="ok", cost=4.5,
            started_at=now[0],
        )  # fmt: skip
        await catalog.usage.write([row])
        assert "X-Budget" in await budgets.check(CALLER)
        await catalog.usage.write([replace(row, id="b")])
        now[0] += FRESH_SECONDS
        with pytest.raises(QuotaExceededError):
            await budgets.check(CALLER)
        lower, _ = self.budgets(catalog, tenant=Budget(day=1))  # at the next start
        with pytest.raises(QuotaExceededError):
            await lower.check(CALLER)

    async def test_a_budget_of_zero_allows_nothing(self, catalog: Catalog) -> None:
        budgets, _ = self.budgets(catalog, tenant=Budget(month=0))
        with pytest.raises(QuotaExceededError):
            await budgets.check(CALLER)

    def test_windows_are_those_of_utc(self) -> None:
        now = 1_735_689_599.0  # 2024-12-31, 23:59:59
        assert start_of("day", now) == now + 1 - 86_400
        assert next_start("day", now) == next_start("month", now) == now + 1
        assert start_of("month", now) == now + 1 - 31 * 86_400
        leap = 1_706_745_600.0  # 2024-02-01
        assert next_start("month", leap) == leap + 29 * 86_400


class TestOutliers:
    def test_one_is_many_times_the_median_of_its_tenant(self) -> None:
        outliers = Outliers(10)
        assert not outliers.is_one("acme", 1000.0)  # nothing to compare with yet
        for _ in range(50):
            assert not outliers.is_one("acme", 1.0)
        assert not outliers.is_one("acme", 9.0)
        assert outliers.is_one("acme", 11.0)
        assert not outliers.is_one("acme", 0.0)
        assert not outliers.is_one("globex", 11.0)

    async def test_it_is_in_the_log_and_in_the_ledger(
        self, catalog: Catalog, caplog: pytest.LogCaptureFixture
    ) -> None:
        ledger = Ledger(catalog.usage)
        accounts = Accounts(
            limiter=Limiter(Tiers(tenants={}, keys={})),
            ledger=ledger,
            budgets=Budgets(catalog.usage, BudgetsOf(tenants={}, keys={})),
            outliers=Outliers(10),
        )
        async with ledger.started():
            for cost in [1.0] * 40 + [99.0]:
                account = await accounts.open(CALLER)
                account.begin("ask")
                account.spend("tiny", Usage(cost=cost))
                account.end("ok", trace_id=f"trace {cost}")
                account.close()
        assert "cost 99.0000, many times the usual: trace trace 99.0" in caplog.text
        (outlier,) = await catalog.usage.outliers(ALL)
        assert (outlier.cost, outlier.key_id) == (99.0, "k1")


class TestPrices:
    def test_cached_tokens_have_a_price_of_their_own(self) -> None:
        usage = Usage(input_tokens=1_000_000, output_tokens=500_000, cached_tokens=400_000)
        assert Prices(input=3.0, output=10.0).priced(usage).cost == 8.0
        assert Prices(input=3.0, output=10.0, cached=0.5).priced(usage).cost == 7.0

    def test_a_gpu_costs_the_time_that_it_writes(self) -> None:
        prices = Prices(gpu_hour=3.6, tokens_per_second=2000)
        priced = prices.priced(Usage(input_tokens=5000, output_tokens=4000))
        assert priced.gpu_seconds == 2.0
        assert priced.cost == pytest.approx(0.002)
