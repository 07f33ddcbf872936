from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from rag.process.blas import limit_threads

limit_threads()
# Processes that run side by side share the cores: a thread of one that spins while it waits takes
# the time of the others.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"

# NumPy reads the limits as it is loaded.
from rag.catalog.catalog import Catalog  # noqa: E402
from rag.catalog.database import Database, PostgresDatabase  # noqa: E402
from rag.catalog.sqlite_database import SqliteDatabase  # noqa: E402
from rag.process import child_process  # noqa: E402
from rag.process.imports import importing  # noqa: E402
from rag.types import Scope  # noqa: E402
from retrieval.indexes import edge_rebuild  # noqa: E402
from tests.fakes import in_memory  # noqa: E402
from tests.fork_server import fork_server  # noqa: E402
from tests.forked_children import forked_children  # noqa: E402
from tests.postgres import PostgresServer, name_of  # noqa: E402

if TYPE_CHECKING:
    from rag.protocols import StoredIndex
    from retrieval.embedders.embedder import BertEmbedder


# Timings are not asserted: on a busy machine any example may take long.
settings.register_profile("any_speed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any_speed")

ROOT = str(Path(__file__).parent.parent)
# `ChildProcess` looks for modules where they are installed, and is handed some of these tests.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (ROOT, os.environ.get("PYTHONPATH"))))


@pytest.hookimpl(wrapper=True)
def pytest_cmdline_main() -> Generator[None, object, object]:
    """Runs one server of forks for this run of tests, with all its processes."""
    with fork_server():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Imports all tests: what they leave in memory is not scanned again by each of them."""
    with importing():
        return (yield)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    from tests.scheduling import SharedImports

    return SharedImports(config, log)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def one_loop(anyio_backend: str) -> AsyncIterator[None]:
    """Runs all tests of a module on one event loop: gRPC cleans up after a call has ended."""
    yield
    await asyncio.sleep(0.1)


@pytest.fixture(scope="session")
def embedder() -> Iterator[BertEmbedder]:
    """MiniLM, loaded once. Every test may use it on its own event loop, one test after another."""
    from retrieval.embedders.embedder import BertEmbedder
    from retrieval.embedders.loading import minilm_folder

    made = BertEmbedder(minilm_folder(), dtype="float32")
    yield made
    made.close()


@pytest.fixture
def scope() -> Scope:
    return Scope(tenant="acme", collection="handbook")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """An empty folder, in memory if possible: disk access is most of a small test's time."""
    with tempfile.TemporaryDirectory(dir=in_memory() or tmp_path) as made:
        yield Path(made)


@pytest.fixture(
    params=[
        *("memory", "edge", "rank_bm25"),
        *("qdrant", "qdrant_grpc", "qdrant_rest", "qdrant_shards"),
        *("qdrant_server_grpc", "qdrant_server_rest"),
    ]
)
async def index(request: pytest.FixtureRequest, folder: Path) -> AsyncIterator[StoredIndex]:
    """An empty index of each kind: for the contract suites of the index protocols."""
    from tests.indexes import opened

    async with opened(request.param, folder) as made:
        yield made


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A real PostgreSQL, started by the first test that uses it."""
    with PostgresServer.started() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgres"])
async def empty_database(request: pytest.FixtureRequest, folder: Path) -> AsyncIterator[Database]:
    """A database of each kind, without tables."""
    made: Database
    if request.param == "sqlite":
        made = SqliteDatabase(folder / "catalog.sqlite")
    else:
        server: PostgresServer = request.getfixturevalue("postgres")
        made = PostgresDatabase(server.new_database())
    yield made
    await made.close()


@pytest.fixture(scope="session")
def tables_in_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the tables that all migrations make: to copy it takes a tenth of their time."""
    file = tmp_path_factory.mktemp("tables") / "catalog.sqlite"
    asyncio.run(_migrate(SqliteDatabase(file)))
    return file


@pytest.fixture(scope="session")
def tables_in_postgres(postgres: PostgresServer) -> str:
    """The name of a database with the tables that all migrations make."""
    url = postgres.new_database()
    asyncio.run(_migrate(PostgresDatabase(url)))
    return name_of(url)


async def _migrate(database: Database) -> None:
    await database.open()
    await database.close()


@pytest.fixture(params=["sqlite", "postgres"])
def with_tables(request: pytest.FixtureRequest, folder: Path) -> Database:
    if request.param == "sqlite":
        file = folder / "catalog.sqlite"
        shutil.copy(request.getfixturevalue("tables_in_sqlite"), file)
        return SqliteDatabase(file)
    server: PostgresServer = request.getfixturevalue("postgres")
    template: str = request.getfixturevalue("tables_in_postgres")
    return PostgresDatabase(server.new_database(template))


@pytest.fixture
async def database(with_tables: Database) -> AsyncIterator[Database]:
    """A database of each kind, with its tables."""
    yield with_tables
    await with_tables.close()


@pytest.fixture
async def catalog(database: Database) -> Catalog:
    """An empty catalog in each kind of database."""
    made = Catalog(database)
    await made.open()
    return made


@pytest.fixture(scope="session", autouse=True)
def _forked_children() -> Iterator[None]:
    """The processes that services in this one start are forked: see `tests.forked_children`."""
    with forked_children():
        yield


@pytest.fixture
def new_interpreters(monkeypatch: pytest.MonkeyPatch) -> None:
    """The processes that services in this one start are new interpreters, as outside of tests."""
    monkeypatch.setattr(child_process, "subprocess", subprocess)
    monkeypatch.setattr(edge_rebuild, "asyncio", asyncio)


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.upper().startswith("RAG_"):
            monkeypatch.delenv(name)
