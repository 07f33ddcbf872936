"""Deleted and replaced texts leave the files of the embedded index."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rag.errors import StorageError
from rag.types import Point, Scope
from retrieval.indexes import edge_open_shards, edge_upkeep
from retrieval.indexes import edge_shard as shard_module
from retrieval.indexes.edge import EdgeIndex
from retrieval.indexes.edge_shard import UNERASED_MARK
from tests.edge_folder import DIM, Gate, by_token, generations, open_index, random_points
from tests.fakes import HashEmbedder, dense_leg, make_chunk, make_points, sparse_leg
from tests.places import ROOT
from tests.servers import rag
from tests.waiting import until

pytestmark = pytest.mark.anyio

SECRET = "Zyxomma7Petiolatum"
"""A word that the compressed payload storage keeps as consecutive letters."""


def holding(folder: Path) -> set[str]:
    """Returns the names of the files below a folder that contain the secret word."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.name for path in files if SECRET.encode() in path.read_bytes()}


def secret(position: int, *, document_id: str = "doc") -> Point:
    chunk = make_chunk(f"the {SECRET} cat", document_id=document_id, position=position)
    [point] = make_points([chunk], by_token=True)
    return point


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes every erasure due at once and checks for due erasures all the time."""
    monkeypatch.setattr(shard_module, "ERASE_AFTER", 0.0)
    monkeypatch.setattr(shard_module, "ERASE_AFTER_EACH", 0.0)
    monkeypatch.setattr(edge_upkeep, "ERASE_CHECK", 0.01)


def owing(folder: Path) -> list[Path]:
    """Returns the marks of shards whose files still hold deleted text."""
    return list(folder.glob(f"*/*/*/{UNERASED_MARK}"))


async def clean(index: EdgeIndex, folder: Path) -> None:
    """Waits until no erasure is pending; checks that no file contains the word."""
    async with asyncio.timeout(60):
        while owing(folder) or index._upkeep._rebuilds:  # noqa: ASYNC110 - there is no event
            await asyncio.sleep(0.02)
    assert not holding(folder)


@pytest.mark.usefixtures("at_once")
async def test_no_file_holds_what_was_deleted_replaced_or_rewritten(
    folder: Path, scope: Scope
) -> None:
    index = open_index(folder)
    others = random_points(30)
    gone = secret(100, document_id="gone")
    changed = secret(101)
    renamed = make_points([make_chunk("dog", position=102, title=SECRET, meta={"of": SECRET})])[0]
    await index.upsert(scope, [*others, gone, changed, renamed])
    await index.delete(scope, [gone.chunk.id])
    await index.upsert(scope, make_points([replace(changed.chunk, text="a dog")]))
    await index.upsert(scope, [Point(chunk=replace(renamed.chunk, title="dog", meta={}))])
    assert holding(folder)  # in the log, and in the pages of the storage
    async with index.erasing():
        await clean(index, folder)
    assert len(await index.chunk_ids(scope, None)) == 32
    assert await index.vectors(scope, [p.chunk.id for p in others]) == {
        p.chunk.id: pytest.approx(p.dense) for p in others
    }
    await index.close()
    assert not holding(folder)


@pytest.mark.usefixtures("at_once")
async def test_what_is_deleted_while_a_fresh_shard_is_made_goes_with_the_next(
    folder: Path, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    index = open_index(folder)
    points = [secret(i) for i in range(3)]
    await index.upsert(scope, [*random_points(5, first=10), *points])
    await index.delete(scope, [points[0].chunk.id])
    async with index.erasing():
        await gate.reached.wait()
        await index.delete(scope, [points[1].chunk.id])
        await index.upsert(scope, make_points([replace(points[2].chunk, text="a dog")]))
        assert [len(m) for m in await index.search(scope, [dense_leg("dog")])] == [6]
        gate.opened.set()
        await clean(index, folder)
    assert len(await index.chunk_ids(scope, None)) == 6
    await index.close()


@pytest.mark.usefixtures("at_once")
async def test_a_version_keeps_its_name_in_a_fresh_shard(folder: Path, scope: Scope) -> None:
    index = open_index(folder)
    await index.upsert(scope, [secret(0), secret(1)])
    name, version = await index.name_of(scope), await index.version(scope)
    for point in (secret(0), secret(1)):  # the second time from a folder that is not the first
        await index.delete(scope, [point.chunk.id])
        async with index.erasing():
            """The block ends when all pending erasures are done."""
        assert await index.name_of(scope) == name
        assert await index.version(scope) != version
        version = await index.version(scope)
    await index.close()
    again = open_index(folder)
    assert await again.name_of(scope) == name
    await again.close()


@pytest.mark.usefixtures("at_once")
async def test_a_deleted_document_goes_from_the_previous_version_as_well(
    folder: Path, scope: Scope
) -> None:
    index = open_index(folder)
    kept = make_points([make_chunk("a dog", document_id="kept")])
    await index.upsert(scope, [secret(0), secret(1), *kept])
    version = await index.begin_version(scope)
    await index.upsert(version, [secret(7), *kept])
    await index.switch_version(scope, version)
    async with index.erasing():
        await index.delete(scope, [secret(7).chunk.id])
        await clean(index, folder)
    previous = await index.previous_version(scope)
    assert previous is not None
    assert await index.chunk_ids(previous, None) == {kept[0].chunk.id}
    assert len(generations(folder, scope)) == 2
    await index.close()


async def test_time_is_given_before_a_fresh_shard_is_made(
    folder: Path, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge_upkeep, "ERASE_CHECK", 0.01)
    monkeypatch.setattr(edge_upkeep, "INDEX_FROM", 0)  # nothing is small
    index = open_index(folder)
    await index.upsert(scope, [secret(0), *random_points(100, first=10)])
    await index.delete(scope, [secret(0).chunk.id])
    before = generations(folder, scope)
    [mark] = owing(folder)
    due = mark.stat().st_mtime - shard_module.ERASE_AFTER - 100 * shard_module.ERASE_AFTER_EACH
    os.utime(mark, (due + 30, due + 30))
    async with index.erasing():
        await asyncio.sleep(0.1)
    assert generations(folder, scope) == before
    os.utime(mark, (due, due))
    async with index.erasing():
        await clean(index, folder)
    await index.close()


async def test_a_small_shard_is_made_anew_as_the_block_ends(folder: Path, scope: Scope) -> None:
    index = open_index(folder)
    async with index.erasing():
        await index.upsert(scope, [secret(0), *random_points(3, first=10)])
        await index.delete(scope, [secret(0).chunk.id])
    await index.close()
    assert not holding(folder)


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("is_small", [True, False])
async def test_only_a_large_shard_gets_a_graph_when_it_is_made_anew(
    folder: Path, scope: Scope, monkeypatch: pytest.MonkeyPatch, is_small: bool
) -> None:
    monkeypatch.setattr(edge_upkeep, "INDEX_FROM", 5 if is_small else 3)
    index = open_index(folder)
    await index.upsert(scope, [secret(0), *random_points(4, first=10)])
    await index.delete(scope, [secret(0).chunk.id])
    await index.maintain(scope)
    shard = index._shards.open(scope)
    assert shard is not None
    assert (shard.stats.points, shard.stats.indexed) == (4, 0 if is_small else 4)
    assert len(await index.search(scope, [dense_leg("cat", limit=9)])) == 1
    await index.close()


@pytest.mark.usefixtures("at_once")
async def test_what_there_is_no_time_for_at_the_end_the_next_process_does(
    folder: Path, scope: Scope, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gate = Gate(monkeypatch)
    index = open_index(folder)
    await index.upsert(scope, [secret(0), *random_points(3, first=10)])
    await index.delete(scope, [secret(0).chunk.id])
    monkeypatch.setattr(edge_upkeep, "ERASE_AT_END", 0.05)
    async with index.erasing():
        await gate.reached.wait()  # and it is not opened
    assert "until the next start" in caplog.text
    await index.close()
    assert owing(folder)
    assert holding(folder)
    gate.opened.set()
    again = open_index(folder)
    async with again.erasing():
        await clean(again, folder)
    assert len(await again.chunk_ids(scope, None)) == 3
    await again.close()


async def test_a_previous_version_is_closed_when_nobody_asks_for_it_any_more(
    folder: Path, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge_upkeep, "ERASE_CHECK", 0.01)
    monkeypatch.setattr(edge_open_shards, "IDLE_SECONDS", 0.0)
    index = open_index(folder)
    kept, gone = make_points([make_chunk("a dog", document_id=id_) for id_ in ("kept", "gone")])
    await index.upsert(scope, [kept, gone])
    version = await index.begin_version(scope)
    await index.upsert(version, [kept, gone])
    await index.switch_version(scope, version)
    previous = await index.previous_version(scope)
    assert previous is not None
    async with index.erasing():
        await index.delete(scope, [gone.chunk.id])
        await until(lambda: previous not in index._shards._shards)
        assert await index.chunk_ids(previous, None) == {kept.chunk.id}  # opened anew
        assert scope in index._shards._shards
    await index.close()


_CHILD = """
import asyncio, os, signal, sys
from pathlib import Path
from rag.types import Scope
from retrieval.indexes.edge import EdgeIndex
from tests.retrieval.indexes.test_erasing import DIM, random_points, secret

async def main():
    index = EdgeIndex(Path(sys.argv[1]), dim=DIM)
    scope = Scope(tenant="acme", collection="handbook")
    await index.upsert(scope, [secret(0), *random_points(3, first=10)])
    await index.delete(scope, [secret(0).chunk.id])
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


@pytest.mark.usefixtures("at_once")
async def test_what_a_killed_process_owed_the_next_one_does(folder: Path, scope: Scope) -> None:
    command = [sys.executable, "-c", _CHILD, str(folder)]
    root = ROOT
    child = await asyncio.to_thread(subprocess.run, command, cwd=root, check=False, timeout=60)
    assert child.returncode == -signal.SIGKILL
    assert holding(folder)
    index = open_index(folder)
    async with index.erasing():  # nobody asks for the collection
        await clean(index, folder)
    assert len(await index.chunk_ids(scope, None)) == 3
    await index.close()


@pytest.mark.usefixtures("at_once")
async def test_what_a_killed_process_left_behind_goes_where_nobody_asks_for_it(
    folder: Path, scope: Scope
) -> None:
    index = open_index(folder)
    await index.upsert(scope, random_points(3))
    [kept] = generations(folder, scope)
    await index.close()
    (left := kept.with_name("0" * 32)).mkdir()
    (left / "page").write_text(SECRET)
    index = open_index(folder)
    async with index.erasing(), asyncio.timeout(60):
        while left.exists():  # noqa: ASYNC110 - there is no event
            await asyncio.sleep(0.01)
    assert generations(folder, scope) == [kept]
    await index.close()


@pytest.mark.usefixtures("at_once")
async def test_one_that_fails_is_told_and_tried_again(
    folder: Path, scope: Scope, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def full(*_: object, **__: object) -> None:
        raise StorageError("The disk is full.")

    monkeypatch.setattr(edge_upkeep, "ERASE_AGAIN", 0.01)
    index = open_index(folder)
    await index.upsert(scope, [secret(0), *random_points(3, first=10)])
    await index.delete(scope, [secret(0).chunk.id])
    async with index.erasing():
        with monkeypatch.context() as patch:
            patch.setattr(edge_upkeep, "run_child", full)
            while "Deleted text stays on disk" not in caplog.text:  # noqa: ASYNC110 - there is no event
                await asyncio.sleep(0.01)
        await clean(index, folder)
    assert SECRET not in caplog.text
    await index.close()


@pytest.mark.usefixtures("at_once")
async def test_token_vectors_stay_what_they_are_however_often_a_shard_is_made_anew(
    folder: Path, scope: Scope
) -> None:
    index = open_index(folder)
    kept = make_points([make_chunk("cat dog mouse")], by_token=True)
    asked = HashEmbedder().tokens("dog mouse").astype(np.float32)
    await index.upsert(scope, kept)
    first = await index.max_sim(scope, asked, [kept[0].chunk.id])
    for i in range(3):
        await index.upsert(scope, [secret(5)])
        await index.delete(scope, [secret(5).chunk.id])
        await index.maintain(scope)
        assert not holding(folder), i
    assert await index.max_sim(scope, asked, [kept[0].chunk.id]) == pytest.approx(first, abs=1e-3)
    assert await by_token(index, scope) == {kept[0].chunk.id}
    await index.close()


async def test_new_points_owe_nothing(folder: Path, scope: Scope) -> None:
    index = EdgeIndex(folder, dim=DIM)
    await index.upsert(scope, random_points(10))
    await index.delete(scope, [make_chunk("x", document_id="unknown").id])
    await index.upsert(scope, [Point(chunk=make_chunk("x", document_id="unknown"))])
    assert await index.search(scope, [sparse_leg("word3")])
    assert not owing(folder)
    await index.close()


def test_after_the_commands_no_file_of_the_index_holds_the_text(tmp_path: Path) -> None:
    data, note = tmp_path / "data", tmp_path / "note.md"
    note.write_text(f"# Lamps\n\nThe keeper of the lamp is {SECRET}.\n")
    assert rag("ingest", note, data=data).returncode == 0
    assert holding(data / "index")
    assert rag("delete", note, data=data).returncode == 0
    assert not holding(data / "index")
