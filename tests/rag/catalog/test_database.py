from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from rag.catalog.database import HEAD, Database, PostgresDatabase
from rag.catalog.schema import metadata
from rag.catalog.sqlite_database import SqliteDatabase
from rag.catalog.tables import collections, documents
from rag.errors import BusyError, ConfigError, UpstreamError
from tests.catalogs import described
from tests.postgres import LOSE_LOCKS, PostgresServer, lose_locks

pytestmark = pytest.mark.anyio


def differences(connection: sa.Connection) -> list[object]:
    return list(compare_metadata(MigrationContext.configure(connection), metadata))


def migrate(connection: sa.Connection) -> None:
    """Makes all tables anew, by the migrations alone."""
    known = sa.MetaData()
    known.reflect(connection)
    known.drop_all(connection)
    config = Config()
    config.set_main_option("script_location", "rag.catalog:migrations")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


async def test_an_empty_database_gets_the_tables_that_the_migrations_make(
    empty_database: Database,
) -> None:
    await empty_database.open()
    async with empty_database.write() as db:
        at_once = await db.run_sync(described)
        await db.run_sync(migrate)
        assert await db.run_sync(differences) == []
        migrated = await db.run_sync(described)
        [version] = await db.execute(sa.text("SELECT version_num FROM alembic_version"))
    assert at_once == migrated
    assert version.version_num == HEAD


def test_the_newest_migration_is_the_one_that_is_run() -> None:
    config = Config()
    config.set_main_option("script_location", "rag.catalog:migrations")
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD


async def test_tables_older_than_the_migrations_keep_their_rows(tmp_path: Path) -> None:
    file = tmp_path / "catalog.sqlite"
    first = Config()
    first.set_main_option("script_location", "rag.catalog:migrations")
    engine = sa.create_engine(f"sqlite:///{file}")
    with engine.begin() as connection:
        first.attributes["connection"] = connection
        command.upgrade(first, "0001")
    engine.dispose()
    with sqlite3.connect(file) as old:
        old.execute("DROP TABLE alembic_version")
        old.execute("INSERT INTO collections VALUES ('t', 'c', 'e', 'now')")
    old.close()
    database = SqliteDatabase(file)
    await database.open()
    [row] = await database.rows(sa.text("SELECT collection FROM collections"))
    assert row["collection"] == "c"
    await database.close()


async def test_tables_newer_than_the_migrations_are_refused(database: Database) -> None:
    await database.open()
    async with database.write() as db:
        await db.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ConfigError, match="newer Plumbline: its tables are at 9999"):
        await database.open()


async def test_opening_again_and_many_at_once(postgres: PostgresServer) -> None:
    url = postgres.new_database()
    many = [PostgresDatabase(url) for _ in range(4)]
    await asyncio.gather(*(database.open() for database in many))
    await many[0].open()
    for database in many:
        assert await database.rows(sa.select(documents)) == []
        await database.close()


def new_collection(name: str) -> sa.Insert:
    values = {"tenant": name, "collection": "c", "embedder": "e", "created_at": "now"}
    return collections.insert().values(values)


async def tenants(database: Database) -> list[str]:
    rows = await database.rows(sa.select(collections.c.tenant).order_by(collections.c.tenant))
    return [row["tenant"] for row in rows]


async def test_a_change_that_fails_leaves_nothing(database: Database) -> None:
    def fail(db: sa.Connection) -> None:
        db.execute(new_collection("lost"))
        raise BusyError("not now")

    def keep(db: sa.Connection, name: str) -> str | None:
        db.execute(new_collection(name))
        return db.scalar(sa.select(collections.c.embedder))

    with pytest.raises(BusyError, match="not now"):
        await database.change(fail)
    assert await database.change(keep, "kept") == "e"
    assert await tenants(database) == ["kept"]


async def test_a_transaction_whose_caller_is_cancelled_leaves_nothing(database: Database) -> None:
    begun = asyncio.Event()

    async def write() -> None:
        async with database.write() as db:
            await db.execute(new_collection("lost"))
            begun.set()
            while True:  # it is cancelled between two statements, or in the midst of one
                await db.execute(sa.select(collections))

    writing = asyncio.create_task(write())
    await begun.wait()
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    async with database.write() as db:
        await db.execute(new_collection("kept"))
    assert await tenants(database) == ["kept"]


async def together(first: Database, second: Database, *keys: str) -> int:
    """Enters a locked block ten times per key and database; returns the most at once."""
    inside = most = 0

    async def enter(database: Database, key: str) -> None:
        nonlocal inside, most
        async with database.alone("key", key):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0.002)
            inside -= 1

    tasks = [enter(d, key) for d in (first, second) for key in keys for _ in range(10)]
    await asyncio.gather(*tasks)
    return most


async def test_one_at_a_time_with_one_key_and_not_with_two(database: Database) -> None:
    assert await together(database, database, "a") == 1
    assert await together(database, database, "a", "b") == 2
    assert database._locks == {}


async def test_other_processes_respect_the_lock(postgres: PostgresServer) -> None:
    url = postgres.new_database()
    first, second = PostgresDatabase(url), PostgresDatabase(url)
    assert await together(first, second, "a") == 1
    await first.close()
    await second.close()


async def locked(database: Database, *keys: str) -> bool:
    """True if all these keys are locked by another block."""
    for key in keys:
        try:
            async with database.alone(key, wait=False):
                return False
        except BusyError:
            """The lock is held."""
    return True


async def test_locks_of_a_lost_connection_are_taken_again_on_another(
    postgres: PostgresServer,
) -> None:
    url = postgres.new_database()
    first, second = PostgresDatabase(url), PostgresDatabase(url)
    async with asyncio.timeout(30):
        async with first.alone("a"), first.alone("b"):
            for _ in range(2):
                await lose_locks(second)  # `first` gets no other request
                assert await locked(second, "a", "b")
        assert not await locked(second, "a")
        assert not await locked(second, "b")
    await first.close()
    await second.close()


async def test_a_lock_that_is_given_back_as_its_connection_is_lost_is_free(
    postgres: PostgresServer,
) -> None:
    url = postgres.new_database()
    first, second = PostgresDatabase(url), PostgresDatabase(url)
    async with asyncio.timeout(30):
        async with first.alone("a"):
            await second.rows(LOSE_LOCKS)
        async with second.alone("a"), second.alone("b"):
            """Both locks are free."""
        async with first.alone("a"):
            assert await locked(second, "a")
    await first.close()
    await second.close()


async def test_locks_end_with_the_process_that_holds_them(postgres: PostgresServer) -> None:
    url = postgres.new_database()
    command = [sys.executable, "-c", _HOLDER, url]
    holder = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert holder.stdout is not None
    assert await holder.stdout.readline() == b"held\n"
    database = PostgresDatabase(url)
    assert await locked(database, "a")
    holder.kill()
    await holder.wait()
    async with asyncio.timeout(30), database.alone("a"):
        """The lock is free."""
    await database.close()


_HOLDER = """
import asyncio, sys
from rag.catalog.database import PostgresDatabase

async def main():
    async with PostgresDatabase(sys.argv[1]).alone("a"):
        print("held", flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


async def test_a_waiter_that_is_cancelled_leaves_the_lock_to_the_next(database: Database) -> None:
    async with database.alone("key"):

        async def wait() -> None:
            async with database.alone("key"):
                raise AssertionError

        waiter = asyncio.create_task(wait())
        await asyncio.sleep(0.01)
        waiter.cancel()
        await asyncio.gather(waiter, return_exceptions=True)
    async with asyncio.timeout(10), database.alone("key"):
        pass


@pytest.fixture(scope="module")
def mortal() -> Iterator[PostgresServer]:
    """A server that is stopped by tests."""
    with PostgresServer.started() as server:
        yield server


async def test_a_server_that_is_restarted_is_used_again(
    mortal: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rag.catalog.outage.RETURN_SECONDS", 0.2)
    server = mortal
    database = PostgresDatabase(server.new_database())
    await database.open()
    async with database.alone("key"):
        server.stop()
        with pytest.raises(UpstreamError, match=r"Is it running, and is the setting catalog\.url"):
            await database.rows(sa.text("SELECT 1"))
        server.start()
    async with database.alone("key"):
        assert len(await database.rows(sa.text("SELECT 1"))) == 1
    await database.close()


async def use(database: Database, number: int) -> None:
    """A read, a write and a lock."""
    assert len(await database.rows(sa.text("SELECT 1"))) == 1
    async with database.alone("key", number), database.write() as db:
        await db.execute(sa.text("INSERT INTO used VALUES (:number)"), {"number": number})


@pytest.mark.parametrize("mode", ["immediate", "fast"])
@pytest.mark.parametrize("pause", [0.0, 1.5])
async def test_no_request_fails_after_a_restart(
    mortal: PostgresServer, mode: str, pause: float
) -> None:
    server = mortal
    database = PostgresDatabase(server.new_database())
    async with database.write() as db:
        await db.execute(sa.text("CREATE TABLE used (number integer)"))
    slow = sa.text("SELECT pg_sleep(0.2)")
    await asyncio.gather(*(database.rows(slow) for _ in range(20)))  # fills the pool, and more
    await use(database, 0)  # opens the session of the locks
    await asyncio.to_thread(server.stop, mode)
    await asyncio.sleep(pause)
    await asyncio.to_thread(server.start)
    await asyncio.gather(*(use(database, number) for number in range(1, 31)))
    for number in range(31, 41):
        await use(database, number)
    [row] = await database.rows(sa.text("SELECT count(*), count(DISTINCT number) AS n FROM used"))
    assert (row["count"], row["n"]) == (41, 41)
    await database.close()


async def test_calls_wait_for_a_server_that_restarts(mortal: PostgresServer) -> None:
    database = PostgresDatabase(mortal.new_database())
    async with database.write() as db:
        await db.execute(sa.text("CREATE TABLE used (number integer)"))
    await use(database, 0)
    await asyncio.to_thread(mortal.stop, "fast")
    calls = [asyncio.create_task(use(database, number)) for number in range(1, 31)]
    await asyncio.sleep(0.5)
    assert not any(call.done() for call in calls)
    await asyncio.to_thread(mortal.start)
    await asyncio.gather(*calls)
    [row] = await database.rows(sa.text("SELECT count(*), count(DISTINCT number) AS n FROM used"))
    assert (row["count"], row["n"]) == (31, 31)
    await database.close()


async def test_a_server_that_was_never_there_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rag.catalog.outage.RETURN_SECONDS", 1e6)
    database = PostgresDatabase("postgresql://nobody@127.0.0.1:1/none")
    for _ in range(2):
        with pytest.raises(UpstreamError):
            await database.open()
    await database.close()


async def test_a_read_that_loses_its_connection_is_asked_once_more(
    postgres: PostgresServer,
) -> None:
    url = postgres.new_database()
    database, other = PostgresDatabase(url), PostgresDatabase(url)
    reading = asyncio.create_task(database.rows(sa.text("SELECT pg_sleep(0.5), 7 AS n")))
    kill = sa.text(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE query LIKE '%pg_sleep(0.5), 7%' AND pid != pg_backend_pid()"
        " AND datname = current_database()"
    )
    async with asyncio.timeout(10):
        while not await other.rows(kill):  # noqa: ASYNC110 - it waits for the server
            await asyncio.sleep(0.02)
    assert (await reading)[0]["n"] == 7
    await database.close()
    await other.close()


async def test_a_read_goes_on_when_a_column_has_another_type(postgres: PostgresServer) -> None:
    url = postgres.new_database()
    database, other = PostgresDatabase(url), PostgresDatabase(url)
    async with other.write() as db:
        await db.execute(sa.text("CREATE TABLE t AS SELECT 1 AS n"))
    assert (await database.rows(sa.text("SELECT n FROM t")))[0]["n"] == 1
    async with other.write() as db:
        await db.execute(sa.text("ALTER TABLE t ALTER n TYPE text"))
    assert (await database.rows(sa.text("SELECT n FROM t")))[0]["n"] == "1"
    await database.close()
    await other.close()


async def test_a_password_is_in_no_message() -> None:
    database = PostgresDatabase("postgresql://user:secret@127.0.0.1:1/catalog")
    with pytest.raises(UpstreamError) as caught:
        await database.rows(sa.text("SELECT 1"))
    assert "127.0.0.1" not in str(caught.value)
    assert "postgresql://***@127.0.0.1:1/catalog: ConnectionRefusedError" in caught.value.in_full()
    assert "secret" not in caught.value.in_full()
    await database.close()
