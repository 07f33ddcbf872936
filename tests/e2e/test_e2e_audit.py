"""The audit log and the data of tenants, with real servers and commands, and kills."""

from __future__ import annotations

import contextlib
import json
import signal
import sqlite3
import threading
import zipfile
from pathlib import Path

import httpx
import pytest

from tests.e2e.test_deletion import holding
from tests.servers import NO_CERTIFICATES, Json, Server, rag, serving, submit

ON = {"RAG_GATEWAY__ENABLED": "true"}
EVERY = ("--scopes", "ask,read,write,admin")
KILLED = """
import os, signal, sys
from rag.catalog.sqlite_database import SqliteDatabase
from rag.cli.main import main
left = int(sys.argv.pop(1))
def counting(write):
    def counted(self, *args, **options):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return write(self, *args, **options)
    return counted
SqliteDatabase.write = counting(SqliteDatabase.write)
SqliteDatabase.change = counting(SqliteDatabase.change)
sys.exit(main(sys.argv[1:]))
"""
"""A command that is killed at the beginning of a transaction, by its number."""


def key_of(data: Path, tenant: str, *arguments: str) -> str:
    made = rag("keys", "create", "test", *arguments, "--tenant", tenant, "--json", data=data)
    assert made.returncode == 0, made.stderr
    return str(json.loads(made.stdout)["key"])


def client(server: Server, key: str) -> httpx.Client:
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.Client(base_url=server.url, headers=headers, timeout=240, verify=NO_CERTIFICATES)


def events(data: Path, *arguments: str) -> list[Json]:
    ran = rag("audit", "export", *arguments, data=data)
    assert ran.returncode == 0, ran.stderr
    return [json.loads(line) for line in ran.stdout.splitlines()]


def chains(data: Path, *arguments: str, code: int = 0) -> dict[str, Json]:
    ran = rag("audit", "verify", "--json", *arguments, data=data)
    assert ran.returncode == code, ran.stderr + ran.stdout
    return {chain["tenant"]: chain for chain in json.loads(ran.stdout)["chains"]}


def change(data: Path, statement: str) -> None:
    with contextlib.closing(sqlite3.connect(data / "catalog.sqlite")) as db, db:
        db.execute(statement)


def test_a_day_of_two_tenants(tmp_path: Path) -> None:
    data = tmp_path / "data"
    acme, rival = (key_of(data, name, *EVERY) for name in ("acme", "rival"))
    with serving(data, env=ON) as server:
        with client(server, acme) as http:
            submit(http, {"id": "secret-otters", "text": "Otters swim in the moat."})
            assert http.get("/v1/documents/secret-otters/content").status_code == 200
            assert http.post("/v1/query", json={"query": "Where do otters swim?"}).is_success
            assert http.delete("/v1/documents/secret-otters").status_code == 204
        with client(server, rival) as http:
            assert http.get("/v1/documents/secret-otters").status_code == 404
        with client(server, f"pl_{'0' * 12}_{'0' * 64}") as http:
            assert http.get("/v1/documents/secret-otters").status_code == 401
        beside = chains(data)  # a server runs
        assert not any(chain["fault"] for chain in beside.values())
        server.interrupt()

    made = events(data, "--tenant", "acme")
    named = [event["unmapped"]["action"] for event in made]
    assert named == [
        *("key.create", "document.ingest", "document.read", "document.delete", "audit.export"),
    ]
    first, *_, deleted, _ = made
    assert first["actor"]["user"]["name"].startswith("os:")
    assert first["src_endpoint"] == {"name": "host"}
    assert deleted["src_endpoint"] == {"ip": "127.0.0.1"}
    assert (deleted["class_uid"], deleted["status_id"]) == (6003, 1)
    assert deleted["resources"] == [{"uid": "secret-otters", "type": "document"}]
    everything = str(events(data))
    for word in ("moat", "Where do", acme, rival):
        assert word not in everything, "no content, no question, no key"
    [logon, *_] = events(data, "--tenant", "", "--since", "1d")
    assert (logon["class_uid"], logon["status_id"]) == (3002, 2)
    foreign = [e for e in events(data, "--tenant", "rival") if e["status_id"] == 2]
    assert [event["api"]["response"]["code"] for event in foreign] == [404]

    anchor = tmp_path / "anchor.json"
    anchor.write_text(rag("audit", "verify", "--json", data=data).stdout)
    assert not chains(data, "--anchor", str(anchor))["acme"]["fault"]
    change(data, "DELETE FROM audit WHERE tenant = 'acme' AND number > 3")
    change(
        data,
        "UPDATE audit_heads SET number = 3, hash = (SELECT hash FROM audit WHERE tenant = 'acme'"
        " AND number = 3) WHERE tenant = 'acme'",
    )
    assert not chains(data)["acme"]["fault"], "a forged end fits without an anchor"
    forged = chains(data, "--anchor", str(anchor), code=1)
    assert "of the anchor are missing" in forged["acme"]["fault"]
    assert not forged["rival"]["fault"]
    change(data, "UPDATE audit SET subject = 'nobody' WHERE tenant = 'rival' AND number = 1")
    ran = rag("audit", "verify", "--tenant", "rival", data=data)
    assert (ran.returncode, "Row 1 was changed" in ran.stdout) == (1, True)


def test_a_killed_server_loses_rows_of_requests_under_way_alone(tmp_path: Path) -> None:
    data = tmp_path / "data"
    key = key_of(data, "acme", *EVERY)
    answered: list[str] = []
    with serving(data, env=ON) as server:

        def make_keys() -> None:
            with client(server, key) as http, contextlib.suppress(httpx.TransportError):
                while True:
                    body = {"name": "k", "scopes": ["read"]}
                    made = http.post("/v1/keys", json=body)
                    assert made.status_code == 201
                    answered.append(made.json()["id"])

        threads = [threading.Thread(target=make_keys) for _ in range(4)]
        for thread in threads:
            thread.start()
        while len(answered) < 40:
            threads[0].join(0.02)
        server.kill()
        for thread in threads:
            thread.join()
    assert not any(chain["fault"] for chain in chains(data).values())
    made = events(data, "--tenant", "acme")
    written = [event["user"]["uid"] for event in made if event["class_uid"] == 3001]
    assert len(written) == len(set(written))
    assert set(answered) <= set(written), "each row was written before its answer"
    listed = json.loads(rag("keys", "list", "--tenant", "acme", "--json", data=data).stdout)["keys"]
    assert len({each["id"] for each in listed} - set(written)) <= len(threads)


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """Returns a data folder in which two tenants have documents, originals, answers and keys."""
    data = tmp_path / "data"
    for name in ("acme", "rival"):
        files = tmp_path / name
        files.mkdir()
        for n in range(3):
            (files / f"{n}.md").write_text(f"# {name}\n\nThe {name}mark office {n} opens at nine.")
        collections = ("default", "handbook") if name == "acme" else ("default",)
        for collection in collections:
            options = ("--tenant", name, "--collection", collection)
            ran = rag("ingest", str(files), *options, data=data)
            assert ran.returncode == 0, ran.stderr
        key_of(data, name, "--subject", f"{name}mark")
        ran = rag("query", "When does the office open?", "--tenant", name, data=data)
        assert f"{name}mark" in ran.stdout
    return data


def listed(data: Path) -> dict[str, Json]:
    ran = rag("tenants", "list", "--json", data=data)
    return {each["name"]: each for each in json.loads(ran.stdout)["tenants"]}


def test_a_tenant_is_exported_and_deleted(stored: Path) -> None:
    data = stored
    before = listed(data)
    assert before["acme"] | {"chunks": 0} == {
        "name": "acme", "collections": 2, "documents": 6, "chunks": 0, "open_tasks": 0,
        "answers": 1, "keys": 1,
    }  # fmt: skip
    to = data.parent / "acme.zip"
    ran = rag("tenants", "export", "acme", "--to", str(to), data=data)
    assert ran.returncode == 0, ran.stderr
    with zipfile.ZipFile(to) as made:
        content = b"".join(map(made.read, made.namelist()))
        assert b"acmemark office 2" in content
        assert b"rival" not in content
        texts = made.read("tables/texts.jsonl").splitlines()
        assert len(texts) == 6
        assert b"tenant.export" in made.read("tables/audit.jsonl")
    nobody = rag("tenants", "export", "nobody", "--to", f"{to}2", data=data)
    assert (nobody.returncode, "no tenant 'nobody'" in nobody.stderr) == (2, True)
    assert rag("tenants", "delete", "acme", data=data).returncode == 2, "nobody confirms it"
    assert listed(data) == before

    ran = rag("tenants", "delete", "acme", data=data, stdin=b"acme\n")
    assert ran.returncode == 0, ran.stderr
    assert "6 documents" in ran.stdout
    again = rag("tenants", "delete", "acme", "--yes", data=data)
    assert (again.returncode, "Nothing is stored" in again.stdout) == (0, True)
    check_gone(data)
    assert listed(data) == {"rival": before["rival"] | {"answers": 2}}


def check_gone(data: Path) -> None:
    """Checks that nothing of acme is left, and that nothing of its rival is missing."""
    assert not holding(data, "acmemark")
    deleted = [e for e in events(data, "--tenant", "") if e["class_uid"] == 3004]
    assert {event["entity"]["uid"] for event in deleted} == {"acme"}
    assert not any(chain["fault"] for chain in chains(data).values())
    assert "acme" not in listed(data)
    ran = rag("query", "When does the office open?", "--tenant", "rival", data=data)
    assert "rivalmark" in ran.stdout
    checked = rag("index", "check", "--tenant", "rival", data=data)
    assert checked.returncode == 0, checked.stdout


def test_a_killed_deletion_is_finished_by_the_next(stored: Path) -> None:
    data, kills = stored, 0
    for left in (2, 4, 7, 11, 17, 25):
        killed = rag(str(left), "tenants", "delete", "acme", "--yes", data=data, program=KILLED)
        if killed.returncode != -signal.SIGKILL:
            break
        kills += 1
    assert kills >= 3
    ran = rag("tenants", "delete", "acme", "--yes", data=data)
    assert ran.returncode == 0, ran.stderr
    check_gone(data)
