"""Backups that move between the embedded profile and servers: a real PostgreSQL, and Qdrant's
own client behind gRPC, which imitates its server.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from rag.build.backup_places import build_seal, build_store
from rag.build.ingest import open_ingesting
from rag.build.restores import restore
from rag.build.storage import build_database
from rag.catalog.copying import read_tables
from rag.catalog.schema import metadata
from rag.catalog.sqlite_database import SqliteDatabase
from rag.catalog.tables import tasks
from rag.errors import ConfigError
from rag.operations.backup import moving, restoring
from rag.operations.backup.manifest import Manifest, backup_ids, read_manifest
from rag.settings.tree import Settings
from tests.backups import SCOPE, TEXTS, back_up, bring_back, checked, fill, ingest, settings_of
from tests.postgres import PostgresServer
from tests.qdrant_grpc import grpc_port
from tests.qdrant_servers import NO_INDEXES

pytestmark = [pytest.mark.anyio, NO_INDEXES]


@pytest.fixture(scope="module")
async def embedded(tmp_path_factory: pytest.TempPathFactory, anyio_backend: str) -> Settings:
    settings = settings_of(tmp_path_factory.mktemp("embedded") / "data")
    await fill(settings)
    await back_up(settings)
    return settings


@pytest.fixture
async def cluster(folder: Path, postgres: PostgresServer) -> AsyncIterator[Settings]:
    async with grpc_port() as port:
        yield settings_of(
            folder / "shared",
            index={"kind": "qdrant", "url": f"http://127.0.0.1:{port}", "grpc_port": port},
            catalog={"kind": "postgres", "url": postgres.new_database()},
        )


async def vectors(settings: Settings) -> dict[str, list[float]]:
    async with open_ingesting(settings) as opened:
        ids_ = sorted(await opened.index.chunk_ids(SCOPE, None))
        found = await opened.index.vectors(SCOPE, ids_)
        return {id_: vector.round(5).tolist() for id_, vector in sorted(found.items())}


def newest(settings: Settings) -> Manifest:
    store, seal = build_store(settings), build_seal(settings)
    return read_manifest(store, seal, backup_ids(store)[-1])


async def test_a_folder_moves_to_servers_and_back_without_embedding(
    embedded: Settings, cluster: Settings, folder: Path
) -> None:
    before = await vectors(embedded)
    await bring_back(embedded, cluster)
    report, texts = await checked(cluster)
    assert report.agrees
    assert texts == set(TEXTS)
    assert await vectors(cluster) == before
    more = "House 77 was built later. It has no cellar."
    await fill(cluster, [more])  # ids of tasks go on after those that were restored
    made = await back_up(cluster)
    assert made.manifest.kinds == {"catalog": "postgres", "index": "qdrant"}
    assert made.manifest.unsettled == ()
    back = settings_of(folder / "back")
    await bring_back(cluster, back)
    report, texts = await checked(back)
    assert report.agrees
    assert texts == {*TEXTS, more}
    assert before.items() <= (await vectors(back)).items()


async def test_servers_that_are_not_empty_stay_as_they_are(
    embedded: Settings, cluster: Settings
) -> None:
    await fill(cluster, TEXTS[:1])
    with pytest.raises(ConfigError, match=r"data folder .* is not empty"):
        await bring_back(embedded, cluster)
    other = cluster.model_copy(update={"data_dir": cluster.data_dir.parent / "other"})
    with pytest.raises(ConfigError, match="catalog is not empty"):
        await bring_back(embedded, other)
    assert not other.data_dir.exists()
    assert (await checked(cluster))[1] == set(TEXTS[:1])


async def test_a_restore_to_servers_that_fails_can_be_run_again(
    embedded: Settings, cluster: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("rag.build.restores.read_tables", fails)
        patch.setattr("rag.operations.backup.restoring.give_up", lambda _: None)  # as a kill does
        with pytest.raises(KeyboardInterrupt):
            await bring_back(embedded, cluster)
    with pytest.raises(ConfigError, match="cut short"):
        await checked(cluster)
    await bring_back(embedded, cluster)
    assert (await checked(cluster))[0].agrees


async def test_a_restore_that_was_killed_once_its_rows_were_written_is_finished(
    embedded: Settings, cluster: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = newest(embedded).id
    with monkeypatch.context() as patch:
        patch.setattr("rag.build.restores._finish", lambda _: (_ for _ in ()).throw(SystemExit))
        with pytest.raises(SystemExit):
            await bring_back(embedded, cluster, killed)
    with pytest.raises(ConfigError, match="cut short"):
        await checked(cluster)
    later = (await back_up(embedded)).manifest.id
    with pytest.raises(ConfigError, match=f"rag restore {killed}"):
        await bring_back(embedded, cluster, later)
    await bring_back(embedded, cluster, killed)
    report, texts = await checked(cluster)
    assert report.agrees
    assert texts == set(TEXTS)
    assert not list(cluster.data_dir.glob("catalog*"))


async def test_rows_of_others_are_not_those_of_a_restore_that_was_cut_short(
    embedded: Settings, cluster: Settings
) -> None:
    await fill(cluster, TEXTS[:1])
    restoring.begin(cluster.data_dir)
    restoring.note_files_written(cluster.data_dir, newest(embedded).id)
    with pytest.raises(ConfigError, match="catalog is not empty"):
        await bring_back(embedded, cluster)
    assert restoring.is_unfinished(cluster.data_dir)


async def test_vectors_of_another_embedder_are_not_moved(
    embedded: Settings, cluster: Settings
) -> None:
    manifest = newest(embedded)
    strange = manifest.model_copy(
        update={
            "collections": tuple(
                c.model_copy(update={"embedder": "another"}) for c in manifest.collections
            )
        }
    )
    with pytest.raises(ConfigError, match="was embedded with another"):
        await restore(cluster, strange, build_store(embedded), build_seal(embedded))
    assert not cluster.data_dir.exists()


async def test_collections_written_during_the_copy_are_named(
    embedded: Settings, cluster: Settings, folder: Path
) -> None:
    await bring_back(embedded, cluster)
    async with open_ingesting(cluster) as opened:
        to = folder / "copy"
        to.mkdir()

        class Writing:
            """The index, written to while it is read."""

            def __getattr__(self, name: str) -> object:
                return getattr(opened.index, name)

            async def points(self, scope: object) -> AsyncIterator[object]:
                await ingest(opened, ["House 88 came meanwhile. It is blue."])
                async for page in opened.index.points(SCOPE):
                    yield page

        copied = await moving.copy_servers(
            cluster.data_dir,
            to,
            index=Writing(),  # type: ignore[arg-type] # it passes everything on
            database=opened.database,
            kinds={},
        )
    assert list(copied.unsettled) == [SCOPE]


async def test_rows_go_through_a_file_unchanged(
    embedded: Settings, folder: Path, postgres: PostgresServer
) -> None:
    source = build_database(embedded.catalog, embedded.data_dir)
    first = folder / "first.sqlite"
    await source.copy_to(first)
    await source.close()
    target = settings_of(folder / "x", catalog={"kind": "postgres", "url": postgres.new_database()})
    database = build_database(target.catalog, target.data_dir)
    await database.open()
    await read_tables(first, database)
    rows = await database.rows(tasks.select().order_by(tasks.c.id))
    assert len(rows) == len(TEXTS)
    second = folder / "second.sqlite"
    await database.copy_to(second)
    assert await everything(second) == await everything(first)
    async with database.write() as db:
        values = {name: rows[0][name] for name in rows[0] if name != "id"}
        made = await db.execute(tasks.insert().values(values).returning(tasks.c.id))
        assert made.scalar_one() == max(row["id"] for row in rows) + 1
    with pytest.raises(ConfigError, match="not empty"):
        await read_tables(first, database)
    await database.close()


async def everything(file: Path) -> dict[str, list[dict[str, Any]]]:
    database = SqliteDatabase(file)
    found = {
        table.name: [
            dict(row) for row in await database.rows(table.select().order_by(*table.primary_key))
        ]
        for table in metadata.sorted_tables
    }
    await database.close()
    return found
