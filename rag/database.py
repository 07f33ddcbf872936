"""The catalog's database: SQLite in the data folder, or PostgreSQL for many processes."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import math
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from rag.errors import BusyError, ConfigError, RagError, StorageError, UpstreamError

HEAD = "0011"
"""The newest migration in `rag.migrations`."""
_POLL_SECONDS = 0.05
_CONNECT_SECONDS = 10
_POOL = 10
_IDLE_SECONDS = 1.0
_USED = "used"
_LOCK = sa.text("SELECT pg_try_advisory_lock(:number)")
_UNLOCK = sa.text("SELECT pg_advisory_unlock(:number)")


class Database(ABC):
    """Rows, transactions, and locks that whoever shares the database respects."""

    insert: Callable[[sa.Table], Any]
    """The dialect's own INSERT, which knows `on_conflict_do_update`."""
    vendor: tuple[type[Exception], ...] = (SQLAlchemyError, OSError)
    """What may be raised below."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._locks: dict[Hashable, tuple[asyncio.Lock, list[None]]] = {}

    async def open(self) -> None:
        """Brings the tables to the newest migration."""
        async with self.write() as db:
            await self._migrate(db)

    async def close(self) -> None:
        """Closes every connection."""
        await self._engine.dispose()

    async def rows(
        self, query: sa.Executable, values: Mapping[str, Any] | None = None
    ) -> Sequence[sa.RowMapping]:
        """What a query finds; `values` are those of its `bindparam`s.

        Raises:
            UpstreamError: the database cannot be reached.
            StorageError: it is damaged, or its disk is full.
        """
        with self._errors():
            async with self._engine.connect() as db:
                return (await db.execute(query, values)).mappings().all()

    @abstractmethod
    def write(self) -> contextlib.AbstractAsyncContextManager[AsyncConnection]:
        """A transaction, committed at the end of the block. Raises as `rows` does."""

    @contextlib.asynccontextmanager
    async def alone(self, *key: Hashable, wait: bool = True) -> AsyncIterator[None]:
        """Nobody else is in a block with this key meanwhile.

        Raises:
            BusyError: somebody is, and we are not to wait.
        """
        if not wait and key in self._locks:
            raise _busy(key)
        lock, users = self._locks.setdefault(key, (asyncio.Lock(), []))
        users.append(None)
        try:
            async with lock:
                yield
        finally:
            users.pop()
            if not users:
                del self._locks[key]

    @abstractmethod
    async def _migrate(self, db: AsyncConnection) -> None: ...

    @abstractmethod
    def _error(self, error: Exception) -> RagError: ...

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except self.vendor as error:
            raise self._error(error) from error


class SqliteDatabase(Database):
    """A file that one process owns. One writer at a time; readers do not wait for it."""

    insert = staticmethod(sqlite.insert)

    def __init__(self, file: Path) -> None:
        super().__init__(create_async_engine(f"sqlite+aiosqlite:///{file}", hide_parameters=True))
        sa.event.listen(self._engine.sync_engine, "connect", _configure)
        self._file = file
        self._writer = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """A transaction; the next one waits until it has ended."""
        async with self._writer:
            with self._errors():
                async with self._engine.begin() as db:
                    yield db

    async def _migrate(self, db: AsyncConnection) -> None:
        await db.run_sync(_upgrade)

    def _error(self, error: Exception) -> RagError:
        cause = _cause(error)
        if "full" in cause or "disk I/O" in cause:
            return StorageError(
                f"The disk is full: {self._file} cannot be written ({cause}). Free some space and"
                " run it again; what was stored before is kept.",
                code="disk_full",
            )
        return StorageError(
            f"The catalog {self._file} cannot be used: {cause}. If the file was damaged, restore it"
            " from a backup, or move the data folder away and ingest again."
        )


class PostgresDatabase(Database):
    """A server that many processes use.

    Locks are PostgreSQL's advisory ones, held by one connection of this process: they end with the
    process, however it ends. Where that connection is lost they are, too; what they guard can be
    done twice without harm.
    """

    insert = staticmethod(postgresql.insert)

    def __init__(self, url: str) -> None:
        import asyncpg

        # As it connects, the driver raises what is its own.
        self.vendor = (*Database.vendor, asyncpg.PostgresError, asyncpg.InterfaceError)
        address = sa.make_url(url).set(drivername="postgresql+asyncpg")
        self._name = address.render_as_string(hide_password=True).partition("://")[2]
        super().__init__(
            create_async_engine(
                address,
                hide_parameters=True,  # texts of documents: no message is to show them
                pool_size=_POOL,
                # A query alone needs no transaction, and neither does the ping before it.
                isolation_level="AUTOCOMMIT",
                connect_args={"timeout": _CONNECT_SECONDS},
            )
        )
        sa.event.listen(self._engine.sync_engine, "checkin", _used)
        sa.event.listen(self._engine.sync_engine, "checkout", self._check_idle)
        self._writing = self._engine.execution_options(isolation_level="READ COMMITTED")
        self._session: AsyncConnection | None = None
        self._speaking = asyncio.Lock()

    async def close(self) -> None:
        """Closes every connection, and with it this process's locks."""
        if self._session is not None:
            await self._session.close()
        await super().close()

    @contextlib.asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """A transaction."""
        with self._errors():
            async with self._writing.begin() as db:
                yield db

    @contextlib.asynccontextmanager
    async def alone(self, *key: Hashable, wait: bool = True) -> AsyncIterator[None]:
        """Nobody else is in a block with this key, in whatever process."""
        number = _number(key)
        async with super().alone(*key, wait=wait):
            while not await self._ask(_LOCK, number):
                if not wait:
                    raise _busy(key)
                await asyncio.sleep(_POLL_SECONDS)
            try:
                yield
            finally:
                with contextlib.suppress(UpstreamError):  # a lost connection holds no lock
                    await asyncio.shield(self._ask(_UNLOCK, number))

    async def _ask(self, query: sa.TextClause, number: int) -> bool:
        async with self._speaking:
            with self._errors():
                if self._session is None or self._session.invalidated:
                    self._session = await self._engine.connect()
                try:
                    return bool(await self._session.scalar(query, {"number": number}))
                except DBAPIError:
                    await self._session.invalidate()
                    raise

    def _check_idle(self, connection: DBAPIConnection, record: ConnectionPoolEntry, _: Any) -> None:
        """After a restart of the server connections are stale: tried before they are used again.

        Not before every use, as `pool_pre_ping` does: that is a sixth of what a document costs.
        """
        if time.monotonic() - record.info.get(_USED, math.inf) > _IDLE_SECONDS:
            try:
                self._engine.dialect.do_ping(connection)
            except self.vendor as error:
                raise sa.exc.InvalidatePoolError from error

    async def _migrate(self, db: AsyncConnection) -> None:
        await db.execute(sa.select(sa.func.pg_advisory_xact_lock(_number(("migrations",)))))
        await db.run_sync(_upgrade)

    def _error(self, error: Exception) -> RagError:
        cause = _cause(error)
        if "DiskFullError" in cause:
            return StorageError(
                f"PostgreSQL at {self._name} has no room left ({cause}). Free some space there;"
                " what was stored before is kept.",
                code="disk_full",
            )
        if isinstance(error, DBAPIError) or not isinstance(error, SQLAlchemyError):
            return UpstreamError(
                f"PostgreSQL at {self._name} does not answer as it should: {cause}. Is it running,"
                " and is the setting catalog.url right?"
            )
        return StorageError(f"PostgreSQL at {self._name} cannot be used: {cause}.")


def _used(_: DBAPIConnection, record: ConnectionPoolEntry) -> None:
    record.info[_USED] = time.monotonic()


def _busy(key: Hashable) -> BusyError:
    return BusyError(f"Another process works on {key} already.")


def _cause(error: Exception) -> str:
    return str(getattr(error, "orig", None) or error)


def _number(key: Hashable) -> int:
    """64 bits for `pg_advisory_lock`. Two keys with one number wait for each other: no harm."""
    digest = hashlib.sha256(repr(key).encode()).digest()
    return int.from_bytes(digest[:8], signed=True)


def _upgrade(connection: sa.Connection) -> None:
    """Brings the tables up to date.

    Alembic is imported where it is needed: that takes longer than to find that it is not.
    """
    if sa.inspect(connection).has_table("alembic_version"):
        version = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
        if version == HEAD:
            return
        if version > HEAD:
            raise ConfigError(
                f"The catalog was used with a newer Plumbline: its tables are at {version}, and"
                f" this one knows them up to {HEAD}. Upgrade, or restore a backup made before."
            )
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "rag:migrations")
    config.attributes["connection"] = connection
    command.upgrade(config, HEAD)


def _configure(connection: Any, _record: Any) -> None:
    """Readers beside one writer; a commit survives the process, and the machine up to a moment."""
    cursor = connection.cursor()
    try:
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "busy_timeout=5000"):
            cursor.execute(f"PRAGMA {pragma}")
    except Exception:
        connection.close()  # nobody else would, and its thread would outlive the event loop
        raise
    cursor.close()
