"""The catalog in an SQLite file.

A statement on one row costs less than the call of a thread, so threads are called seldom: once for
a query, and once for a transaction that is one function (`change`).
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from rag.catalog.database import Database, Transaction, is_current, upgrade
from rag.catalog.database_errors import disk_full, reason
from rag.errors import RagError, StorageError

P = ParamSpec("P")
T = TypeVar("T")
_READERS = 8
"""Queries at once."""
_PRAGMAS = ("journal_mode=WAL", "synchronous=NORMAL", "busy_timeout=5000", "secure_delete=ON")


class SqliteDatabase(Database):
    """An SQLite file that one process owns. One writer at a time; readers do not wait for it."""

    insert = staticmethod(sqlite.insert)
    utf8 = staticmethod(lambda text: sa.cast(text, sa.LargeBinary))
    vendor = (*Database.vendor, sqlite3.Error)

    def __init__(self, file: Path) -> None:
        super().__init__()
        self._engine = sa.create_engine(
            f"sqlite:///{file}",
            hide_parameters=True,  # no message may show the texts of documents
            pool_size=_READERS + 1,
            connect_args={"factory": _Connection},
        )
        sa.event.listen(self._engine, "connect", _configure)
        self._file = file
        self._writing = asyncio.Lock()
        self._writer = ThreadPoolExecutor(1, "catalog-writer")
        self._readers = ThreadPoolExecutor(_READERS, "catalog-reader")

    async def open(self) -> None:
        """Brings the tables to the newest migration: completely, or not at all."""
        await super().open()
        self._engine.dispose()  # the connection of the upgrade ignores foreign keys

    async def close(self) -> None:
        """Closes every connection, after the calls under way."""
        for threads in (self._readers, self._writer):
            await asyncio.to_thread(threads.shutdown)
        self._engine.dispose()

    async def _read(
        self, query: sa.Executable, values: Mapping[str, Any] | None
    ) -> Sequence[sa.RowMapping]:
        return await _called(self._readers, partial(self._rows, query, values))

    def _rows(
        self, query: sa.Executable, values: Mapping[str, Any] | None
    ) -> Sequence[sa.RowMapping]:
        with self._engine.connect() as db:
            return db.execute(query, values).mappings().all()

    @contextlib.asynccontextmanager
    async def write(self) -> AsyncIterator[Transaction]:
        """Opens a transaction; the next one waits until it has ended.

        One thread runs the calls of all transactions in their order. So what a cancelled caller
        has begun is over before the next one begins.
        """
        async with self._writing:
            with self._errors():
                transaction = _Transaction(self._engine, self._writer)
                try:
                    yield transaction
                except BaseException:
                    await transaction.end(commit=False)
                    raise
                await transaction.end(commit=True)

    async def change(
        self, fn: Callable[Concatenate[sa.Connection, P], T], *arg: P.args, **kw: P.kwargs
    ) -> T:
        """Calls `fn` with a transaction, in one call of the thread."""

        def work() -> T:
            with self._engine.begin() as db:
                return fn(db, *arg, **kw)

        async with self._writing:
            with self._errors():
                return await _called(self._writer, work)

    async def copy_to(self, file: Path) -> None:
        """Copies the file in one step of SQLite's backup, which reads the state of one moment."""
        with self._errors():
            await _called(self._readers, partial(self._copy_to, file))

    def _copy_to(self, file: Path) -> None:
        with (
            contextlib.closing(sqlite3.connect(f"file:{self._file}?mode=ro", uri=True)) as source,
            contextlib.closing(sqlite3.connect(file)) as target,
        ):
            source.backup(target)

    @contextlib.asynccontextmanager
    async def snapshot(self, to: Path) -> AsyncIterator[Path]:
        """Yields the database's own file if its log is empty, and a copy of it if not.

        A reader is held open. What others write meanwhile stays in the log: SQLite writes nothing
        of it to the file that is newer than what a reader sees (sqlite.org/wal.html, 2.1).
        """
        await self.open()
        with self._errors():
            reader = sqlite3.connect(self._file, check_same_thread=False, isolation_level=None)
        with contextlib.closing(reader):
            with self._errors():
                is_held = await self.trim() and await _called(
                    self._readers, partial(self._hold, reader)
                )
            if not is_held:
                await self.copy_to(to)
            yield self._file if is_held else to

    def _hold(self, reader: sqlite3.Connection) -> bool:
        """Begins to read; returns False if somebody has written to the log before."""
        reader.execute("BEGIN")
        reader.execute("SELECT 1 FROM sqlite_schema").fetchone()
        log = self._file.with_name(f"{self._file.name}-wal")
        return not log.exists() or log.stat().st_size == 0

    async def trim(self) -> bool:
        """Writes the log into the file and empties it; returns False if a reader blocks it.

        Deleted rows are overwritten in the file, but the log may contain them until then.
        """
        async with self._writing:
            with self._errors():
                return await _called(self._writer, self._trim)

    def _trim(self) -> bool:
        with self._engine.connect() as db:
            db.execution_options(isolation_level="AUTOCOMMIT")
            return not db.scalar(sa.text("PRAGMA wal_checkpoint(TRUNCATE)"))

    async def _migrate(self, db: Transaction) -> None:
        await db.run_sync(_migrate)

    def _error(self, error: Exception) -> RagError:
        detail = f"{self._file}: {reason(error)}."
        if disk_full(error):
            return StorageError(
                "The disk is full: the catalog cannot be written. Free some space and run it again;"
                " what was stored before is kept.",
                code="disk_full",
                detail=detail,
            )
        return StorageError(
            "The catalog cannot be used. If its file was damaged, restore it from a backup, or move"
            " the data folder away and ingest again.",
            detail=detail,
        )


class _Transaction:
    """A transaction in the writer's thread; it begins with its first statement."""

    def __init__(self, engine: sa.Engine, writer: Executor) -> None:
        self._engine = engine
        self._writer = writer
        self._connection: sa.Connection | None = None

    async def execute(
        self, statement: sa.Executable, parameters: Any = None, /
    ) -> sa.CursorResult[*tuple[Any, ...]]:
        return await self.run_sync(sa.Connection.execute, statement, parameters)

    async def run_sync(
        self, fn: Callable[Concatenate[sa.Connection, P], T], *arg: P.args, **kw: P.kwargs
    ) -> T:
        return await _called(self._writer, lambda: fn(self._opened(), *arg, **kw))

    async def end(self, *, commit: bool) -> None:
        ending = _called(self._writer, partial(self._end, commit=commit))
        await asyncio.shield(ending)  # also if the caller is cancelled

    def _opened(self) -> sa.Connection:
        if self._connection is None:
            self._connection = self._engine.connect()
        return self._connection

    def _end(self, *, commit: bool) -> None:
        if self._connection is not None:
            with self._connection as db:  # which rolls back what is not committed
                if commit:
                    db.commit()


def _called(threads: Executor, work: Callable[[], T]) -> asyncio.Future[T]:
    """Returns the result of a call in a thread; once begun, it is not interrupted."""
    return asyncio.get_running_loop().run_in_executor(threads, work)


class _Cursor(sqlite3.Cursor):
    """A cursor that has all rows once its statement was executed, for readers in any thread."""

    _left: deque[Any]

    def execute(self, *args: Any) -> _Cursor:
        super().execute(*args)
        self._left = deque(super().fetchall())
        return self

    def fetchone(self) -> Any:
        return self._left.popleft() if self._left else None

    def fetchmany(self, size: int | None = 1) -> list[Any]:
        return [self._left.popleft() for _ in range(min(size or 1, len(self._left)))]

    def fetchall(self) -> list[Any]:
        rows, self._left = list(self._left), deque()
        return rows


class _Connection(sqlite3.Connection):
    def cursor(self, factory: Any = _Cursor) -> Any:
        return super().cursor(factory)


def _migrate(db: sa.Connection) -> None:
    if is_current(db):
        return
    # Python's sqlite3 begins no transaction for DDL, and inside one this PRAGMA does nothing.
    db.exec_driver_sql("PRAGMA foreign_keys=OFF")
    db.exec_driver_sql("BEGIN IMMEDIATE")
    upgrade(db)


def _configure(connection: sqlite3.Connection, _record: Any) -> None:
    """Sets the pragmas of a connection, so that readers run beside one writer.

    A commit survives the end of the process; the machine may lose those of the last moment.
    """
    for pragma in _PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")
