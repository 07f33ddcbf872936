"""Interrupted upgrades of the catalog from every earlier version."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.pool import NullPool

import rag.catalog.migrations
from rag.catalog import database as product
from rag.catalog.database import Database, PostgresDatabase
from rag.catalog.schema import metadata
from rag.catalog.sqlite_database import SqliteDatabase
from rag.errors import StorageError
from tests.catalogs import described
from tests.disks import fill as fill_disk
from tests.disks import small_disk
from tests.postgres import PostgresServer

ROWS = 3
SPREAD, WIDE = 5, 40
"""Statements between one kill and the next: where each migration is cut, and for later versions.

An upgrade by a start is one transaction. The first version meets every migration; of the others it
remains to be shown that their rows outlive a kill. `make attack` kills at every statement.
"""
AMID_POSTGRES = 20
Statements = tuple[tuple[Any, ...], ...]
SCHEMAS: dict[Statements, dict[str, Any]] = {}
"""The definitions of tables by the statements that made them: to reflect them is most of a test."""
DIFFERENCES: dict[Statements, list[Any]] = {}
"""How these differ from the newest version's, by the same statements."""


def config() -> Config:
    made = Config()
    made.set_main_option("script_location", product.MIGRATIONS)
    return made


VERSIONS = [
    script.revision
    for script in reversed(list(ScriptDirectory.from_config(config()).walk_revisions()))
]
EARLIER = [None, *VERSIONS[:-1]]
ONCE_NEWEST = "0010"
"""The newest version made without a transaction: later upgrades are complete or absent."""
CUTS = [
    *((version, "start") for version in EARLIER),
    *((version, "old upgrade") for version in EARLIER[: VERSIONS.index(ONCE_NEWEST) + 1]),
]


def upgrade(engine: sa.Engine, version: str) -> None:
    """Upgrades in the old way: on SQLite the transaction begins with the first row."""
    with engine.begin() as connection:
        alembic = config()
        alembic.attributes["connection"] = connection
        command.upgrade(alembic, version)


def tables(connection: sa.Connection) -> list[sa.Table]:
    """Returns the catalog's existing tables, parents before children."""
    known = sa.MetaData()
    known.reflect(connection)
    return [table for table in known.sorted_tables if table.name != "alembic_version"]


def fill(connection: sa.Connection) -> set[str]:
    """Writes rows into all tables; returns their names."""
    found = tables(connection)
    for table in found:
        connection.execute(table.insert(), [row_of(table, n) for n in range(1, ROWS + 1)])
    return {table.name for table in found}


def row_of(table: sa.Table, number: int) -> dict[str, Any]:
    values: dict[type, Any] = {
        sa.Integer: number,
        sa.Float: float(number),
        sa.Boolean: False,
        sa.JSON: {},
        sa.LargeBinary: b"1",
    }
    return {
        column.name: next(
            (value for kind, value in values.items() if isinstance(column.type, kind)), str(number)
        )
        for column in table.columns
        if not column.nullable
    }


def check_upgraded(connection: sa.Connection, filled: set[str]) -> None:
    """Checks that the tables are those of the newest version and all rows exist."""
    context = MigrationContext.configure(connection)
    assert context.get_current_revision() == product.HEAD
    assert differences(context, connection) == []
    if "collections" in filled:
        filled = filled | {"content_versions"}  # one for each
    for table in tables(connection):
        count = connection.scalar(sa.select(sa.func.count()).select_from(table))
        assert count == (ROWS if table.name in filled else 0)


def differences(context: MigrationContext, connection: sa.Connection) -> list[Any]:
    """Returns how the tables of a catalog differ from those of the newest version."""
    if connection.dialect.name != "sqlite":
        found: list[Any] = compare_metadata(context, metadata)
        return found
    statements = statements_of(connection)
    if statements not in DIFFERENCES:
        DIFFERENCES[statements] = compare_metadata(context, metadata)
    return DIFFERENCES[statements]


def statements_of(connection: sa.Connection) -> Statements:
    """Returns the names of the tables and indexes of a catalog in SQLite, and what made them."""
    made = sa.text("SELECT name, sql FROM sqlite_master ORDER BY name")
    return tuple(map(tuple, connection.execute(made)))


def schema_of(connection: sa.Connection) -> dict[str, Any]:
    """Returns the definitions of the tables of a catalog in SQLite."""
    statements = statements_of(connection)
    if statements not in SCHEMAS:
        SCHEMAS[statements] = described(connection)
    return SCHEMAS[statements]


def contents(file: Path) -> list[Any]:
    """Returns a catalog's version, the definitions of its tables, and their numbers of rows."""
    with engine_of(file).connect() as connection:
        schema = schema_of(connection)
        counts = [
            connection.scalar(sa.text(f"SELECT count(*) FROM {table}")) for table in sorted(schema)
        ]
        version = MigrationContext.configure(connection).get_current_revision()
        return [schema, counts, version]


def engine_of(file: Path) -> sa.Engine:
    return sa.create_engine(f"sqlite:///{file}", poolclass=NullPool)


def killed_at(number: int, work: Callable[[], object]) -> bool:
    """Does the work in a child killed after `number` SQL statements; True if it was killed."""
    child = os.fork()
    if child == 0:
        left = number

        def one_more(*_: Any) -> None:
            nonlocal left
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1

        sa.event.listen(sa.Engine, "before_cursor_execute", one_more)
        sa.event.listen(sa.Engine, "commit", one_more)
        try:
            work()
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def opened(make: Callable[[], Database]) -> None:
    """Opens and closes the database, as a start of the service does."""

    async def start() -> None:
        database = make()
        try:
            await database.open()
        finally:
            await database.close()

    asyncio.run(start())


def old_catalog(file: Path, version: str | None) -> set[str]:
    """Writes a catalog with rows at a version, or an empty file; returns its tables' names."""
    file.touch()
    if version is None:
        return set()
    engine = engine_of(file)
    upgrade(engine, version)
    with engine.begin() as connection:
        return fill(connection)


def cut_short(
    folder: Path, version: str | None, cut: Callable[[Path], object], *, every: int
) -> int:
    """Kills `cut` at successive statements and starts after each kill; returns the kills."""
    filled = old_catalog(folder / "old.sqlite", version)
    upgraded = None
    for kills in count():
        file = folder / f"{kills}.sqlite"
        shutil.copy(folder / "old.sqlite", file)
        if not killed_at(kills * every, partial(cut, file)):
            return kills
        start(file)
        if upgraded is None:
            with engine_of(file).connect() as connection:
                check_upgraded(connection, filled)
            upgraded = contents(file)
        assert contents(file) == upgraded
    raise AssertionError


def start(file: Path) -> None:
    opened(lambda: SqliteDatabase(file))


def old_upgrade(file: Path) -> None:
    upgrade(engine_of(file), ONCE_NEWEST)


UPGRADES = {"start": start, "old upgrade": old_upgrade}


@pytest.mark.parametrize(("version", "cut"), CUTS)
def test_an_upgrade_that_was_killed_is_done_by_the_next_start(
    folder: Path, version: str | None, cut: str
) -> None:
    every = 1 if version == EARLIER[-1] else SPREAD
    if cut == "start" and version in EARLIER[2:-6]:
        every = WIDE
    assert cut_short(folder, version, UPGRADES[cut], every=every) > 1


@pytest.mark.attack
@pytest.mark.parametrize(("version", "cut"), CUTS)
def test_an_upgrade_is_killed_at_every_statement(
    folder: Path, version: str | None, cut: str
) -> None:
    assert cut_short(folder, version, UPGRADES[cut], every=1) > 1


def test_a_version_table_without_a_version_is_none(folder: Path) -> None:
    file = folder / "catalog.sqlite"
    upgrade(engine_of(file), ONCE_NEWEST)
    with engine_of(file).begin() as connection:
        connection.execute(sa.text("DELETE FROM alembic_version"))
    start(file)
    with engine_of(file).connect() as connection:
        check_upgraded(connection, set())


COPYING = """
import sqlalchemy as sa
from alembic import op

revision = "9999"
down_revision = "{head}"


def upgrade():
    with op.batch_alter_table("jobs", recreate="always") as jobs:
        jobs.add_column(sa.Column("more", sa.String))
"""


def test_a_table_that_is_copied_keeps_the_rows_that_refer_to_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head, file = product.HEAD, folder / "catalog.sqlite"
    start(file)
    with engine_of(file).begin() as connection:
        fill(connection)
        [jobs] = [table for table in tables(connection) if table.name == "jobs"]
        assert jobs.name in {
            key.column.table.name for table in tables(connection) for key in table.foreign_keys
        }
    shutil.copytree(next(iter(rag.catalog.migrations.__path__)), folder / "migrations")
    (folder / "migrations/versions/v9999_copy.py").write_text(COPYING.format(head=head))
    monkeypatch.setattr(product, "MIGRATIONS", str(folder / "migrations"))
    monkeypatch.setattr(product, "HEAD", "9999")

    async def upgrade_and_count() -> tuple[int, int]:
        database = SqliteDatabase(file)
        # A build of SQLite may have them on from the start.
        sa.event.listen(
            database._engine,
            "connect",
            lambda raw, _: raw.execute("PRAGMA foreign_keys=ON"),
        )
        await database.open()
        [tasks] = await database.rows(
            sa.text("SELECT count(more) + count(*) AS n FROM tasks JOIN jobs ON job_id = jobs.id")
        )
        [enforced] = await database.rows(sa.text("PRAGMA foreign_keys"))
        await database.close()
        return tasks["n"], enforced["foreign_keys"]

    assert asyncio.run(upgrade_and_count()) == (ROWS, 1)


def test_a_full_disk_leaves_the_version_before(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", megabytes=1) as disk:
        file = disk / "catalog.sqlite"
        filled = old_catalog(file, EARLIER[-1])
        filler = fill_disk(disk, leave=8 << 10)
        with pytest.raises(StorageError, match="Free some space and run it again") as caught:
            start(file)
        assert caught.value.code == "disk_full"
        filler.unlink()
        start(file)
        with engine_of(file).connect() as connection:
            check_upgraded(connection, filled)


def test_an_upgrade_of_postgres_that_was_killed_is_done_by_the_next_start(
    postgres: PostgresServer,
) -> None:
    url = postgres.new_database()

    async def change(what: Callable[[sa.Connection], Any]) -> Any:
        database = PostgresDatabase(url)
        async with database.write() as db:
            result = await db.run_sync(what)
        await database.close()
        return result

    def make_first(connection: sa.Connection) -> set[str]:
        alembic = config()
        alembic.attributes["connection"] = connection
        command.upgrade(alembic, "0001")
        return fill(connection)

    filled = asyncio.run(change(make_first))
    start = partial(opened, lambda: PostgresDatabase(url))
    assert killed_at(AMID_POSTGRES, start)
    start()
    asyncio.run(change(lambda db: check_upgraded(db, filled)))
