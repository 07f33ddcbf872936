"""A real PostgreSQL server for tests, from a wheel."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import sqlalchemy as sa

from rag.catalog.database import Database

LOSE_LOCKS = sa.text("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'")
_HOLDERS = sa.text("SELECT objid, pid FROM pg_locks WHERE locktype = 'advisory'")


async def lose_locks(database: Database) -> None:
    """Ends the connections that hold locks; waits until new ones hold as many locks."""
    held = await database.rows(_HOLDERS)
    before = {row["pid"] for row in held}
    await database.rows(LOSE_LOCKS)
    async with asyncio.timeout(30):
        while True:
            now = [row for row in await database.rows(_HOLDERS) if row["pid"] not in before]
            if len(now) == len(held):
                return
            await asyncio.sleep(0.01)


class PostgresServer:
    """A server on a socket in its own folder; it ends with the tests."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server: Any = None
        self.start()

    @classmethod
    @contextlib.contextmanager
    def started(cls) -> Iterator[PostgresServer]:
        with tempfile.TemporaryDirectory(prefix="plumbline-pg-") as folder:
            server = cls(Path(folder) / "data")
            try:
                yield server
            finally:
                server.stop()

    def start(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of an XDG folder that it does not need
            from pgserver.postgres_server import get_server

            self._server = get_server(self._folder, cleanup_mode=None)
            self._server.ensure_postgres_running()
        # Tests end its processes and not the machine: nothing has to be on the disk.
        self.run("ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()")

    def stop(self, mode: str = "immediate") -> None:
        from pgserver.postgres_server import pg_ctl  # type: ignore[attr-defined]

        pg_ctl(["-m", mode, "stop"], pgdata=self._folder, user=self._server.system_user)

    @property
    def pid(self) -> int:
        return int((self._folder / "postmaster.pid").read_text().split()[0])

    def signal(self, number: int) -> None:
        """Sends a signal to all processes of the server."""
        parent = psutil.Process(self.pid)
        for process in (parent, *parent.children()):
            process.send_signal(number)

    def run(self, *statements: str) -> None:
        """Runs SQL as the superuser, outside the tests' databases."""
        for statement in statements:
            self._server.psql(statement)

    def disconnect(self, database: str) -> None:
        """Ends every connection to a database."""
        self.run(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'"
        )

    def new_database(self, template: str = "template1") -> str:
        """Creates a copy of a database, by default an empty one; returns its URL."""
        name = f"t{uuid.uuid4().hex}"
        self.run(f"CREATE DATABASE {name} TEMPLATE {template}")
        return str(self._server.get_uri(name))


def name_of(url: str) -> str:
    """Returns the name of a database."""
    return sa.make_url(url).database or pytest.fail(url)
