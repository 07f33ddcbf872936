"""The catalog's database: rows, transactions and locks; on PostgreSQL, for many processes."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import math
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Hashable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine.interfaces import DBAPIConnection, ExceptionContext
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from rag.catalog import tables
from rag.catalog.advisory_locks import POLL_SECONDS, AdvisoryLocks
from rag.catalog.database_errors import disk_full, lost_connection, reason
from rag.catalog.outage import Outage
from rag.errors import BusyError, ConfigError, RagError, StorageError, UpstreamError
from rag.privacy.redaction import masked, scrubbed
from rag.process.extras import needing

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

P = ParamSpec("P")
T = TypeVar("T")
HEAD = "0027"
"""The newest migration in `rag.catalog.migrations`."""
MIGRATIONS = "rag.catalog:migrations"
_VERSION = sa.Table(
    "alembic_version",
    sa.MetaData(),
    sa.Column("version_num", sa.String(32)),
    sa.PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)
"""The table in which Alembic keeps the version, as it makes it."""
_CONNECT_SECONDS = 10
_POOL = 10
_IDLE_SECONDS = 0.2
"""Seconds of idle time before a connection is checked: no server restarts in less."""
_USED = "used"


class Transaction(Protocol):
    """Runs the statements of a transaction, as SQLAlchemy's `AsyncConnection` does."""

    async def execute(
        self, statement: sa.Executable, parameters: Any = None, /
    ) -> sa.CursorResult[*tuple[Any, ...]]:
        """Runs a statement; returns its result."""

    async def run_sync(
        self, fn: Callable[Concatenate[sa.Connection, P], T], *arg: P.args, **kw: P.kwargs
    ) -> T:
        """Calls `fn` with the transaction: the cheapest way to run several statements."""


class Database(ABC):
    """Rows, transactions, and locks that all users of the database share."""

    insert: Callable[[sa.Table], Any]
    """The dialect's INSERT, which has `on_conflict_do_update`."""
    utf8: Callable[[sa.ColumnElement[str]], sa.ColumnElement[bytes]]
    """Turns a column's text into its UTF-8 bytes."""
    vendor: tuple[type[Exception], ...] = (SQLAlchemyError, OSError)
    """Exceptions that the driver may raise."""

    def __init__(self) -> None:
        self._locks: dict[Hashable, tuple[asyncio.Lock, list[None]]] = {}

    async def open(self) -> None:
        """Brings the tables to the newest migration."""
        async with self.write() as db:
            await self._migrate(db)

    @abstractmethod
    async def close(self) -> None:
        """Closes every connection."""

    async def rows(
        self, query: sa.Executable, values: Mapping[str, Any] | None = None
    ) -> Sequence[sa.RowMapping]:
        """Returns the rows of a query; `values` are those of its `bindparam`s.

        Raises:
            UpstreamError: The database cannot be reached.
            StorageError: The database is damaged, or its disk is full.
        """
        with self._errors():
            return await self._read(query, values)

    @abstractmethod
    async def _read(
        self, query: sa.Executable, values: Mapping[str, Any] | None
    ) -> Sequence[sa.RowMapping]: ...

    @abstractmethod
    def write(self) -> contextlib.AbstractAsyncContextManager[Transaction]:
        """Opens a transaction, committed at the end of the block. Raises as `rows` does."""

    async def change(
        self, fn: Callable[Concatenate[sa.Connection, P], T], *arg: P.args, **kw: P.kwargs
    ) -> T:
        """Calls `fn` with a transaction, committed if it returns. Raises as `rows` does."""
        async with self.write() as db:
            return await db.run_sync(fn, *arg, **kw)

    @contextlib.asynccontextmanager
    async def alone(self, *key: Hashable, wait: bool = True) -> AsyncIterator[None]:
        """Holds the lock of a key: no other caller is in a block with this key.

        Raises:
            BusyError: Another caller has the lock, and `wait` is False.
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
    async def copy_to(self, file: Path) -> None:
        """Copies all rows, as they are at one moment, into a new SQLite file.

        Others go on writing. Raises as `rows` does.
        """

    @contextlib.asynccontextmanager
    async def snapshot(self, to: Path) -> AsyncIterator[Path]:
        """Yields an SQLite file with all rows as they are at one moment, in today's tables.

        The file is `to`, or another one that does not change during the block. Others go on
        writing. Raises as `rows` does.
        """
        await self.copy_to(to)
        yield to

    async def trim(self) -> bool:
        """Removes deleted data from the database's log; returns False if a reader blocks it."""
        return True

    @abstractmethod
    async def _migrate(self, db: Transaction) -> None: ...

    @abstractmethod
    def _error(self, error: Exception) -> RagError: ...

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except self.vendor as error:
            # Without the cause: its message may quote rows, and a traceback would show it.
            raise self._error(error) from None


class PostgresDatabase(Database):
    """A PostgreSQL server that many processes use.

    Locks are PostgreSQL's advisory locks. For a moment after their connection is lost, others may
    take them; the work that they guard can be done twice without harm.
    """

    utf8 = staticmethod(lambda text: sa.func.convert_to(text, "UTF8", type_=sa.LargeBinary))

    def __init__(self, url: str) -> None:
        with needing("cluster", for_="`catalog.kind = 'postgres'`"):
            import asyncpg
        # Here: SQLite needs neither, and they take a third of SQLAlchemy's import.
        from sqlalchemy.dialects import postgresql
        from sqlalchemy.ext.asyncio import create_async_engine

        self.insert = postgresql.insert

        # While it connects, the driver raises its own exceptions.
        self.vendor = (*Database.vendor, asyncpg.PostgresError, asyncpg.InterfaceError)
        try:
            address = sa.make_url(url).set(drivername="postgresql+asyncpg")
        except (sa.exc.ArgumentError, ValueError):
            raise ConfigError(
                "The setting catalog.url has not the form"
                " postgresql://USER:PASSWORD@HOST:PORT/DATABASE."
            ) from None
        self._url = url
        super().__init__()
        self._engine = create_async_engine(
            address,
            hide_parameters=True,  # no message may show the texts of documents
            pool_size=_POOL,
            # A query alone needs no transaction, and neither does the ping before it.
            isolation_level="AUTOCOMMIT",
            connect_args={"timeout": _CONNECT_SECONDS},
        )
        sa.event.listen(self._engine.sync_engine, "checkin", _used)
        sa.event.listen(self._engine.sync_engine, "checkout", self._check)
        sa.event.listen(self._engine.sync_engine, "handle_error", _mark_lost)
        self._writing = self._engine.execution_options(isolation_level="READ COMMITTED")
        self._api: Any = self._engine.dialect.loaded_dbapi
        self._outage = Outage(self.vendor)
        self._advisory = AdvisoryLocks(self._engine, vendor=self.vendor)

    async def close(self) -> None:
        """Closes every connection, and releases this process's locks."""
        await self._advisory.close()
        await self._engine.dispose()

    @contextlib.asynccontextmanager
    async def write(self) -> AsyncIterator[Transaction]:
        """Opens a transaction."""
        with self._errors():
            async with self._connected(self._writing) as db, db.begin():
                yield db

    @contextlib.asynccontextmanager
    async def alone(self, *key: Hashable, wait: bool = True) -> AsyncIterator[None]:
        """Holds the lock of a key across all processes; raises as its base does."""
        number = _number(key)
        async with super().alone(*key, wait=wait):
            while not await self._take(number):
                if not wait:
                    raise _busy(key)
                await asyncio.sleep(POLL_SECONDS)
            try:
                yield
            finally:
                with contextlib.suppress(*self.vendor):  # a lost connection holds no lock
                    await asyncio.shield(self._advisory.give_back(number))

    async def copy_to(self, file: Path) -> None:
        """Reads all tables in one transaction, whose snapshot does not change."""
        from rag.catalog.copying import write_tables

        with self._errors():
            async with self._engine.execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            ).begin() as db:
                await write_tables(db, file)

    async def _read(
        self, query: sa.Executable, values: Mapping[str, Any] | None
    ) -> Sequence[sa.RowMapping]:
        """Reads again, once, if the connection was lost or its statements are of older tables."""
        try:
            return await self._read_once(query, values)
        except DBAPIError as error:
            if not (
                error.connection_invalidated
                or isinstance(error.orig, self._api.InvalidCachedStatementError)
            ):
                raise
        return await self._read_once(query, values)

    async def _read_once(
        self, query: sa.Executable, values: Mapping[str, Any] | None
    ) -> Sequence[sa.RowMapping]:
        async with self._connected(self._engine) as db:
            return (await db.execute(query, values)).mappings().all()

    @contextlib.asynccontextmanager
    async def _connected(self, engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
        """Yields a connection of the pool, which waits for a server that restarts."""

        async def connect() -> AsyncConnection:
            return await engine.connect()

        db = await self._outage.retry(connect)
        try:
            yield db
        finally:
            await asyncio.shield(db.close())  # also if the caller is cancelled

    async def _take(self, number: int) -> bool:
        with self._errors():
            return await self._outage.retry(partial(self._advisory.take, number))

    def _check(self, connection: Any, record: ConnectionPoolEntry, _: Any) -> None:
        """Checks a connection before its use; if it was lost, the whole pool is closed.

        A connection closed by the server is known without a query. The server is asked only if a
        connection was idle: a ping before every use, as with `pool_pre_ping`, would take a sixth
        of the time that a document costs.
        """
        if connection.driver_connection.is_closed():
            raise sa.exc.InvalidatePoolError("The server has closed the connection.")
        if time.monotonic() - record.info.get(_USED, math.inf) > _IDLE_SECONDS:
            try:
                self._engine.dialect.do_ping(connection)
            except (self._api.Error, *self.vendor) as error:  # no event translates ping errors
                raise sa.exc.InvalidatePoolError("The connection was lost.") from error

    async def _migrate(self, db: Transaction) -> None:
        await db.execute(sa.select(sa.func.pg_advisory_xact_lock(_number(("migrations",)))))
        if not await db.run_sync(is_current):
            await db.run_sync(upgrade)

    def _error(self, error: Exception) -> RagError:
        detail = f"{masked(self._url)}: {scrubbed(reason(error), self._url)}."
        if disk_full(error):
            return StorageError(
                "PostgreSQL has no room left. Free some space there; what was stored before is"
                " kept.",
                code="disk_full",
                detail=detail,
            )
        if isinstance(error, DBAPIError) or not isinstance(error, SQLAlchemyError):
            return UpstreamError(
                "PostgreSQL does not answer as it should. Is it running, and is the setting"
                " catalog.url right?",
                detail=detail,
            )
        return StorageError("PostgreSQL cannot be used.", detail=detail)


def _mark_lost(context: ExceptionContext) -> None:
    """Marks errors of lost connections for SQLAlchemy, which then closes the whole pool."""
    if lost_connection(context.original_exception):
        context.is_disconnect = True


def _used(_: DBAPIConnection, record: ConnectionPoolEntry) -> None:
    record.info[_USED] = time.monotonic()


def _busy(key: Hashable) -> BusyError:
    return BusyError(f"Another process works on {key} already.")


def _number(key: Hashable) -> int:
    """Returns 64 bits for `pg_advisory_lock`. Two keys may share a number: no harm, they wait."""
    digest = hashlib.sha256(repr(key).encode()).digest()
    return int.from_bytes(digest[:8], signed=True)


def is_current(connection: sa.Connection) -> bool:
    """Returns True if the tables are at `HEAD`; False if they are older or missing.

    Raises:
        ConfigError: The tables are newer.
    """
    if not sa.inspect(connection).has_table("alembic_version"):
        return False
    version = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
    if version is not None and version > HEAD:
        raise ConfigError(
            f"The catalog was used with a newer Plumbline: its tables are at {version}, and"
            f" this one knows them up to {HEAD}. Upgrade, or restore a backup made before."
        )
    return bool(version == HEAD)


def upgrade(connection: sa.Connection) -> None:
    """Brings the tables to `HEAD`, within the current transaction of the connection.

    An empty database gets them at once. Alembic is imported here, for those that have older ones:
    its import takes longer than the check for an upgrade.
    """
    if not sa.inspect(connection).get_table_names():
        tables.collections.metadata.create_all(connection, checkfirst=False)
        _VERSION.create(connection)
        connection.execute(_VERSION.insert().values(version_num=HEAD))
        return
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", MIGRATIONS)
    config.attributes["connection"] = connection
    command.upgrade(config, HEAD)
