from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from rag.catalog import tables
from rag.catalog.catalog import Catalog
from rag.catalog.database import Database
from rag.catalog.jobs import FEW_FAILURES, MAX_LISTED_FAILURES
from rag.errors import NotFoundError
from rag.records import JobRecord
from rag.types import Scope
from rag.types.acl import readers_of
from tests.catalogs import document, store, submission, submit, succeed

pytestmark = pytest.mark.anyio


async def test_a_long_job_is_retried_in_no_time(catalog: Catalog, scope: Scope) -> None:
    job = await catalog.jobs.submit(scope, [submission(str(n)) for n in range(10_000)])
    [first] = await catalog.tasks.claim(1)
    await catalog.outcomes.fail(first, "Broken.")
    async with asyncio.timeout(60):  # in the square of its documents it would take hours
        assert (await catalog.jobs.retry(scope.tenant, job)).counts == {"pending": 10_000}


async def test_retrying_a_job_takes_up_what_failed_and_nothing_else(
    catalog: Catalog, scope: Scope
) -> None:
    job, [good, bad, mended] = await submit(catalog, scope, "good", "bad", "mended")
    await succeed(catalog, good)
    await catalog.outcomes.fail(bad, "Broken.")
    await catalog.outcomes.fail(mended, "Broken.")
    await store(catalog, scope, "mended")  # by another job since
    record = await catalog.jobs.retry(scope.tenant, job)
    assert record.counts == {"succeeded": 1, "pending": 1, "failed": 1}
    assert [task.document_id for task in await catalog.tasks.claim(9)] == ["bad"]
    with pytest.raises(NotFoundError, match="no job 'x'"):
        await catalog.jobs.retry(scope.tenant, "x")


async def test_cancelling_ends_what_has_not_begun(catalog: Catalog, scope: Scope) -> None:
    job = await catalog.jobs.submit(scope, [submission(name) for name in "abc"])
    [running] = await catalog.tasks.claim(1)
    record = await catalog.jobs.cancel(scope.tenant, job)
    assert (record.state, record.counts) == ("running", {"running": 1, "cancelled": 2})
    assert await catalog.tasks.claim(9) == []
    assert (await catalog.documents.get(scope, "b")).state == "cancelled"
    await succeed(catalog, running)
    assert (await catalog.jobs.get(scope.tenant, job)).state == "cancelled"
    assert (await catalog.documents.get(scope, "a")).state == "succeeded"


async def test_cancelling_does_not_deadlock_with_what_begins(
    catalog: Catalog, database: Database, scope: Scope
) -> None:
    job = await catalog.jobs.submit(scope, [submission("a")])
    async with database.write() as db:
        await db.execute(tables.tasks.update().values(state="running"))
        cancelling = asyncio.create_task(catalog.jobs.cancel(scope.tenant, job))
        await asyncio.sleep(0.3)
        await db.execute(tables.documents.update().values(state="running"))
    assert (await cancelling).counts == {"running": 1}


async def test_cancelling_leaves_documents_that_another_job_waits_for(
    catalog: Catalog, scope: Scope
) -> None:
    first = await catalog.jobs.submit(scope, [submission("a")])
    await catalog.jobs.submit(scope, [submission("a")])
    await catalog.jobs.cancel(scope.tenant, first)
    assert (await catalog.documents.get(scope, "a")).state == "pending"
    assert len(await catalog.tasks.claim(9)) == 1


async def test_cancelling_keeps_what_is_stored_of_a_document(
    catalog: Catalog, scope: Scope
) -> None:
    await store(catalog, scope, "a")
    job = await catalog.jobs.submit(scope, [submission("a")])
    await catalog.jobs.cancel(scope.tenant, job)
    record = await catalog.documents.get(scope, "a")
    assert (record.state, record.chunks) == ("cancelled", 3)
    assert await catalog.documents.text(scope, "a") == "text"


async def test_cancelling_a_job_that_has_ended_changes_nothing(
    catalog: Catalog, scope: Scope
) -> None:
    job, [task] = await submit(catalog, scope, "a")
    await succeed(catalog, task)
    assert (await catalog.jobs.cancel(scope.tenant, job)).state == "succeeded"


async def test_an_unknown_job_is_an_error(catalog: Catalog) -> None:
    for call in (catalog.jobs.get, catalog.jobs.cancel):
        with pytest.raises(NotFoundError, match="no job 'x'"):
            await call("acme", "x")


@pytest.mark.parametrize(
    ("outcomes", "state"),
    [
        ("", "succeeded"),
        ("ss", "succeeded"),
        ("su", "succeeded"),
        ("ff", "failed"),
        ("sf", "partial"),
        ("uf", "partial"),
    ],
)
async def test_the_state_of_a_job_follows_from_its_documents(
    catalog: Catalog, scope: Scope, outcomes: str, state: str
) -> None:
    job, tasks = await submit(catalog, scope, *(f"d{i}" for i in range(len(outcomes))))
    for task, outcome in zip(tasks, outcomes, strict=True):
        assert (await catalog.jobs.get(scope.tenant, job)).state == "running"
        match outcome:
            case "s":
                await succeed(catalog, task)
            case "u":
                await catalog.outcomes.unchanged(task, document(task.document_id))
            case _:
                await catalog.outcomes.fail(task, "no text")
    assert (await catalog.jobs.get(scope.tenant, job)).state == state


async def test_a_job_names_its_first_failures_and_counts_all(
    catalog: Catalog, scope: Scope
) -> None:
    await catalog.collections.claim(scope, "e")
    names = [f"d{i:03}" for i in range(MAX_LISTED_FAILURES + 5)]
    job = await catalog.jobs.submit(scope, [submission(name) for name in names])
    for task in await catalog.tasks.claim(len(names)):
        await catalog.outcomes.fail(task, f"{task.document_id} is no text")
    record = await catalog.jobs.get(scope.tenant, job)
    assert record.counts == {"failed": len(names)}
    assert len(record.failures) == MAX_LISTED_FAILURES
    assert dict(record.failures[0]) == {
        "document_id": "d000",
        "uri": "file:///d000",
        "error": "d000 is no text",
    }
    assert record.error == "d000 is no text"


async def test_a_job_counts_its_outcomes_by_kind(catalog: Catalog, scope: Scope) -> None:
    job, tasks = await submit(catalog, scope, "a", "b", "c")
    await succeed(catalog, tasks[0])
    await succeed(catalog, tasks[1], duplicate_of="a")
    await catalog.outcomes.unchanged(tasks[2], document("c"))
    outcomes = (await catalog.jobs.get(scope.tenant, job)).outcomes
    assert outcomes == {"stored": 1, "duplicate": 1, "unchanged": 1}


# Tenants


async def test_a_job_of_another_tenant_is_not_found(catalog: Catalog, scope: Scope) -> None:
    job = await catalog.jobs.submit(scope, [submission(name, spool=name) for name in "abc"])
    first, *_ = await catalog.tasks.claim(1)
    await catalog.outcomes.fail(first, "Broken.")
    before = await catalog.jobs.get(scope.tenant, job)
    for call in (catalog.jobs.get, catalog.jobs.cancel, catalog.jobs.retry):
        with pytest.raises(NotFoundError, match=f"no job '{job}'") as caught:
            await call("rival", job)
        assert caught.value.code == "unknown_job"
    assert await catalog.jobs.get(scope.tenant, job) == before
    assert (await catalog.jobs.cancel(scope.tenant, job)).counts == {"failed": 1, "cancelled": 2}
    assert await catalog.jobs.cancelled("rival", job) == set()
    assert await catalog.jobs.cancelled(scope.tenant, job) == {"b", "c"}


async def test_a_document_of_two_tenants_is_ingested_for_each_on_its_own(
    catalog: Catalog, scope: Scope
) -> None:
    theirs = replace(scope, tenant="rival")
    job = await catalog.jobs.submit(scope, [submission("a", spool="ours")])
    their_job = await catalog.jobs.submit(theirs, [submission("a", spool="theirs")])
    ours, other = await catalog.tasks.claim(9)  # of both tenants
    assert (ours.scope, other.scope) == (scope, theirs)
    assert (await catalog.jobs.backlog()).groups[0].tasks == 2
    await catalog.outcomes.fail(other, "Broken.")
    await succeed(catalog, ours)
    assert await catalog.documents.spooled(scope, ["a"]) == set()
    assert await catalog.documents.spooled(theirs, ["a"]) == {"theirs"}
    assert await catalog.documents.all_spooled() == {"theirs"}
    assert (await catalog.jobs.retry("rival", their_job)).state == "pending"
    assert (await catalog.documents.get(theirs, "a")).state == "pending"
    assert (await catalog.documents.get(scope, "a")).state == "succeeded"
    await catalog.jobs.cancel("rival", their_job)
    assert (await catalog.documents.get(scope, "a")).state == "succeeded"
    assert (await catalog.jobs.get(scope.tenant, job)).counts == {"succeeded": 1}


async def test_pages_of_jobs_are_newest_first_and_as_each_job_is(
    catalog: Catalog, scope: Scope
) -> None:
    made = [(await submit(catalog, scope, f"a{n}", f"b{n}"))[0] for n in range(5)]
    other = replace(scope, tenant="rival")
    await catalog.jobs.submit(other, [submission("x")])
    found: list[JobRecord] = []
    after = None
    while True:
        page = await catalog.jobs.page(scope.tenant, limit=2, after=after)
        found += page.jobs
        if (after := page.after) is None:
            break
    assert {job.id for job in found} == set(made)
    times = [(job.created_at, job.id) for job in found]
    assert times == sorted(times, reverse=True)
    assert found == [await catalog.jobs.get(scope.tenant, job.id) for job in found]
    assert (await catalog.jobs.page("nobody", limit=2)) == ([], None)


async def test_jobs_of_a_page_are_chosen_by_state_collection_and_sender(
    catalog: Catalog, scope: Scope
) -> None:
    done, [task] = await submit(catalog, scope, "done")
    await succeed(catalog, task)
    bad, tasks_of_bad = await submit(catalog, scope, *(f"f{n}" for n in range(FEW_FAILURES + 2)))
    for task in tasks_of_bad:
        await catalog.outcomes.fail(task, "Broken.")
    anna = replace(scope, collection="plans", readers=readers_of(subject="anna"))
    theirs = await catalog.jobs.submit(anna, [submission("waits")])

    async def ids(**chosen: Any) -> set[str]:
        return {job.id for job in (await catalog.jobs.page(scope.tenant, limit=9, **chosen)).jobs}

    assert await ids() == {done, bad, theirs}
    assert await ids(state="succeeded") == {done}
    assert await ids(state="pending") == {theirs}
    assert await ids(state="running") == await ids(state="partial") == set()
    assert await ids(within={"plans"}) == {theirs}
    assert await ids(within=()) == set()
    assert await ids(readers=anna.readers) == {theirs}
    assert await ids(readers=readers_of(subject="bert")) == set()
    [failed] = (await catalog.jobs.page(scope.tenant, limit=9, state="failed")).jobs
    assert failed.counts == {"failed": FEW_FAILURES + 2}
    assert [each["document_id"] for each in failed.failures] == ["f0", "f1", "f2"]


async def test_a_page_of_one_state_looks_at_a_bounded_number_of_jobs(
    catalog: Catalog, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rag.catalog.jobs.LOOKED_AT", 3)
    bad, [task] = await submit(catalog, scope, "bad")
    await catalog.outcomes.fail(task, "Broken.")
    mixed, [task, other] = await submit(catalog, scope, "poor", "fair")
    await catalog.outcomes.fail(task, "Broken.")
    await succeed(catalog, other)
    for n in range(5):
        _, [task] = await submit(catalog, scope, f"good{n}")
        await succeed(catalog, task)
    first = await catalog.jobs.page(scope.tenant, limit=1, state="partial")
    assert not first.jobs
    assert first.after
    second = await catalog.jobs.page(scope.tenant, limit=1, state="partial", after=first.after)
    assert [job.id for job in second.jobs] == [mixed]
    some = await catalog.jobs.page(scope.tenant, limit=2, state="succeeded")
    rest = await catalog.jobs.page(scope.tenant, limit=2, state="succeeded", after=some.after)
    assert len({job.id for job in (*some.jobs, *rest.jobs)}) == 4
    failed = await catalog.jobs.page(scope.tenant, limit=1, state="failed")  # found at once
    assert ([job.id for job in failed.jobs], failed.after) == ([bad], None)
