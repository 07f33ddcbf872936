"""Deleted and replaced texts leave all files of the data folder; ownership of these files."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from eval.offline.stage_cache import LocalStages
from rag.catalog.forgetting import FORGOTTEN_SECONDS
from rag.process.private_folder import INDEX, limit_umask, tighten
from retrieval.indexes.edge_shard import ERASE_AFTER
from tests.servers import (
    PATIENCE,
    Server,
    all_documents,
    finished,
    rag,
    serving,
    submit,
    wait_for,
)

MARK = "zanzibarquokka"
TEXT = "The office opens at nine in {mark} street. Lunch is served at noon in {mark} hall."


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("deletion") / "data"


@pytest.fixture(scope="module")
def server(data: Path) -> Iterator[Server]:
    with serving(data, env={"RAG_ONLINE__RATE": "1"}) as running:
        yield running
        assert "Traceback" not in running.log.read_text()
        running.interrupt()
    assert not holding(data, MARK)  # not even in the index, which is small


@pytest.fixture(scope="module")
def http(server: Server) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


def holding(data: Path, mark: str, *, but: str = "") -> list[str]:
    """Returns the files with an ASCII text in UTF-8 or UTF-16, except in the folder `but`."""
    found = []
    files = [Path(folder, name) for folder, _, names in os.walk(data) for name in names]
    for file in sorted(files):
        inside = file.relative_to(data)
        if inside.parts[0] != but:
            with contextlib.suppress(FileNotFoundError):  # deleted during the search
                content = file.read_bytes().translate(None, b"\0")  # it makes UTF-8 of UTF-16
                found += [str(inside)] if mark.encode() in content else []
    return found


def asked(http: httpx.Client, collection: str, mark: str) -> str:
    """Asks a question and sends feedback on the answer; returns the answer's id."""
    body = {"query": "When does the office open?", "collection": collection}
    answer = http.post("/v1/query", json=body).json()
    assert mark in answer["answer"]
    feedback = {"answer_id": answer["answer_id"], "rating": "up", "correction": f"At nine, {mark}."}
    assert http.post("/v1/feedback", json=feedback).status_code == 204
    return str(answer["answer_id"])


def asked_in_a_batch(http: httpx.Client, collection: str, mark: str) -> str:
    """Asks a question in a batch; returns the address of its responses."""
    body = {"query": "When does the office open?", "collection": collection}
    line = json.dumps({"custom_id": "a", "url": "/v1/query", "body": body})
    form = {"files": {"file": line}, "data": {"purpose": "batch"}}
    file = http.post("/v1/files", **form).json()["id"]  # type: ignore[arg-type]
    sent = {"input_file_id": file, "endpoint": "/v1/query", "completion_window": "24h"}
    batch = http.post("/v1/batches", json=sent).json()["id"]
    output = wait_for(lambda: http.get(f"/v1/batches/{batch}").json()["output_file_id"])
    assert mark in http.get(f"/v1/files/{output}/content").text
    return f"/v1/files/{output}/content"


def test_a_text_that_was_deleted_or_replaced_is_in_no_file(http: httpx.Client, data: Path) -> None:
    deleted, replaced = f"{MARK}one", f"{MARK}two"
    texts = [(mark, TEXT.format(mark=mark)) for mark in (deleted, replaced)]
    for mark, text in texts:
        submit(http, {"id": "d", "text": text, "title": mark}, collection=mark[-3:])
    answers = [asked(http, mark[-3:], mark) for mark, _ in texts]
    responses = [asked_in_a_batch(http, mark[-3:], mark) for mark, _ in texts]
    for name in ("four.txt", "five.txt"):
        text = TEXT.format(mark=MARK + name)
        finished(http, http.post("/v1/documents", files={"files": (name, text)}))
        assert any(file.startswith("originals/") for file in holding(data, MARK + name))
    [four] = [d["id"] for d in all_documents(http, "default") if d["title"] == "four.txt"]
    assert http.delete(f"/v1/documents/{four}").status_code == 204
    finished(http, http.post("/v1/documents", files={"files": ("five.txt", "The hall is closed.")}))
    assert "catalog.sqlite-wal" in holding(data, deleted)
    assert http.delete("/v1/documents/d?collection=one").status_code == 204
    submit(http, {"id": "d", "text": "The office is closed."}, collection="two")
    until = time.monotonic() + FORGOTTEN_SECONDS
    while found := holding(data, MARK, but=INDEX):  # the index has its own time: test_erasing.py
        assert time.monotonic() < until, found
        time.sleep(0.5)
    for answer in answers:  # what is counted of the answers is still there
        feedback = {"answer_id": answer, "rating": "down"}
        assert http.post("/v1/feedback", json=feedback).status_code == 204
    for address in responses:
        assert "document_changed" in http.get(address).text


def test_a_deleted_collection_is_in_no_file_and_can_be_made_anew(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with serving(data) as server, server.client() as http:
        delete_whole_collection(http, server, data)


def delete_whole_collection(http: httpx.Client, server: Server, data: Path) -> None:
    mark, kept = f"{MARK}whole", f"{MARK}kept"
    submit(http, {"id": "d", "text": TEXT.format(mark=mark), "title": mark}, collection="whole")
    submit(http, {"id": "d", "text": TEXT.format(mark=kept)}, collection="kept")
    file = {"files": (f"{mark}.txt", TEXT.format(mark=mark))}
    finished(http, http.post("/v1/documents", files=file, data={"collection": "whole"}))
    job = submit(http, {"id": "f", "text": " \n", "title": mark}, collection="whole")
    answer = asked(http, "whole", mark)
    responses = asked_in_a_batch(http, "whole", mark)
    folders = {"index", "originals", "spool"}
    wait_for(lambda: {each.split("/")[0] for each in holding(data, mark)} >= folders)
    ran = rag("delete", "--all", "--collection", "whole", "--url", server.url, data=data)
    assert ran.returncode == 0, ran.stderr
    until = time.monotonic() + FORGOTTEN_SECONDS
    while found := holding(data, mark):
        assert time.monotonic() < until, found
        time.sleep(0.5)
    listed = http.get("/v1/collections").json()["collections"]
    assert "whole" not in [each["name"] for each in listed]
    question = {"query": "When does the office open?", "collection": "whole"}
    feedback = {"answer_id": answer, "rating": "up"}
    for gone in (
        http.post("/v1/query", json=question),
        http.get("/v1/documents?collection=whole"),
        http.get("/v1/documents/d?collection=whole"),
        http.get(f"/v1/jobs/{job['id']}"),
        http.post("/v1/feedback", json=feedback),
        http.delete("/v1/collections/whole"),
        http.get("/v1/collections/whole/acl"),
    ):
        assert gone.status_code == 404, gone.text
    assert kept in http.post("/v1/query", json=question | {"collection": "kept"}).json()["answer"]
    assert "document_changed" in http.get(responses).text
    submit(http, {"id": "d", "text": "The office opens at ten."}, collection="whole")
    assert "ten" in http.post("/v1/query", json=question).json()["answer"]


@pytest.mark.attack
def test_a_running_service_removes_it_from_the_index_as_well(
    http: httpx.Client, data: Path
) -> None:
    mark = f"{MARK}three"
    submit(http, {"id": "d", "text": TEXT.format(mark=mark)}, collection="three")
    assert holding(data, mark)
    assert http.delete("/v1/documents/d?collection=three").status_code == 204
    wait_for(lambda: not holding(data, mark), seconds=ERASE_AFTER + PATIENCE, pause=1)


class TestSpool:
    """Uploaded bytes are deleted as soon as nothing needs them."""

    def spool(self, data: Path) -> list[Path]:
        return list((data / "spool").iterdir())

    def fail(self, http: httpx.Client, id_: str) -> None:
        assert submit(http, {"id": id_, "text": " \n", "title": MARK})["state"] == "failed"

    def test_what_failed_is_kept_until_it_is_deleted(self, http: httpx.Client, data: Path) -> None:
        self.fail(http, "f1")
        assert len(self.spool(data)) == 1
        http.delete("/v1/documents/f1")
        assert self.spool(data) == []

    def test_a_job_says_that_an_error_went_with_its_document(self, http: httpx.Client) -> None:
        failing = {"id": "f3", "text": " \n"}
        job = submit(http, failing)
        assert "f3" in job["error"]
        http.delete("/v1/documents/f3")
        submit(http, failing)
        job = http.get(f"/v1/jobs/{job['id']}").json()
        assert "deleted" in job["error"]
        assert [failure["error"] for failure in job["failures"]] == [job["error"]]
        http.delete("/v1/documents/f3")

    def test_what_failed_is_kept_until_it_is_replaced(self, http: httpx.Client, data: Path) -> None:
        self.fail(http, "f2")
        self.fail(http, "f2")
        assert len(self.spool(data)) == 1
        assert submit(http, {"id": "f2", "text": "Fine."})["state"] == "succeeded"
        assert self.spool(data) == []


class TestModes:
    def test_all_of_a_data_folder_is_its_owners_alone(self, http: httpx.Client, data: Path) -> None:
        submit(http, {"id": "m", "text": "Some text."}, collection="modes")
        assert stat.S_IMODE(data.stat().st_mode) == 0o700
        modes = {path: stat.S_IMODE(path.stat().st_mode) for path in data.rglob("*")}
        names = {path.name for path in modes}
        assert names >= {"catalog.sqlite", "catalog.sqlite-wal", "catalog.sqlite-shm", "lock"}
        assert any(path.relative_to(data).parts[0] == INDEX for path in modes)
        assert {path: oct(mode) for path, mode in modes.items() if mode & 0o077} == {}

    def test_a_folder_of_before_is_tightened(self, tmp_path: Path) -> None:
        data = tmp_path / "data"
        (data / INDEX).mkdir(parents=True)
        for name in ("catalog.sqlite", "lock", f"{INDEX}/segment"):
            (data / name).touch()
        for path in (data, *data.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        assert rag("status", data=data).returncode == 0
        assert not [p for p in (data, *data.rglob("*")) if stat.S_IMODE(p.stat().st_mode) & 0o077]

    def test_nothing_is_widened_and_what_is_not_ours_stays(self, tmp_path: Path) -> None:
        data = tmp_path / "data"
        (data / INDEX).mkdir(parents=True, mode=0o755)
        (data / "lock").touch(0o440)
        (data / "page.html").touch(0o644)
        (tmp_path / "else.txt").touch(0o644)
        (data / INDEX / "link").symlink_to(tmp_path / "else.txt")
        data.chmod(0o755)
        tighten(data)
        modes = [data, data / INDEX, data / "lock", data / "page.html", tmp_path / "else.txt"]
        found = [oct(stat.S_IMODE(path.stat().st_mode)) for path in modes]
        assert found == ["0o755", "0o700", "0o400", "0o644", "0o644"]

    @pytest.mark.parametrize(
        ("shared", "before", "after"),
        [(False, 0o002, 0o077), (True, 0o002, 0o007), (True, 0o022, 0o027)],
    )
    def test_a_shared_folder_is_closed_to_strangers_alone(
        self, shared: bool, before: int, after: int
    ) -> None:
        ours = os.umask(before)
        try:
            limit_umask(shared=shared)
        finally:
            found = os.umask(ours)
        assert oct(found) == oct(after)

    def test_the_cache_of_evaluations_is_its_owners_alone(self, tmp_path: Path) -> None:
        with LocalStages.opened(tmp_path / "data" / "eval") as stages:
            stages.put("key", 1)
            made = list((tmp_path / "data").rglob("*"))
            assert len(made) > 1
            for path in (tmp_path / "data", *made):
                assert not path.stat().st_mode & 0o077, path
