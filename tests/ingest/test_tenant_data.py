"""The export and the deletion of a tenant, over all tables of the catalog."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from ingest.removal import Removal
from ingest.sources.files import Spool
from ingest.sources.originals import Originals
from ingest.tenant_deletion import TenantDeletion
from ingest.tenant_export import MANIFEST, TenantExport
from rag.catalog.catalog import Catalog
from rag.catalog.database import Database
from rag.catalog.schema import metadata
from rag.catalog.tenants import HIDDEN, TABLES
from rag.errors import InputError
from rag.records import SERVICE, AuditRow
from retrieval.indexes.edge import EdgeIndex
from tests.rag.catalog.test_migrations import row_of

pytestmark = pytest.mark.anyio
OF_NO_TENANT = {"usage_writers", "rollouts", "rollout_observations", "rollout_writers"}
"""Tables whose rows belong to no tenant. A new table is not here unless that is so."""
ACME, RIVAL = "acme", "rival"


def row(tenant: str, action: str = "tenant.delete") -> AuditRow:
    return AuditRow(id=action + tenant, tenant=tenant, at_ms=1, action=action, outcome="success")


def filled_row(table: sa.Table, tenant: str, number: int) -> dict[str, Any]:
    """Returns a row with a value in every column."""
    texts = {
        column.name: f"{tenant}-{number}"
        for column in table.columns
        if isinstance(column.type, sa.String)
    }
    special: dict[str, Any] = {"tenant": tenant}
    if "source" in table.c:
        special["source"] = {"spool": f"{number}"}
    if "removed_at" in table.c and number != 1:  # the removal of the first one was cut short
        special["removed_at"] = None
    return row_of(table, number) | texts | special


async def fill(database: Database) -> None:
    async with database.write() as db:
        for table in TABLES:
            numbers = {ACME: (1, 2), RIVAL: (3, 4)}
            rows = [filled_row(table, name, n) for name in numbers for n in numbers[name]]
            if table.name == "audit_heads":
                rows = [filled_row(table, ACME, 2), filled_row(table, RIVAL, 4)]
            await db.execute(table.insert(), rows)


async def stored(database: Database, tenant: str) -> dict[str, list[dict[str, Any]]]:
    return {
        table.name: [
            dict(found)
            for found in await database.rows(table.select().where(table.c.tenant == tenant))
        ]
        for table in TABLES
    }


def test_every_table_is_of_tenants_or_known_to_be_of_none() -> None:
    without = {table.name for table in metadata.tables.values() if "tenant" not in table.c}
    assert without == OF_NO_TENANT, "whose are its rows? An export and a deletion leave them out"


async def test_an_export_has_the_rows_of_every_table_and_of_no_other_tenant(
    database: Database, catalog: Catalog, folder: Path
) -> None:
    await fill(database)
    spool, originals = Spool(folder / "spool"), Originals(folder / "originals", keep=True)
    (folder / "spool").mkdir()
    (folder / "spool" / "1").write_bytes(b"waits")
    (folder / "originals").mkdir()
    (folder / "originals" / f"{ACME}-1").write_bytes(b"original")
    to = folder / "acme.zip"
    manifest = await TenantExport(catalog, spool, originals, ACME).write(to)
    assert to.stat().st_mode & 0o777 == 0o600
    theirs = await stored(database, ACME)
    with zipfile.ZipFile(to) as made:
        assert made.testzip() is None
        assert json.loads(made.read(MANIFEST)) == manifest
        for table in TABLES:
            text = made.read(f"tables/{table.name}.jsonl")
            rows = [json.loads(line) for line in text.splitlines()]
            assert len(rows) == len(theirs[table.name]) > 0, table.name
            assert {each["tenant"] for each in rows} == {ACME}
            assert all(each.keys() == set(table.c.keys()) - HIDDEN for each in rows)
            described = manifest["tables"][table.name]
            digest = hashlib.sha256(text).hexdigest()
            assert described == {"rows": len(rows), "sha256": digest}
        assert made.read("spool/1") == b"waits"
        assert made.read(f"originals/{ACME}-1") == b"original"
        assert RIVAL.encode() not in b"".join(map(made.read, made.namelist()))
        names = set(made.namelist())
    assert manifest["missing"] == [f"originals/{ACME}-2"]
    assert set(manifest["files"]) == {"spool/1", f"originals/{ACME}-1"} <= names
    with pytest.raises(InputError, match="exists"):
        await TenantExport(catalog, spool, originals, ACME).write(to)


async def test_an_export_pages_through_long_tables(
    database: Database, catalog: Catalog, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rag.catalog.tenants.ROWS_AT_ONCE", 2)
    [texts] = [table for table in TABLES if table.name == "texts"]
    async with database.write() as db:
        await db.execute(texts.insert(), [filled_row(texts, ACME, n) for n in range(7)])
    spool, originals = Spool(folder / "spool"), Originals(folder / "originals", keep=True)
    manifest = await TenantExport(catalog, spool, originals, ACME).write(folder / "acme.zip")
    assert manifest["tables"]["texts"]["rows"] == 7


async def test_a_failed_export_leaves_no_file(catalog: Catalog, folder: Path) -> None:
    spool, originals = Spool(folder / "spool"), Originals(folder / "originals", keep=True)
    await catalog.close()
    (folder / "to").mkdir()
    with pytest.raises(InputError, match="cannot be made"):
        await TenantExport(catalog, spool, originals, ACME).write(folder / "nowhere" / "acme.zip")
    assert not list((folder / "to").iterdir())


async def test_a_deletion_removes_the_rows_of_every_table_and_of_no_other_tenant(
    database: Database, catalog: Catalog, folder: Path
) -> None:
    await fill(database)
    async with database.write() as db:  # its last row, as the chain's head says
        heads = metadata.tables["audit_heads"]
        await db.execute(heads.update().values(number=4))
    theirs, others = await stored(database, ACME), await stored(database, RIVAL)
    assert all(theirs.values())
    spool, originals = Spool(folder / "spool"), Originals(folder / "originals", keep=True)
    kept = spool.of(RIVAL).put(b"kept", uri="x:1")
    spool.of(ACME).put(b"gone", uri="x:1")
    index = EdgeIndex(folder / "index", dim=4)
    removal = Removal(catalog=catalog, index=index, spool=spool, originals=originals)
    deletion = TenantDeletion(catalog=catalog, removal=removal, spool=spool, originals=originals)
    await deletion.delete(ACME, begun=row(ACME), done=row(SERVICE))
    assert await stored(database, ACME) == {table.name: [] for table in TABLES}
    assert await stored(database, RIVAL) == others
    assert spool.keys(older_than=0) == {kept.source["spool"]}
    [entry] = [entry async for entry in catalog.audit.entries(SERVICE)]
    assert entry.row == row(SERVICE)
    assert not (await catalog.audit.verify(SERVICE)).fault
    await index.close()


async def test_tenants_are_listed_with_what_they_have(database: Database, catalog: Catalog) -> None:
    assert await catalog.tenants.all() == []
    await fill(database)
    found = {record.name: record for record in await catalog.tenants.all()}
    assert sorted(found) == [ACME, RIVAL]
    assert (found[ACME].collections, found[ACME].documents, found[ACME].chunks) == (2, 2, 3)
    assert (found[ACME].answers, found[ACME].keys, found[RIVAL].chunks) == (2, 2, 7)
