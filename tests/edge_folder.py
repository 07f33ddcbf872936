"""The folder of an embedded index, its shards, and a gate that holds a rebuild."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rag.types import Chunk, Condition, Leg, Point, Scope
from retrieval.indexes import edge_upkeep
from retrieval.indexes.edge import EdgeIndex
from retrieval.indexes.edge_generations import CURRENT
from retrieval.indexes.edge_rebuild import run_child
from retrieval.indexes.edge_shard import Shard
from tests.fakes import HashEmbedder, make_chunk, make_points

DIM = HashEmbedder().dim


def open_index(folder: Path) -> EdgeIndex:
    return EdgeIndex(folder, dim=DIM)


def home(folder: Path, scope: Scope) -> Path:
    return folder / scope.tenant / scope.collection


def generation(folder: Path, scope: Scope) -> Path:
    return home(folder, scope) / (home(folder, scope) / CURRENT).read_text()


def generations(folder: Path, scope: Scope) -> list[Path]:
    return [path for path in home(folder, scope).iterdir() if path.is_dir()]


def shard_of(index: EdgeIndex, scope: Scope) -> Shard:
    return index._shards._shards[scope]


def random_points(n: int, *, seed: int = 0, first: int = 0) -> list[Point]:
    """Returns points with random unit vectors, each with a unique word in its text."""
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((n, DIM)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    chunks = [make_chunk(f"word{first + i} shared", position=first + i) for i in range(n)]
    points = make_points(chunks)
    return [replace(p, dense=v) for p, v in zip(points, vectors, strict=True)]


async def everything(index: EdgeIndex, scope: Scope) -> list[Chunk]:
    return await index.fetch(scope, sorted(await index.chunk_ids(scope, None)))


async def found(index: EdgeIndex, scope: Scope, leg: Leg) -> list[str]:
    return [match.chunk_id for match in (await index.search(scope, [leg]))[0]]


async def by_token(index: EdgeIndex, scope: Scope) -> set[str]:
    """The chunks whose token vectors are stored."""
    ids = sorted(await index.chunk_ids(scope, None))
    return set(await index.max_sim(scope, np.ones((1, DIM), np.float32), ids))


def at_least(field: str, value: int) -> Condition:
    return Condition(field=field, op="gte", value=value)


async def written(folder: Path, scope: Scope) -> None:
    index = open_index(folder)
    await index.upsert(scope, random_points(20))
    await index.close()


class Gate:
    """Replaces the rebuild's child process; holds the rebuild until the gate is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._run = run_child
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()
        monkeypatch.setattr(edge_upkeep, "run_child", self.run)

    async def run(self, source: Path, folder: Path, mean_length: float, *, graph: bool) -> None:
        self.reached.set()
        await self.opened.wait()
        await self._run(source, folder, mean_length, graph=graph)
