"""Runners of batches, over each database, with answers of a function."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable

import pytest

from rag.catalog.catalog import Catalog
from rag.errors import UpstreamError
from rag.records import DAY, ENDED, Batch, ClaimedLine
from rag.types import Principal
from tests.waiting import until
from workers import batch_runner
from workers.batch_input import MAX_LINES
from workers.batch_runner import MAX_ATTEMPTS, Answered, BatchRunner

pytestmark = pytest.mark.anyio
CALLER = Principal()


async def sent(catalog: Catalog, count: int, content: bytes | None = None) -> Batch:
    lines = (
        {"custom_id": f"c{n}", "method": "POST", "url": "/v1/query", "body": {"query": str(n)}}
        for n in range(1, count + 1)
    )
    content = "\n".join(map(json.dumps, lines)).encode() if content is None else content
    file = await catalog.batch_files.add(CALLER, "a.jsonl", content)
    return await catalog.batches.add(
        CALLER, input_file_id=file.id, endpoint="/v1/query", metadata=None, seconds=600
    )


async def ended(catalog: Catalog, batch: Batch) -> Batch:
    async def look() -> Batch | None:
        found = await catalog.batches.get(CALLER, batch.id)
        return found if found.state in ENDED else None

    found = await until(look)
    assert found is not None
    return found


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_runner, "POLL_SECONDS", 0.01)


async def waiting(catalog: Catalog) -> int:
    return (await catalog.jobs.backlog()).batch_lines


def runner(
    catalog: Catalog, answer: Callable[[ClaimedLine], Answered], *, alone: bool = False
) -> BatchRunner:
    async def answering(line: ClaimedLine) -> Answered:
        await asyncio.sleep(0.001)
        return answer(line)

    return BatchRunner(catalog, answering, at_once=4, alone=alone, keep_days=30)


def yes(_: ClaimedLine) -> Answered:
    return Answered(status=200, body="{}")


async def test_two_runners_share_a_batch(catalog: Catalog) -> None:
    taken = Counter[str]()

    def answer(line: ClaimedLine) -> Answered:
        taken[line.token] += 1
        assert json.loads(line.body) == {"query": str(line.line), "priority": "batch"}
        return yes(line)

    async with runner(catalog, answer).started(), runner(catalog, answer).started():
        done = await ended(catalog, await sent(catalog, 60))
    assert (done.state, done.completed) == ("completed", 60)
    assert len(taken) == 2
    assert sum(taken.values()) == 60


async def test_a_runner_that_stops_leaves_its_lines_to_others(catalog: Catalog) -> None:
    hanging = asyncio.Event()

    async def hang(_: ClaimedLine) -> Answered:
        hanging.set()
        await asyncio.Event().wait()
        raise AssertionError

    batch = await sent(catalog, 6)
    async with BatchRunner(catalog, hang, at_once=4, alone=False, keep_days=30).started():
        await hanging.wait()
    attempts: list[int] = []

    def answer(line: ClaimedLine) -> Answered:
        attempts.append(line.attempts)
        return yes(line)

    async with runner(catalog, answer).started():
        assert (await ended(catalog, batch)).completed == 6
    assert attempts == [1] * 6


async def test_a_line_waits_for_a_limit_and_is_tried_again_a_few_times_otherwise(
    catalog: Catalog,
) -> None:
    seen = Counter[int]()

    def answer(line: ClaimedLine) -> Answered:
        seen[line.line] += 1
        if line.line == 1 and seen[1] <= 2 * MAX_ATTEMPTS:
            return Answered(status=429, body='{"a":1}', retry_after=0.001)
        if line.line == 4:  # waiting does not help
            return Answered(status=429, body='{"a":4}')
        if line.line == 5 and seen[5] <= 2 * MAX_ATTEMPTS:
            return Answered(status=503, body='{"a":5}', code="busy", retry_after=0.001)
        if line.line == 2 and seen[2] == 1:
            return Answered(status=503, body='{"a":2}', retry_after=0.001)
        return Answered(status=404 if line.line == 3 else 200, body='{"a":3}')

    async with runner(catalog, answer).started():
        done = await ended(catalog, await sent(catalog, 5))
    assert (done.completed, done.failed) == (3, 2)
    assert dict(seen) == {1: 2 * MAX_ATTEMPTS + 1, 2: 2, 3: 1, 4: 1, 5: 2 * MAX_ATTEMPTS + 1}
    failed = [line async for line in catalog.batch_results.lines(CALLER, done.id, "failed")]
    assert [(each.status, each.response) for each in failed] == [(404, '{"a":3}'), (429, '{"a":4}')]


async def test_a_line_that_no_process_survives_fails(catalog: Catalog) -> None:
    batch = await sent(catalog, 1)
    async with runner(catalog, yes).started():
        await ended(catalog, batch)
    batch = await sent(catalog, 1)
    reader = BatchRunner(
        catalog,
        never,  # type: ignore[arg-type]
        at_once=0,
        alone=False,
        keep_days=30,
    )
    async with reader.started():
        await until(lambda: waiting(catalog))
    for _ in range(MAX_ATTEMPTS):
        assert await catalog.batch_queue.claim("dies") is not None
        await catalog.batch_queue.release()
    async with runner(catalog, never, alone=True).started():
        done = await ended(catalog, batch)
    [line] = [line async for line in catalog.batch_results.lines(CALLER, done.id, "failed")]
    assert line.error is not None
    assert line.error["code"] == "interrupted"


async def test_what_ended_long_ago_is_deleted_and_what_goes_on_is_not(catalog: Catalog) -> None:
    async with runner(catalog, yes).started():
        old = await ended(catalog, await sent(catalog, 3))
    await asyncio.sleep(0.2)
    unread = await sent(catalog, 2)
    tidied = BatchRunner(
        catalog,
        never,  # type: ignore[arg-type]
        at_once=0,
        alone=False,
        keep_days=0.1 / DAY,
    )
    async with tidied.started():
        await until(lambda: gone(catalog, old))
        assert (await catalog.batches.get(CALLER, unread.id)).state != "failed"


def never(_: ClaimedLine) -> Answered:
    raise AssertionError


async def gone(catalog: Catalog, batch: Batch) -> bool:
    batches = await catalog.batches.page(CALLER, limit=9, after=None)
    files = await catalog.batch_files.page(CALLER, limit=9, after=None, oldest_first=True)
    return batch.id not in {each.id for each in batches} and batch.input_file_id not in {
        each.id for each in files
    }


@pytest.mark.parametrize(
    ("content", "code"),
    [(b"\n \n", "empty_file"), (b"{}\n" * (MAX_LINES + 1), "too_many_lines")],
    ids=["empty", "too many"],
)
async def test_a_file_that_is_no_batch(catalog: Catalog, content: bytes, code: str) -> None:
    async with runner(catalog, yes).started():
        done = await ended(catalog, await sent(catalog, 0, content))
    assert done.state == "failed"
    assert done.error is not None
    assert done.error["code"] == code


async def test_a_catalog_that_fails_for_a_moment_stops_no_runner(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim, calls = catalog.batch_queue.claim, 0

    async def flaky(token: str) -> ClaimedLine | None:
        nonlocal calls
        calls += 1
        if calls % 2:
            raise UpstreamError("It is away.")
        return await claim(token)

    monkeypatch.setattr(catalog.batch_queue, "claim", flaky)
    async with runner(catalog, yes).started():
        assert (await ended(catalog, await sent(catalog, 3))).completed == 3
