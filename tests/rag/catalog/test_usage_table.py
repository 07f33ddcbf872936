"""The ledger in both kinds of catalog."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from rag.catalog.catalog import Catalog
from rag.catalog.usage import MAX_OUTLIERS, Period
from rag.records import LedgerRow

pytestmark = pytest.mark.anyio
DAY = 86_400.0


def row(id_: str, **fields: Any) -> LedgerRow:
    defaults = LedgerRow(
        id=id_,
        writer="w1",
        tenant="acme",
        key_id="k1",
        subject="jane",
        feature="ask",
        model="tiny",
        outcome="ok",
        input_tokens=100,
        output_tokens=10,
        cost=0.5,
        started_at=time.time(),
    )
    return replace(defaults, **fields)


def period(tenant: str | None = "acme", key_id: str | None = None) -> Period:
    return Period(tenant=tenant, key_id=key_id, since=0, until=time.time() + 1)


async def test_a_row_written_twice_counts_once_and_a_closed_one_stays_closed(
    catalog: Catalog,
) -> None:
    opened = row("a", outcome="open", input_tokens=0, output_tokens=0, cost=0.0)
    await catalog.usage.write([opened])
    await catalog.usage.write([row("a"), row("b")])
    await catalog.usage.write([row("a"), opened])
    (found,) = await catalog.usage.sums(period(), [])
    assert found == {
        "requests": 2, "interrupted": 0, "estimated": 0, "input_tokens": 200, "output_tokens": 20,
        "cached_tokens": 0, "gpu_seconds": 0, "cost": 1.0,
    }  # fmt: skip


async def test_sums_are_of_one_tenant_or_key_and_by_group(catalog: Catalog) -> None:
    day = 20_000 * DAY
    await catalog.usage.write(
        [
            row("a", started_at=day),
            row("a", part=1, model="large", started_at=day, cost=2.0),
            row("b", key_id="k2", outcome="interrupted", started_at=day + DAY - 1),
            row("c", feature="embed", started_at=day + DAY, estimated=True),
            row("d", tenant="globex", started_at=day),
        ]
    )
    by_model = await catalog.usage.sums(period(), ["model", "feature"])
    assert [(s["model"], s["feature"], s["requests"], s["cost"]) for s in by_model] == [
        *(("large", "ask", 0, 2.0), ("tiny", "ask", 2, 1.0), ("tiny", "embed", 1, 0.5))
    ]
    days = await catalog.usage.sums(period(), ["day"])
    assert [(s["day"], s["requests"]) for s in days] == [("2024-10-04", 2), ("2024-10-05", 1)]
    (of_key,) = await catalog.usage.sums(period(key_id="k2"), ["key"])
    assert (of_key["key"], of_key["requests"], of_key["interrupted"]) == ("k2", 1, 1)
    tenants = await catalog.usage.sums(period(None), ["tenant"])
    assert {s["tenant"]: s["requests"] for s in tenants} == {"acme": 3, "globex": 1}
    assert await catalog.usage.spent("acme", None, since=day) == 3.5
    assert await catalog.usage.spent("acme", "k2", since=day) == 0.5
    assert await catalog.usage.spent("acme", None, since=day + DAY) == 0.5
    assert await catalog.usage.spent("nobody", None, since=0) == 0.0
    assert await catalog.usage.sums(period("nobody"), []) == []


async def test_rows_that_a_dead_writer_left_open_are_interrupted(catalog: Catalog) -> None:
    for writer in ("dead", "alive"):
        await catalog.usage.begin_writer(writer)
        await catalog.usage.write(
            [row(f"{writer} {n}", writer=writer, outcome="open") for n in "ab"]
        )
    await catalog.usage.write([row("dead a", writer="dead")])
    async with catalog.usage.writing("alive"):
        assert await catalog.usage.end_dead_writers() == {"dead": 1}
        assert await catalog.usage.end_dead_writers() == {}
    outcomes = await catalog.usage.sums(period(), ["outcome"])
    assert {s["outcome"]: s["requests"] for s in outcomes} == {"ok": 1, "interrupted": 1, "open": 2}


async def test_outliers_are_the_latest_and_bounded(catalog: Catalog) -> None:
    now = time.time() - 1000
    await catalog.usage.write([row(str(n), outlier=True, started_at=now + n) for n in range(30)])
    found = await catalog.usage.outliers(period())
    assert [each.id for each in found] == [str(29 - n) for n in range(MAX_OUTLIERS)]
    assert await catalog.usage.outliers(period("globex")) == []
