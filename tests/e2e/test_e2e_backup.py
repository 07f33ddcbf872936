"""`rag backup` and `rag restore` as an operator runs them, beside a running service."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.backup_kills import kills, run
from tests.s3_server import BUCKET, s3_server
from tests.servers import Server, rag, serving, submit

DOCUMENTS = [
    {"id": f"house-{n}", "text": f"House {n} has {n * 7} lamps. The cellar of house {n} is dry."}
    for n in range(12)
]
LATER = [{"id": f"later-{n}", "text": f"Tower {n} is new, of {n} stones."} for n in range(30)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Path]]:
    data = tmp_path_factory.mktemp("backup") / "data"
    with serving(data) as running:
        with running.client() as http:
            submit(http, *DOCUMENTS)
        yield running, data


def test_beside_a_service_that_ingests_each_document_is_whole_or_absent(
    server: tuple[Server, Path], tmp_path: Path
) -> None:
    running, data = server
    place = ("--place", str(tmp_path / "backups"))
    with running.client() as http:
        http.post("/v1/documents", json={"documents": LATER})
        made = run("backup", "create", *place, data=data)
        submit(http, {"id": "last", "text": "This came after the backup."})
    assert [path.name for path in (data / "backup").iterdir()] == ["lock"]
    restored = tmp_path / "restored"
    back = run("restore", *place, data=restored)
    assert back["id"] == made["id"]
    check = run("index", "check", data=restored)
    assert check["agrees"]
    documents = run("status", data=restored)["documents"]
    names = {each["id"] for each in documents if each["state"] == "succeeded"}
    assert {each["id"] for each in DOCUMENTS} <= names
    assert "last" not in names
    found = run("query", "How many lamps has house 3?", data=restored)
    assert "21 lamps" in found["answer"]
    audit = rag("audit", "export", data=restored)
    assert "backup.restore" in audit.stdout


def test_a_drill_compares_with_the_running_service_and_changes_nothing(
    server: tuple[Server, Path], tmp_path: Path
) -> None:
    _, data = server
    place = ("--place", str(tmp_path / "backups"))
    run("backup", "create", *place, data=data)
    env = {"TMPDIR": str(tmp_path)}
    ran = rag("restore", "--drill", "--json", *place, data=data, env=env)
    assert ran.returncode == 0, ran.stderr
    report = json.loads(ran.stdout)
    assert report["questions"] > 10
    assert report["overlap"] == 1.0
    assert not list(tmp_path.glob("plumbline-drill-*"))
    (tmp_path / "questions.txt").write_text("How many lamps has house 5?\n\nIs it dry?\n")
    ran = rag(
        *("restore", "--drill", "--questions", str(tmp_path / "questions.txt"), *place),
        data=data,
    )
    assert "Of 2 questions of the tenant default 2 have the same hits" in ran.stdout
    gone = rag("restore", "--drill", *place, data=tmp_path / "nobody")
    assert gone.returncode == 2
    assert "none serves the data folder" in gone.stderr
    assert not (tmp_path / "nobody").exists()
    refused = rag("restore", "--drill", "--url", "http://127.0.0.1:9", *place, data=data)
    assert refused.returncode == 1
    assert "nothing was changed" in refused.stderr


def test_a_drill_is_of_the_tenant_of_its_key(tmp_path: Path) -> None:
    data, place = tmp_path / "data", ("--place", str(tmp_path / "backups"))
    scopes = ("--scopes", "ask,write")
    keys = {
        tenant: run(*("keys", "create", "drill", "--tenant", tenant), *scopes, data=data)["key"]
        for tenant in ("default", "acme")
    }
    with serving(data, env={"RAG_GATEWAY__ENABLED": "true"}) as server:
        with server.client() as http:
            http.headers["Authorization"] = f"Bearer {keys['acme']}"
            submit(http, *DOCUMENTS[:3])
        run("backup", "create", *place, data=data)
        drill = ("restore", "--drill", "--json", *place)
        ran = rag(*drill, data=data, env={"RAG_API_KEY": keys["acme"]})
        assert ran.returncode == 0, ran.stderr
        report = json.loads(ran.stdout)
        assert (report["tenant"], report["questions"], report["overlap"]) == ("acme", 3, 1.0)
        empty = rag(*drill, data=data, env={"RAG_API_KEY": keys["default"]})
        assert (empty.returncode, "no sentence of the tenant 'default'" in empty.stderr) == (
            2,
            True,
        )
        refused = rag(*drill, data=data, env={"RAG_API_KEY": "rag_none"})
        assert refused.returncode == 2


def test_a_bucket_and_a_key_take_the_place_of_a_folder(
    server: tuple[Server, Path], tmp_path: Path
) -> None:
    _, data = server
    key = tmp_path / "key"
    key.write_text("c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3I=\n")
    with s3_server(tmp_path / "s3.log") as client:
        env = {
            **client,
            "RAG_BACKUP__TO": f"s3://{BUCKET}/plumbline",
            "RAG_BACKUP__KEY__FILE": str(key),
        }

        def command(*arguments: str, at: Path = data) -> Any:
            ran = rag(*arguments, "--json", data=at, env=env)
            assert ran.returncode == 0, ran.stderr
            return json.loads(ran.stdout)

        first = command("backup", "create")
        assert first["encrypted"]
        second = command("backup", "create")
        assert second["written"] < first["written"]
        assert command("backup", "prune", "--keep", "1")["removed"] == [first["id"]]
        command("restore", at=tmp_path / "restored")
        listed = rag("backup", "list", data=data, env=env | {"RAG_BACKUP__KEY__FILE": ""})
        assert "is encrypted" in listed.stdout


def test_random_kills_leave_no_backup_and_no_folder_that_is_not_whole(
    server: tuple[Server, Path], tmp_path: Path
) -> None:
    _, data = server
    run("backup", "create", "--place", str(tmp_path / "first"), data=data)
    copy = tmp_path / "copy"
    run("restore", "--place", str(tmp_path / "first"), data=copy)
    ends = kills(copy, 2, random.Random(26))
    assert ends["backup killed"] + ends["restore killed"] > 0
