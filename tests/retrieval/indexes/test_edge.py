"""The embedded index after restarts, crashes and damage."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import qdrant_edge as qe

from rag.errors import ConfigError, InputError, StorageError
from rag.types import Leg, Scope
from retrieval.indexes.edge import EdgeIndex
from retrieval.indexes.edge_generations import CURRENT
from retrieval.indexes.edge_points import layout
from retrieval.indexes.edge_shard import MAX_FIELDS
from retrieval.indexes.sparse_files import size_of
from tests.edge_folder import (
    DIM,
    at_least,
    by_token,
    everything,
    found,
    generation,
    generations,
    home,
    open_index,
    random_points,
    shard_of,
    written,
)
from tests.fakes import HashEmbedder, dense_leg, make_chunk, make_points, sparse_leg
from tests.places import ROOT

pytestmark = pytest.mark.anyio


# Restarts and crashes


async def test_what_was_stored_is_there_after_reopening(folder: Path, scope: Scope) -> None:
    index = open_index(folder)
    chunks = [
        make_chunk(f"cat {i}", position=i, meta={"n": i, "even": i % 2 == 0}) for i in range(9)
    ]
    await index.upsert(scope, make_points(chunks))
    await index.delete(scope, [chunks[0].id])
    legs = [dense_leg("cat 3"), sparse_leg("cat 3"), dense_leg("cat", at_least("n", 5))]
    before = await index.search(scope, legs)
    stats = shard_of(index, scope).stats
    await index.close()
    index = open_index(folder)
    assert await index.search(scope, legs) == before
    assert shard_of(index, scope).stats == stats
    await index.close()


_CHILD = """
import asyncio, os, signal, sys
from pathlib import Path
from rag.types import Scope
from retrieval.indexes.edge import EdgeIndex
from tests.fakes import HashEmbedder, make_chunk, make_points

async def main():
    index = EdgeIndex(Path(sys.argv[1]), dim=HashEmbedder().dim)
    scope = Scope(tenant="acme", collection="handbook")
    chunks = [make_chunk(f"cat number{i}", position=i) for i in range(300)]
    await index.upsert(scope, make_points(chunks[:200]))
    await index.upsert(scope, make_points(chunks[200:], by_token=True))
    await index.delete(scope, [chunk.id for chunk in chunks[:50]])
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


async def test_a_process_killed_after_writing_loses_nothing(folder: Path, scope: Scope) -> None:
    root = ROOT
    command = [sys.executable, "-c", _CHILD, str(folder)]
    child = await asyncio.to_thread(subprocess.run, command, cwd=root, check=False, timeout=60)
    assert child.returncode == -signal.SIGKILL
    index = open_index(folder)
    kept = [make_chunk(f"cat number{i}", position=i) for i in range(50, 300)]
    assert await everything(index, scope) == sorted(kept, key=lambda c: c.id)
    stats = shard_of(index, scope).stats
    assert (stats.points, stats.terms) == (250, 500)
    assert await found(index, scope, sparse_leg("number77")) == [kept[27].id]
    assert await by_token(index, scope) == {chunk.id for chunk in kept[150:]}
    await index.close()


async def test_the_log_of_token_vectors_does_not_grow_with_what_is_written(
    folder: Path, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("retrieval.indexes.edge_shard.LOGGED", 100)
    index = open_index(folder)
    tokens = np.full((1_000, DIM), 0.1, np.float16)  # 100 KB each in the log
    points = [replace(point, tokens=tokens) for point in random_points(1_000)]
    await index.upsert(scope, points)
    assert size_of(generation(folder, scope) / "wal") < 70 << 20
    await index.close()


# Damage


@pytest.mark.parametrize("content", [b"", b"no generation", b"\xff\xfe\x00", b"../.."])
async def test_a_damaged_current_file_is_an_error_that_says_what_to_do(
    folder: Path, scope: Scope, content: bytes
) -> None:
    await written(folder, scope)
    (home(folder, scope) / CURRENT).write_bytes(content)
    index = open_index(folder)
    with pytest.raises(StorageError, match=r"is damaged.*current.*backup, or delete.*ingest again"):
        await index.search(scope, [dense_leg("cat")])
    await index.close()
    assert len(generations(folder, scope)) == 1


@pytest.mark.parametrize("name", ["edge_config.json", "segments", "stats.json"])
async def test_a_damaged_file_is_an_error_that_says_what_to_do(
    folder: Path, scope: Scope, name: str
) -> None:
    await written(folder, scope)
    target = generation(folder, scope) / name
    files = [p for p in target.rglob("*") if p.is_file()] if target.is_dir() else [target]
    for file in files:
        file.write_bytes(b"garbage")
    index = open_index(folder)
    with pytest.raises(StorageError, match=r"restore it from a backup, or delete .*ingest again"):
        await index.search(scope, [dense_leg("cat"), sparse_leg("word1")])
    await index.close()


async def test_a_deleted_generation_is_an_error_and_a_deleted_collection_is_empty(
    folder: Path, scope: Scope
) -> None:
    await written(folder, scope)
    shutil.rmtree(generation(folder, scope))
    index = open_index(folder)
    with pytest.raises(StorageError, match="restore it from a backup"):
        await index.chunk_ids(scope, None)
    shutil.rmtree(home(folder, scope))
    assert await index.chunk_ids(scope, None) == set()
    await index.close()


async def test_vectors_of_another_length_are_refused_and_nothing_is_lost(
    folder: Path, scope: Scope
) -> None:
    await written(folder, scope)
    index = open_index(folder)
    [point] = make_points([make_chunk("cat")], embedder=HashEmbedder(dim=DIM * 2))
    with pytest.raises(StorageError):
        await index.upsert(scope, [point])
    other = Leg(name="dense", vector=point.dense, limit=10)
    with pytest.raises(ConfigError, match=rf"of {DIM} numbers, and the embedder's have {DIM * 2}"):
        await index.search(scope, [other])
    assert len(await index.chunk_ids(scope, None)) == 20
    await index.close()


async def test_a_collection_refuses_more_meta_fields_than_it_can_index(
    folder: Path, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("retrieval.indexes.edge_shard.MAX_FIELDS", 6)
    assert MAX_FIELDS > 6
    index = open_index(folder)
    await index.upsert(scope, make_points([make_chunk("cat", meta={"a": 1, "b": "x"})]))
    await index.upsert(scope, make_points([make_chunk("cat", meta={"a": "other kind"})]))
    with pytest.raises(InputError, match="has 6 meta fields already and cannot take 'c'"):
        await index.upsert(scope, make_points([make_chunk("cat", meta={"c": 1})]))
    await index.close()


async def test_chunks_of_before_there_were_acls_follow_the_default(
    folder: Path, scope: Scope
) -> None:
    index = EdgeIndex(folder, dim=DIM)
    old = make_points([make_chunk("cat", position=0)])
    await index.upsert(scope, old)
    [generation] = [
        entry for entry in (folder / scope.tenant / scope.collection).iterdir() if entry.is_dir()
    ]
    await index.close()
    shard = qe.EdgeShard.load(str(generation), layout(dim=None))
    shard.update(qe.UpdateOperation.delete_payload([old[0].chunk.id], ["acl"]))
    shard.update(qe.UpdateOperation.delete_field_index("acl"))
    shard.close()
    index = EdgeIndex(folder, dim=DIM)
    for readers, count in ((frozenset({"default"}), 1), (frozenset({"public"}), 0)):
        theirs = replace(scope, readers=readers)
        assert len(await index.chunk_ids(theirs, None)) == count
        [matches] = await index.search(theirs, [dense_leg("cat")])
        assert len(matches) == count
    await index.close()
