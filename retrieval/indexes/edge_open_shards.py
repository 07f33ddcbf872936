"""The open shards of the embedded index: one for each scope that is used, and its versions."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
import uuid
from collections.abc import AsyncIterator, Container
from pathlib import Path

from rag.protocols import Resting
from rag.types import Scope
from retrieval.indexes.edge_generations import (
    CURRENT,
    NEXT,
    PREVIOUS,
    generations,
    home_of,
    sibling,
    write_generations,
)
from retrieval.indexes.edge_shard import Shard
from retrieval.indexes.sparse_files import check_room, storage_errors

IDLE_SECONDS = 60.0
"""Seconds without use after which a previous version is closed: deletions come together, and
opening it takes long."""

MOST_OPEN = 512
"""Shards that are open at the same time: each takes 70 memory maps, and Linux allows a process
65,530 (`vm.max_map_count`). Opening one again takes some 30 ms."""


class OpenShards:
    """Opens, creates, replaces and closes the shards under a folder."""

    def __init__(self, folder: Path, *, dim: int) -> None:
        self._folder = folder
        self._dim = dim
        self._shards: dict[Scope, Shard] = {}
        self._locks: dict[Scope, asyncio.Lock] = {}
        self._tidied: set[Path] = set()
        self._used: dict[Scope, float] = {}
        """Time of the last use of each open previous version."""
        self._changes = 0
        self._is_held = self._is_still = False
        self._moves, self._rests = asyncio.Event(), asyncio.Event()
        self._resting: Path | None = None
        """The home in which nothing may be opened or closed: both write."""
        self._rested = asyncio.Event()

    @contextlib.asynccontextmanager
    async def changing(self) -> AsyncIterator[None]:
        """Whoever changes files is in such a block; it begins once no `still` block is open.

        It is entered before the locks of scopes, and not twice.
        """
        while self._is_held:
            await self._moves.wait()
        self._changes += 1
        try:
            yield
        finally:
            self._changes -= 1
            if not self._changes:
                self._rests.set()

    @contextlib.asynccontextmanager
    async def still(self) -> AsyncIterator[Resting]:
        """During the block no change begins, and none is under way; one such block at a time.

        Shards are still opened and closed, but in the home that `resting` is called with.
        """
        while self._is_held:
            await self._moves.wait()
        self._is_held = True  # no further change begins
        self._moves.clear()
        try:
            while self._changes:
                self._rests.clear()
                await self._rests.wait()
            self._is_still = True
            yield self._resting_at
        finally:
            self._is_held = self._is_still = False
            self._moves.set()

    @contextlib.asynccontextmanager
    async def _resting_at(self, home: Path) -> AsyncIterator[None]:
        self._resting = home
        self._rested.clear()
        try:
            yield
        finally:
            self._resting = None
            self._rested.set()

    def lock(self, scope: Scope) -> asyncio.Lock:
        """Returns the lock that whoever changes a scope's shard holds."""
        return self._locks.setdefault(scope, asyncio.Lock())

    def home(self, scope: Scope) -> Path:
        """Returns the folder of a scope and its versions."""
        return home_of(self._folder, scope)

    async def reading(self, scope: Scope) -> Shard | None:
        """Returns what `open` does; waits while it is not open and its files are copied."""
        while scope not in self._shards and self._resting == self.home(scope):
            await self._rested.wait()
        return self.open(scope)

    def open(self, scope: Scope) -> Shard | None:
        """Returns the shard of a scope, opened if it is not; None if it was never made.

        Called where nothing is copied: in a `changing` block, or by `reading`.
        """
        if scope.collection.endswith(PREVIOUS):
            self._used[scope] = time.monotonic()
        if scope not in self._shards:
            home = self.home(scope)
            place = int(scope.collection.endswith(PREVIOUS))
            names = generations(home)[place : place + 1]
            if not names or scope.collection.endswith(NEXT):
                return None
            check_room(home)
            self._make_room()
            with storage_errors(home):
                self._shards[scope] = Shard(home / names[0], dim=self._dim)
                self.tidy(home)
        self._shards[scope] = self._shards.pop(scope)  # the last is the one that was used last
        return self._shards[scope]

    def _make_room(self) -> None:
        """Closes the shards that were used longest ago, if too many are open."""
        while len(self._shards) >= MOST_OPEN:
            idle = next((scope for scope in self._shards if self._is_idle(scope)), None)
            if idle is None:
                return
            self._shards.pop(idle).close()

    def _is_idle(self, scope: Scope) -> bool:
        """Returns True for a scope that nothing writes to, copies or fills; reads do not wait."""
        is_version = scope.collection.endswith((NEXT, PREVIOUS))
        lock = self._locks.get(scope)
        is_written = lock is not None and lock.locked()
        is_resting = self._resting == self.home(scope)
        return not (is_version or is_written or is_resting or self._shards[scope].is_copied)

    def create(self, scope: Scope) -> Shard:
        """Creates the shard of a scope, in a generation of its own."""
        folder = self.home(scope) / uuid.uuid4().hex
        self._tidied.add(folder.parent)
        try:
            with storage_errors(folder):
                check_room(folder)
                self._make_room()
                folder.mkdir(parents=True)
                self._shards[scope] = Shard.create(folder, dim=self._dim)
                self._name(scope, folder)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return self._shards[scope]

    def _name(self, scope: Scope, folder: Path) -> None:
        """Records `folder` as the generation of a scope, or of one of its versions."""
        names = generations(folder.parent)
        if scope.collection.endswith(PREVIOUS):
            write_generations(folder.parent, names[0], folder.name)
        elif not scope.collection.endswith(NEXT):
            write_generations(folder.parent, folder.name, *names[1:])

    def tidy(self, home: Path) -> None:
        """Removes what a killed rebuild or version left behind.

        Runs once, before this process can have made such folders itself.
        """
        if home not in self._tidied:
            self._tidied.add(home)
            named = set(generations(home))
            for entry in home.iterdir():
                if entry.is_dir() and entry.name not in named:
                    # A rebuild whose parent was killed may still write to it: what that leaves
                    # is removed at the next start.
                    shutil.rmtree(entry, ignore_errors=True)

    def drop(self, version: Scope) -> None:
        """Closes a version and removes its folder, if it is open."""
        if shard := self._shards.pop(version, None):
            shard.close()
            shutil.rmtree(shard.folder, ignore_errors=True)

    def remove(self, scope: Scope) -> bool:
        """Closes all versions of a scope and removes their folders; False if some is left.

        They are named nowhere once the first step is done: a repeated call finishes the others. A
        rebuild whose parent was killed may still write to its folder.
        """
        home = self.home(scope)
        with storage_errors(home):
            (home / CURRENT).unlink(missing_ok=True)
            for each in (scope, sibling(scope, NEXT), sibling(scope, PREVIOUS)):
                self._used.pop(each, None)
                if shard := self._shards.pop(each, None):
                    shard.close()
        shutil.rmtree(home, ignore_errors=True)
        return not home.exists()

    def has(self, scope: Scope, shard: Shard) -> bool:
        """Returns True if this shard is the open one of the scope."""
        return self._shards.get(scope) is shard

    def replace(self, scope: Scope, fresh: Shard) -> None:
        """Makes a shard the one of the scope; the one before it stays open, and on disk."""
        self._name(scope, fresh.folder)
        self._shards[scope] = fresh

    def switch(self, scope: Scope, version: Scope) -> list[str]:
        """Makes an open version the scope's shard; the one before is closed and stays on disk.

        Returns the names of the generations before.
        """
        home, old = self.home(scope), generations(self.home(scope))
        write_generations(home, self._shards[version].folder.name, *old[:1])
        before = self._shards.pop(scope, None)
        self._shards[scope] = self._shards.pop(version)
        self.drop(sibling(scope, PREVIOUS))
        if before is not None:
            before.close()
        return old

    def close_unused(self, but: Container[Scope]) -> None:
        """Closes previous versions that were not used lately and are not being changed."""
        if self._is_still:  # to close one is to write it
            return
        for scope, at in list(self._used.items()):
            busy = self.lock(scope).locked() or scope in but
            if not busy and time.monotonic() - at >= IDLE_SECONDS:
                del self._used[scope]
                if shard := self._shards.pop(scope, None):
                    shard.close()

    def close(self) -> None:
        """Flushes and closes every shard."""
        for shard in self._shards.values():
            shard.close()
        self._shards.clear()
