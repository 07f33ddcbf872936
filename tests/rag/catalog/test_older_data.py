"""A data folder of an older release opens, answers, and can be updated.

`data/data-0.1.0.tar.xz` was made by commit 83c4638: two files were ingested and indexed again, a
document was sent over REST and one failed, whose bytes are kept, and an evaluation left its caches.
`data/data-0025.tar.xz` was made when the newest migration was 0025: files of two collections, one
of them indexed again, a key, and a backup of all of it.
"""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.places import DATA
from tests.servers import rag

ARCHIVE = DATA / "data-0.1.0.tar.xz"
ARCHIVES = sorted(DATA.glob("data-*.tar.xz"))
WITH_BACKUPS = [archive for archive in ARCHIVES if archive != ARCHIVE]
SET: dict[str, list[dict[str, Any]]] = {
    "corpus.jsonl": [{"_id": "office", "title": "The office", "text": "It opens at nine."}],
    "queries.jsonl": [
        {"_id": "q", "text": "When does it open?", "metadata": {"answers": ["nine"]}}
    ],
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return unpacked(ARCHIVE, tmp_path)


def unpacked(file: Path, to: Path) -> Path:
    with tarfile.open(file) as archive:
        archive.extractall(to, filter="data")
    return to / "data"


def run(data: Path, *arguments: str) -> Any:
    ran = rag(*arguments, "--json", data=data)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def states(data: Path) -> dict[str, str]:
    documents = run(data, "status")["documents"]
    return {document["title"]: document["state"] for document in documents}


def opening(data: Path) -> str:
    answer: str = run(data, "query", "When does the office open?")["answer"]
    return answer


def test_a_folder_of_0_1_0_is_taken_on(data: Path, tmp_path: Path) -> None:
    before = states(data)
    assert sorted(before.values()) == ["failed", "failed", "succeeded", "succeeded", "succeeded"]
    assert "opens at nine" in opening(data)
    assert run(data, "search", "bicycles")["hits"][0]["document_id"] == "kept"
    run(data, "index", "check")
    run(data, "reindex")
    assert "opens at nine" in opening(data)
    run(data, "reindex", "--rollback")
    assert "opens at nine" in opening(data)
    run(data, "delete", "empty", "kept")
    assert len(states(data)) == len(before) - 2
    assert list((data / "spool").iterdir()) == []


@pytest.mark.parametrize("archive", ARCHIVES, ids=lambda file: file.name)
def test_every_older_folder_answers_and_goes_into_a_backup(archive: Path, tmp_path: Path) -> None:
    data, place = unpacked(archive, tmp_path), ("--place", str(tmp_path / "new"))
    assert "opens at nine" in opening(data)
    run(data, "backup", "create", *place)
    run(tmp_path / "restored", "restore", *place)
    assert "opens at nine" in opening(tmp_path / "restored")


@pytest.mark.parametrize("archive", WITH_BACKUPS, ids=lambda file: file.name)
def test_every_older_backup_is_restored(archive: Path, tmp_path: Path) -> None:
    unpacked(archive, tmp_path)
    restored = tmp_path / "restored"
    assert run(restored, "restore", "--place", str(tmp_path / "backups"))["documents"] > 0
    assert "opens at nine" in opening(restored)
    assert run(restored, "index", "check")["agrees"]


def test_an_evaluation_goes_on_with_its_caches(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    (folder / "qrels").mkdir(parents=True)
    for name, rows in SET.items():
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\toffice\t1\n")
    run(data, "eval", "run", str(folder), "--out", str(tmp_path / "run"))
