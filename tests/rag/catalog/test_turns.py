"""Tenants take turns in the queue, on each database."""

from __future__ import annotations

import time

import pytest

from rag.catalog.catalog import Catalog
from rag.types import Scope
from tests.catalogs import submission

pytestmark = pytest.mark.anyio
ACME = Scope(tenant="acme", collection="default")
RIVAL = Scope(tenant="rival", collection="default")


async def submit(catalog: Catalog, scope: Scope, count: int, *, bulk: bool = False) -> str:
    names = [f"{scope.tenant[0]}{n}" for n in range(count)]
    return await catalog.jobs.submit(scope, [submission(name) for name in names], bulk=bulk)


async def claimed(catalog: Catalog, limit: int) -> list[str]:
    return [task.document_id for task in await catalog.tasks.claim(limit, bulk=limit)]


@pytest.mark.parametrize("bulk", [False, True])
async def test_one_document_waits_for_no_other_tenant_s_thousands(
    catalog: Catalog, bulk: bool
) -> None:
    await submit(catalog, ACME, 2000, bulk=bulk)
    assert await claimed(catalog, 3) == ["a0", "a1", "a2"]
    await submit(catalog, RIVAL, 1, bulk=bulk)
    assert sorted(await claimed(catalog, 2)) == ["a3", "r0"]


async def test_many_of_each_alternate_however_they_are_sent(catalog: Catalog) -> None:
    for _ in range(5):
        await submit(catalog, ACME, 4)
    await submit(catalog, RIVAL, 6)
    found = await claimed(catalog, 12)
    for n in range(0, 12, 2):
        assert {name[0] for name in found[n : n + 2]} == {"a", "r"}
    assert [name for name in found if name.startswith("r")] == [f"r{n}" for n in range(6)]


async def test_a_third_tenant_gets_a_third(catalog: Catalog) -> None:
    await submit(catalog, ACME, 9)
    await submit(catalog, RIVAL, 9)
    await claimed(catalog, 6)
    await submit(catalog, Scope(tenant="third", collection="default"), 9)
    assert sorted(name[0] for name in await claimed(catalog, 9)) == [*"aaarrrttt"]


async def test_within_a_tenant_the_oldest_comes_first(catalog: Catalog) -> None:
    await submit(catalog, ACME, 3)
    await submit(catalog, RIVAL, 3)
    await catalog.jobs.submit(ACME, [submission("last")])
    found = [name for name in await claimed(catalog, 9) if not name.startswith("r")]
    assert found == ["a0", "a1", "a2", "last"]


async def test_a_time_without_tasks_earns_no_credit(catalog: Catalog) -> None:
    await submit(catalog, ACME, 100)
    await claimed(catalog, 90)
    await submit(catalog, RIVAL, 20)
    assert sorted(name[0] for name in await claimed(catalog, 8)) == [*"aaaarrrr"]


async def test_retried_tasks_take_turns_too(catalog: Catalog) -> None:
    await catalog.collections.claim(ACME, "embedder-1")
    job = await submit(catalog, ACME, 30)
    for task in await catalog.tasks.claim(30):
        await catalog.outcomes.fail(task, "no")
    await submit(catalog, RIVAL, 30)
    await claimed(catalog, 10)
    await catalog.jobs.retry(ACME.tenant, job)
    assert sorted(name[0] for name in await claimed(catalog, 8)) == [*"aaaarrrr"]


async def test_a_task_that_waits_for_another_try_holds_nobody_s_turn_back(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    await catalog.collections.claim(ACME, "embedder-1")
    await submit(catalog, ACME, 50)
    [first] = await catalog.tasks.claim(1)
    await catalog.tasks.postpone(first, "Not now.", seconds=30)
    await claimed(catalog, 20)
    await submit(catalog, RIVAL, 20)
    assert sorted(name[0] for name in await claimed(catalog, 6)) == [*"aaarrr"]
    now = time.time()
    monkeypatch.setattr("time.time", lambda: now + 31)
    assert (await claimed(catalog, 1)) == ["a0"]


async def test_the_outbox_takes_turns_and_is_read_by_queue(catalog: Catalog) -> None:
    await submit(catalog, ACME, 20)
    await submit(catalog, ACME, 20, bulk=True)
    await submit(catalog, RIVAL, 2)
    async with catalog.tasks.outbox(4, ("parse", False)) as due:
        found = await catalog.tasks.get([task.id for task in due])
    assert sorted(task.document_id[0] for task in found) == [*"aarr"]
    async with catalog.tasks.outbox(4, ("embed", False)) as due:
        assert due == []
    async with catalog.tasks.outbox(99, ("parse", True)) as due:
        assert len(due) == 20
