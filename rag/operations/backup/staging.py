"""A copy of a data folder as it is at one moment.

Documents are ingested in the order: mark in the catalog, write to the index, record in the catalog
and remove the mark. The index is still while it is copied, and the copy of the catalog begins
meanwhile: together they are what a kill at that moment would have left, which the next start
brings in step by the marks.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from rag.catalog.database import Database
from rag.errors import StorageError
from rag.process.private_folder import CATALOG, INDEX, MODELS, ORIGINALS, SPOOL
from rag.protocols import MovableIndex, Resting
from retrieval.indexes.edge_generations import CURRENT, generations
from retrieval.indexes.sparse_files import check_room, copy_tree, size_of

LINKED = (SPOOL, ORIGINALS, MODELS)
"""Folders of files that are made once and not changed: links to them stay as they are."""
MOMENT = "moment"
"""File of a copy with the moment whose state it has; it is written last."""


async def copy_data(data: Path, to: Path, *, index: MovableIndex, database: Database) -> None:
    """Copies a data folder, whose index and catalog are open in this process, to a new folder.

    Questions are answered meanwhile, but for those to a collection that is not open: they wait
    while its own files are copied. Documents are written once the whole index is copied.
    """
    try:
        await asyncio.to_thread(_check_room, data / INDEX, to)
        await asyncio.to_thread(link_files, data, to)  # before they are ingested and dropped
        async with index.still() as resting:
            at = time.time()
            await asyncio.gather(
                _copy_index(data / INDEX, to / INDEX, resting),
                database.copy_to(to / CATALOG),
            )
            await asyncio.to_thread(link_files, data, to)
        (to / MOMENT).write_text(json.dumps(at))
    except OSError as error:
        raise StorageError(
            f"The data folder cannot be copied: {error.strerror or 'the disk may be full'}.",
            detail=f"It is {data}.",
        ) from error


def moment_of(copy: Path) -> float:
    """Returns the moment whose state a copy has, in seconds since 1970."""
    return float(json.loads((copy / MOMENT).read_text()))


def files_of(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yields the files of a data folder that a backup has, but for the catalog's."""
    homes = sorted(file.parent for file in (folder / INDEX).glob(f"*/*/{CURRENT}"))
    tops = [generation for home in homes for generation in _parts_of(home)]
    for top in (*tops, *(folder / name for name in LINKED)):
        for here, folders, names in os.walk(top):
            folders.sort()
            for name in sorted(names):
                path = Path(here) / name
                if path.is_file() and not path.is_symlink():
                    yield path.relative_to(folder).as_posix(), path
    for home in homes:
        yield (home / CURRENT).relative_to(folder).as_posix(), home / CURRENT


def _parts_of(home: Path) -> list[Path]:
    """Returns the folders of a collection's generations that are in use; not those of a rebuild."""
    return [home / name for name in generations(home)]


def _check_room(index: Path, to: Path) -> None:
    """Raises StorageError if the disk has no room for a copy of the index."""
    homes = [current.parent for current in index.glob(f"*/*/{CURRENT}")]
    size = sum(size_of(part) for home in homes for part in _parts_of(home))
    check_room(to, needed=size)


async def _copy_index(index: Path, to: Path, resting: Resting) -> None:
    for current in await asyncio.to_thread(lambda: list(index.glob(f"*/*/{CURRENT}"))):
        home = current.parent
        async with resting(home):
            await asyncio.to_thread(_copy_collection, home, to / home.relative_to(index))


def _copy_collection(home: Path, to: Path) -> None:
    to.mkdir(parents=True)
    for generation in _parts_of(home):
        copy_tree(generation, to / generation.name)
    shutil.copyfile(home / CURRENT, to / CURRENT)


def link_files(data: Path, to: Path) -> None:
    """Gives files a second name, so that they stay when the first one is removed."""
    for here, _, names in (found for name in LINKED for found in os.walk(data / name)):
        target = to / Path(here).relative_to(data)
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in names:
            if not (target / name).exists():
                with contextlib.suppress(FileNotFoundError):  # it is not needed any more
                    _link(Path(here) / name, target / name)


def _link(path: Path, to: Path) -> None:
    try:
        os.link(path, to)
    except FileNotFoundError:
        raise
    except OSError:  # a file system without links
        shutil.copyfile(path, to)
