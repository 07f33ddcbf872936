"""The time of backups and restores of 100,000 chunks, beside copying the same files.

The chunks have random vectors and words: their number and size count, not their meaning. Copies
(`cp -r`) and backups take turns, and each is on the disk at its end (`sync`). Afterwards backups
and restores of a smaller folder are killed at random moments, twenty each.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from benchmarks._common import Report, Target
from rag.build.backup_places import build_seal, build_store
from rag.build.backups import make_backup
from rag.build.restores import restore
from rag.catalog.catalog import Catalog
from rag.catalog.sqlite_database import SqliteDatabase
from rag.catalog.tables import documents, texts
from rag.operations.backup.manifest import backup_ids, read_manifest
from rag.process.disk_sync import sync_disk
from rag.settings.tree import Settings, load_settings
from rag.types import Chunk, Point, Scope, SparseVector
from retrieval.indexes.edge import EdgeIndex
from tests.backup_kills import kills

CHUNKS, OF_DOCUMENT, DIM, TERMS = 100_000, 20, 384, 60
FEW, KILLS = 2_000, 20
TURNS = 5
CHANGED = 200
"""Chunks that are written between two backups, of which the second stores what changed."""
MOST = 1.3
"""What a backup and a restore may take, as a multiple of the copy."""
KEY = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3I="
SCOPE = Scope(tenant="default", collection="default")


def run() -> Report:
    """Both directions by turns, then kills."""
    report = Report()
    with tempfile.TemporaryDirectory(prefix="plumbline-backup-") as made:
        folder = Path(made)
        (folder / "data").mkdir()
        asyncio.run(_seed(folder / "data", CHUNKS))
        size = sum(f.stat().st_blocks * 512 for f in (folder / "data").rglob("*")) / 1e6
        report.notes.append(f"{CHUNKS:,} chunks take {size:,.0f} MB on disk, with the catalog")
        load = os.getloadavg()[0]
        _time(report, folder)
        report.notes.append(
            f"load of the machine: {load:.1f} before, {os.getloadavg()[0]:.1f} after"
        )
        (folder / "few").mkdir()
        asyncio.run(_seed(folder / "few", FEW))
        ends = kills(folder / "few", KILLS, random.Random())
        report.notes.append(
            f"{KILLS} backups and {KILLS} restores were killed, {ends['backup killed']} and"
            f" {ends['restore killed']} before their end: none that is listed is damaged, and no"
            " folder was in place that is not whole"
        )
    return report


def _time(report: Report, folder: Path) -> None:
    data, copied = folder / "data", folder / "copied"
    plain, keyed = (_settings(data, folder / name, key) for name, key in (("b", ""), ("k", KEY)))
    back = _settings(folder / "back", folder / "b", "")
    unkeyed = _settings(folder / "unkeyed", folder / "k", KEY)
    taken: dict[str, list[float]] = {}
    cpu: dict[str, list[float]] = {}

    def measure(name: str, work: Callable[[], object], *gone: Path) -> None:
        for place in gone:
            shutil.rmtree(place, ignore_errors=True)
        sync_disk(folder)
        began, used = time.perf_counter(), _cpu()
        work()
        sync_disk(folder)
        taken.setdefault(name, []).append(time.perf_counter() - began)
        cpu.setdefault(name, []).append(_cpu() - used)

    for _ in range(TURNS):
        measure("copy", lambda: subprocess.run(["cp", "-r", data, copied], check=True), copied)
        measure("backup", lambda: _back_up(plain), folder / "b")
        measure("again", lambda: _back_up(plain))
        measure("encrypted", lambda: _back_up(keyed), folder / "k")
        measure("restore", lambda: _bring_back(plain, back), folder / "back")
        measure("decrypted", lambda: _bring_back(keyed, unkeyed), folder / "unkeyed")
    asyncio.run(_write(data, CHANGED))
    measure("changed", lambda: _back_up(plain))
    middle = {name: statistics.median(times) for name, times in taken.items()}
    floor = middle["copy"]
    for name, what in (
        ("backup", "backup, to an empty folder"),
        ("encrypted", "the same, encrypted"),
        ("restore", "restore"),
        ("decrypted", "restore, of an encrypted one"),
    ):
        report.add(what, middle[name], unit="s", floor=floor, target=Target(bound=MOST, by="ratio"))
    report.add("backup, nothing new", middle["again"], unit="s", floor=floor)
    for name in ("backup", "encrypted", "restore", "decrypted"):
        report.add(
            f"CPU seconds of {name}",
            statistics.median(cpu[name]),
            unit="s",
            floor=statistics.median(cpu["copy"]),
        )
    report.add(f"backup, {CHANGED} chunks new", middle["changed"], unit="s", floor=floor)


def _cpu() -> float:
    """Returns the CPU seconds of this process and of those that it has waited for."""
    return sum(os.times()[:4])


def _settings(data: Path, place: Path, key: str) -> Settings:
    return load_settings(data_dir=data, backup={"to": str(place), "key": key or None})


def _back_up(settings: Settings) -> None:
    asyncio.run(make_backup(settings, build_store(settings), build_seal(settings)))


def _bring_back(settings: Settings, to: Settings) -> None:
    store, seal = build_store(settings), build_seal(settings)
    asyncio.run(restore(to, read_manifest(store, seal, backup_ids(store)[-1]), store, seal))


async def _seed(data: Path, count: int) -> None:
    """Makes a data folder: rows of documents with their texts, and points."""
    database = SqliteDatabase(data / "catalog.sqlite")
    catalog = Catalog(database)
    await catalog.open()
    await catalog.collections.claim(SCOPE, "random")
    own = {"tenant": SCOPE.tenant, "collection": SCOPE.collection}
    dice = random.Random(0)
    async with database.write() as db:
        for n in range(count // OF_DOCUMENT):
            row = own | {"id": f"d{n}", "uri": f"file:///d{n}", "state": "succeeded"}
            more = {"source": {}, "created_at": "", "updated_at": "", "chunks": OF_DOCUMENT}
            await db.execute(documents.insert().values(row | more))
            text = " ".join(_text(dice) for _ in range(OF_DOCUMENT))
            await db.execute(texts.insert().values(own | {"document_id": f"d{n}", "text": text}))
    await catalog.close()
    await _write(data, count)


async def _write(data: Path, count: int) -> None:
    index = EdgeIndex(data / "index", dim=DIM)
    for points in _points(count):
        await index.upsert(SCOPE, points)
    await index.close()


def _points(count: int) -> Iterator[list[Point]]:
    """Yields random points, a thousand at once."""
    dice, numbers = random.Random(count), np.random.default_rng(count)
    for start in range(0, count, 1_000):
        some = range(start, min(start + 1_000, count))
        dense = numbers.standard_normal((len(some), DIM)).astype(np.float32)
        dense /= np.linalg.norm(dense, axis=1, keepdims=True)
        yield [
            Point(
                chunk=_chunk(n, _text(dice), count),
                dense=vector,
                sparse=SparseVector(
                    indices=np.sort(numbers.choice(30_000, TERMS, replace=False)).astype(np.int32),
                    values=np.ones(TERMS, np.float32),
                ),
            )
            for n, vector in zip(some, dense, strict=True)
        ]


def _chunk(number: int, text: str, series: int) -> Chunk:
    return Chunk(
        id=f"{series:08x}-0000-4000-8000-{number:012x}",
        document_id=f"d{number // OF_DOCUMENT}",
        version="1",
        position=number % OF_DOCUMENT,
        text=text,
        start=0,
        end=len(text),
        title=f"Document {number // OF_DOCUMENT}",
        uri=f"file:///d{number // OF_DOCUMENT}",
    )


def _text(dice: random.Random) -> str:
    """Returns some 800 characters."""
    return " ".join(f"word{dice.randrange(30_000)}" for _ in range(90))
