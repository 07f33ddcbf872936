"""Random kills: nothing is lost, doubled, outdated or left behind. Runs `tests.killing`."""

from __future__ import annotations

import contextlib
import json
import random
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import ROOT
from tests.killing import KILLS, OPERATIONS
from tests.servers import Server, all_documents, rag, serving, submit


def killed(folder: Path, *, seed: int, kills: int, seconds: float) -> dict[str, Any]:
    """Runs `tests.killing` and returns its report; fails if a fork found something wrong."""
    ran = subprocess.run(
        [sys.executable, "-m", "tests.killing", folder, str(seed), str(kills), str(seconds)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=seconds + 120,
        check=False,
    )
    assert ran.returncode == 0, f"seed {seed}: {ran.stderr[-3000:]}"
    report: dict[str, Any] = json.loads(ran.stdout)
    return report


def test_killed_at_random_nothing_is_lost_doubled_old_or_left_behind(folder: Path) -> None:
    report = killed(folder, seed=7, kills=6, seconds=150)
    assert sum(report["kills"].values()) == 6
    assert report["did"]["verified"] >= 3


@pytest.mark.attack
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seed", [1, 2])
def test_200_kills_lose_double_and_leave_nothing(folder: Path, seed: int) -> None:
    report = killed(folder, seed=seed, kills=200, seconds=1000)
    assert sum(report["kills"].values()) == 200
    assert set(report["kills"]) == {*KILLS, "at a moment"}
    assert {*OPERATIONS} <= report["did"].keys()


@pytest.mark.attack
@pytest.mark.timeout(1200)
def test_a_server_that_is_killed_as_it_deletes_has_either_all_or_nothing_of_a_document(
    tmp_path: Path,
) -> None:
    data, dice = tmp_path / "data", random.Random(5)
    kept = {f"doc-{i}": f"Document {i} tells of zebras and of number {i}." for i in range(120)}
    with serving(data) as server, server.client() as http:
        submit(http, *({"id": id_, "text": text} for id_, text in kept.items()))
    for _ in range(6):
        gone: list[str] = []
        with serving(data) as server:
            deleting = threading.Thread(target=delete_all, args=(server, list(kept), gone))
            deleting.start()
            time.sleep(dice.uniform(0.0, 0.15))
            server.kill()
            deleting.join()
        checked = rag("index", "check", "--json", data=data)
        assert checked.returncode == 0, checked.stdout
        with serving(data) as server, server.client() as http:
            listed = {document["id"]: document["chunks"] for document in all_documents(http)}
            assert not listed.keys() & set(gone)
            assert len(listed) >= len(kept) - len(gone) - 1
            assert set(listed.values()) <= {1}
            lost = [id_ for id_ in kept if id_ not in listed]
            again = [{"id": id_, "text": kept[id_]} for id_ in lost]
            if again:
                assert submit(http, *again)["outcomes"] == {"stored": len(again)}
            same = submit(http, *({"id": id_, "text": text} for id_, text in kept.items()))
            assert same["outcomes"] == {"unchanged": len(kept)}


def delete_all(server: Server, ids: list[str], gone: list[str]) -> None:
    """Deletes documents until the server is killed; adds the confirmed ones to `gone`."""
    with server.client() as http, contextlib.suppress(httpx.HTTPError):
        for id_ in ids:
            assert http.delete(f"/v1/documents/{id_}").status_code == 204
            gone.append(id_)
