"""`rag migrate` brings the catalog to this version's tables."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

from rag.catalog.database import HEAD
from tests.servers import rag


def test_it_makes_the_tables_and_refuses_newer_ones(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for _ in range(2):
        ran = rag("migrate", "--json", data=data)
        assert (ran.returncode, json.loads(ran.stdout)) == (0, {"tables": HEAD})
    with closing(sqlite3.connect(data / "catalog.sqlite")) as db:
        assert db.execute("SELECT count(*) FROM documents").fetchone() == (0,)
        db.execute("UPDATE alembic_version SET version_num = '9999'")
        db.commit()
    ran = rag("migrate", data=data)
    assert ran.returncode == 2
    assert "newer Plumbline" in ran.stderr


def test_a_worker_of_batches_takes_no_documents_of_a_priority(tmp_path: Path) -> None:
    ran = rag("worker", "--batches", "--priority", "bulk", data=tmp_path / "data")
    assert ran.returncode == 2
    assert "--priority goes with documents" in ran.stderr
