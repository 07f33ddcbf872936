"""`rag ingest --watch`: follows folders until Ctrl-C."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncGenerator, Iterable, Sequence
from pathlib import Path

from watchfiles import Change, awatch

from ingest.sources.exclusion import Exclusion
from ingest.sources.files import file_uri, is_document, path_of, walk
from rag.cli import output
from rag.cli.connection import own_errors
from rag.cli.ingest_target import Destination, Named, opened
from rag.cli.printable import printable
from rag.cli.sync import folders_of, remove_gone, summed, sync
from rag.errors import InputError, StorageError, UpstreamError
from rag.privacy.redaction import words
from rag.settings.tree import Settings

QUIET_MS = 500
"""Milliseconds without changes after which they are processed: most files are written by then."""
LONGEST_MS = 5000
RETRY_SECONDS = 5.0
"""Seconds between attempts to reach a server, or to write to a disk that was full."""

Changes = set[tuple[Change, str]]


async def watch(args: argparse.Namespace, settings: Settings) -> int:
    """Follows the folders until Ctrl-C; returns 1 if a document that exists could not be read."""
    watcher = _Watcher(
        folders_of(args.paths),
        Exclusion(args.exclude),
        settings.data_dir.resolve(),
        as_json=args.json,
    )
    following = asyncio.create_task(watcher.follow(args, settings))
    loop = asyncio.get_running_loop()
    stops = (signal.SIGINT, signal.SIGTERM)
    for stop in stops:
        loop.add_signal_handler(stop, following.cancel)
    try:
        with contextlib.suppress(asyncio.CancelledError):
            await following
    finally:
        for stop in stops:
            loop.remove_signal_handler(stop)
    return 1 if watcher.failing() else 0


class _Watcher:
    def __init__(
        self, folders: Sequence[Path], exclude: Exclusion, data_dir: Path, *, as_json: bool
    ) -> None:
        self._folders = folders
        self._exclude = exclude
        self._data_dir = data_dir
        self._as_json = as_json
        self._failed: set[str] = set()

    async def follow(self, args: argparse.Namespace, settings: Settings) -> None:
        """Brings the collection in step first, then follows changes for ever."""
        changes = _changes(self._folders)
        async with contextlib.aclosing(changes), opened(args, settings) as destination:
            first = asyncio.ensure_future(anext(changes))
            try:
                await asyncio.sleep(0)  # the watch has started: changes from here on are seen
                started = time.perf_counter()
                self._print(await sync(destination, self._folders, self._exclude), started)
                names = ", ".join(map(str, self._folders))
                print(f"Following {names} until Ctrl-C.", file=sys.stderr, flush=True)  # noqa: T201
                await self._take(destination, await first)
            finally:
                first.cancel()
            async for found in changes:
                await self._take(destination, found)

    def failing(self) -> list[str]:
        """Returns the uris of existing files that could not be read when they last changed."""
        return [uri for uri in self._failed if path_of(uri).exists()]

    async def _take(self, destination: Destination, changes: Changes) -> None:
        while True:
            for folder in self._folders:
                _check_is_there(folder)
            try:
                with own_errors():
                    return await self._update(destination, changes)
            except (UpstreamError, StorageError) as error:
                _print_error(f"{error.in_full()} It is tried again.")
                await asyncio.sleep(RETRY_SECONDS)
            except InputError as error:  # it concerns these changes alone
                return _print_error(error.in_full())

    async def _update(self, destination: Destination, changes: Changes) -> None:
        started = time.perf_counter()
        own = [(kind, mine) for kind, path in changes if (mine := self._own(Path(path)))]
        found = (file for kind, path in own for file in _files(kind, path))
        files = sorted({file for file in found if self._own(file)})
        gone = sorted({path for _, path in own if _is_gone(path)})
        jobs = await destination.ingest(Named(files=files)) if files else []
        removed = await remove_gone(destination, gone)
        self._failed -= set(map(file_uri, files))
        if files or removed:
            self._print(summed(jobs) | {"removed": removed}, started)

    def _own(self, path: Path) -> Path | None:
        """Returns the path below a folder as named; None if it is left out.

        It is hidden or excluded, or in the data folder.
        """
        for folder in self._folders:
            for root in (folder, folder.resolve()):  # some systems report the targets of links
                if path.is_relative_to(root):
                    inside = path.relative_to(root)
                    hidden = any(part.startswith(".") for part in inside.parts)
                    ours = path.resolve().is_relative_to(self._data_dir)
                    left_out = hidden or ours or self._exclude.leaves_out(inside)
                    return None if left_out else folder / inside
        return None

    def _print(self, summary: output.Json, started: float) -> None:
        self._failed |= {failure["uri"] for failure in summary["failures"]}
        summary["seconds"] = round(time.perf_counter() - started, 3)
        output.show_at_once(summary, output.ingested, as_json=self._as_json)


async def _changes(folders: Sequence[Path]) -> AsyncGenerator[Changes, None]:
    """Yields sets of changes, from the first step on.

    Raises:
        InputError: The folders cannot be watched.
    """
    found = awatch(*folders, watch_filter=None, step=QUIET_MS, debounce=LONGEST_MS)
    try:
        async with contextlib.aclosing(found):
            async for changes in found:
                yield changes
    except (OSError, RuntimeError) as error:  # RuntimeError: the base of watchfiles' errors
        raise InputError(
            f"The folders cannot be watched: {words(error)}. Mend permissions; on Linux"
            " fs.inotify.max_user_watches bounds how many folders can be.",
            code="cannot_watch",
        ) from error


def _files(kind: Change, path: Path) -> Iterable[Path]:
    """Returns the documents that a change brings; a new folder brings those already in it."""
    if path.is_dir():
        return walk(path) if kind == Change.added and not path.is_symlink() else ()
    return [path] if is_document(path) and path.is_file() else ()


def _is_gone(path: Path) -> bool:
    return not os.path.lexists(path)


def _check_is_there(folder: Path) -> None:
    try:
        os.scandir(folder).close()
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be followed any longer: {error.strerror}. Its documents are kept.",
            code="unreadable_folder",
        ) from error


def _print_error(message: str) -> None:
    print(printable(f"rag: {message}"), file=sys.stderr, flush=True)  # noqa: T201
