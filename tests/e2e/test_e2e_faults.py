"""Power cuts, full disks, damaged files: stored data stays, and failures are reported."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from ingest.sources.files import find
from tests.disks import fill, small_disk
from tests.servers import (
    PATIENCE,
    RAG,
    Json,
    all_documents,
    contents,
    ended,
    environment,
    rag,
    serving,
    start,
    states,
    submit,
    wait_for,
)
from tests.shallow_minilm import shallow

DOCUMENTS = 80
NO_OVERRIDE = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search")
"""Command prefix that takes from root the capability to bypass file permissions."""


def text_of(n: int) -> str:
    """Returns a unique text of some 500 words: a few chunks."""
    return f"Chapter {n}.\n\n" + "\n\n".join(
        f"Paragraph {m} of chapter {n} says that {n * 31 + m} lamps were lit. " * 6
        for m in range(6)
    )


def prefix() -> tuple[str, ...]:
    """Returns a command prefix that enforces file permissions for root; empty for other users."""
    if os.geteuid() != 0:
        return ()
    works = shutil.which("setpriv") and subprocess.run([*NO_OVERRIDE, "true"], check=False)
    if not works or works.returncode:
        pytest.skip("root passes over permissions here")
    return NO_OVERRIDE


def whole(job: Json) -> None:
    assert job["counts"]["succeeded"] == job["counts"]["total"] == DOCUMENTS, job


class TestKilled:
    def test_ingest(self, tmp_path: Path) -> None:
        data, folder, env = tmp_path / "data", tmp_path / "book", shallow(tmp_path)
        folder.mkdir()
        for n in range(DOCUMENTS):
            (folder / f"{n:02}.txt").write_text(text_of(n))
        process = start("ingest", str(folder), data=data, log=tmp_path / "ingest.log", env=env)
        wait_for(lambda: "succeeded" in states(data), pause=0.005)
        process.kill()
        assert process.wait(PATIENCE) == -signal.SIGKILL
        left = states(data)
        assert len(left) == DOCUMENTS
        assert 0 < left.count("succeeded") < DOCUMENTS

        with serving(data, env=env) as server, server.client() as http:
            wait_for(lambda: not {"pending", "running"} & set(states(data)))
            assert states(data) == ["succeeded"] * DOCUMENTS
            ran = rag("ingest", folder, "--url", server.url, data=tmp_path / "unused")
            assert f"{DOCUMENTS} unchanged" in ran.stdout
            ran = rag(
                *("ingest", folder, "--url", server.url, "--collection", "undisturbed"),
                data=tmp_path / "unused",
            )
            assert f"{DOCUMENTS} stored" in ran.stdout
            resumed = contents(http, "default")
            assert len(resumed) == DOCUMENTS
            assert resumed == contents(http, "undisturbed")
            held = {
                c["name"]: c["chunks"] for c in http.get("/v1/collections").json()["collections"]
            }
            assert held["default"] == held["undisturbed"] == sum(map(len, resumed.values()))

    def test_serve(self, tmp_path: Path) -> None:
        data, env = tmp_path / "data", shallow(tmp_path)
        documents = [{"id": f"{n:02}", "text": text_of(n)} for n in range(DOCUMENTS)]
        with serving(data, env=env) as server, server.client() as http:
            job_id = http.post("/v1/documents", json={"documents": documents}).json()["job_id"]
            wait_for(lambda: "succeeded" in states(data), pause=0.005)
            server.kill()
        assert 0 < states(data).count("succeeded") < DOCUMENTS

        with serving(data, env=env) as server, server.client() as http:
            whole(ended(http, job_id))
            whole(submit(http, *documents, collection="undisturbed"))
            assert contents(http, "default") == contents(http, "undisturbed")
            assert not list((data / "spool").iterdir())

    def test_with_a_damaged_spool(self, tmp_path: Path) -> None:
        data, env = tmp_path / "data", shallow(tmp_path)
        documents = [{"id": f"{n:02}", "text": text_of(n)} for n in range(DOCUMENTS)]
        with serving(data, env=env) as server, server.client() as http:
            job_id = http.post("/v1/documents", json={"documents": documents}).json()["job_id"]
            server.kill()
        spooled = sorted((data / "spool").iterdir())
        assert len(spooled) > 2
        for file in spooled[1:]:
            os.truncate(file, file.stat().st_size // 2)
        spooled[0].unlink()

        with serving(data, env=env) as server, server.client() as http:
            job = ended(http, job_id)
            assert job["state"] in ("failed", "partial")
            assert job["counts"]["failed"] > 0
            assert job["counts"]["failed"] + job["counts"]["succeeded"] == DOCUMENTS
            assert all(failure["error"] for failure in job["failures"])
            assert len(all_documents(http)) == DOCUMENTS
            whole(submit(http, *documents))  # sent again, they are mended


class TestDamaged:
    @pytest.fixture
    def data(self, tmp_path: Path) -> Path:
        data = tmp_path / "data"
        ran = rag("ingest", "-", data=data, stdin=b"The lighthouse is painted white.")
        assert ran.returncode == 0, ran.stderr
        return data

    def test_catalog_and_index(self, data: Path) -> None:
        catalog = data / "catalog.sqlite"
        kept = catalog.read_bytes()
        catalog.write_bytes(b"This was a database once. " * 500)
        ran = rag("status", data=data)
        assert ran.returncode == 1
        assert ran.stderr.startswith("rag: The catalog cannot be used")
        assert f"{catalog}: DatabaseError: file is not a database" in ran.stderr
        assert "backup" in ran.stderr
        ran = rag("serve", "--port", "0", data=data)
        assert ran.returncode == 1
        assert "rag: The catalog cannot be used" in ran.stderr
        assert "Traceback" not in ran.stderr

        catalog.write_bytes(kept)
        for file in (data / "index").rglob("*.json"):
            file.write_bytes(b"")
        ran = rag("search", "lighthouse", "--json", data=data)
        assert ran.returncode == 1
        assert '"storage"' in ran.stderr
        assert "index" in ran.stderr
        assert "backup" in ran.stderr
        assert "Traceback" not in ran.stderr
        assert catalog.read_bytes()[:15] == b"SQLite format 3"

    def test_read_only(self, data: Path) -> None:
        root = prefix()
        for path in (data, *data.rglob("*")):
            path.chmod(0o500 if path.is_dir() else 0o400)
        ran = rag("search", "lighthouse", data=data, command=(*root, *RAG))
        for path in (data, *data.rglob("*")):
            path.chmod(0o700 if path.is_dir() else 0o600)
        assert ran.returncode == 2
        assert ran.stderr.startswith(f"rag: The data folder {data} cannot be used")
        assert "white" in rag("search", "lighthouse", data=data).stdout

    def test_a_file_for_a_folder(self, tmp_path: Path) -> None:
        (tmp_path / "data").touch()
        ran = rag("status", data=tmp_path / "data")
        assert ran.returncode == 2
        assert "RAG_DATA_DIR" in ran.stderr


class TestFullDisk:
    def test_what_was_stored_stays(self, tmp_path: Path) -> None:
        with small_disk(tmp_path / "disk", 400) as disk:
            data = disk / "data"
            ran = rag("ingest", "-", data=data, stdin=b"The lighthouse is painted white.")
            assert ran.returncode == 0, ran.stderr
            (tmp_path / "new.txt").write_text(text_of(0))

            filler = fill(disk, leave=0)
            ran = rag("ingest", tmp_path / "new.txt", data=data)
            assert ran.returncode == 1
            assert ran.stderr.startswith("rag: ")
            assert "full" in ran.stderr or "No space" in ran.stderr
            assert "Traceback" not in ran.stderr

            filler.unlink()
            assert "white" in rag("search", "lighthouse", data=data).stdout
            assert "1 stored" in rag("ingest", tmp_path / "new.txt", data=data).stdout

    def test_while_it_serves(self, tmp_path: Path) -> None:
        with small_disk(tmp_path / "disk", 400) as disk:
            data = disk / "data"
            with serving(data) as server, server.client() as http:
                submit(http, {"id": "old", "text": "The lighthouse is painted white."})
                filler = fill(disk, leave=0)
                new = {"id": "new", "text": text_of(0) * 50}
                refused = http.post("/v1/documents", json={"documents": [new]})
                assert (refused.status_code, refused.json()["code"]) == (507, "disk_full")
                body = {"query": "What colour is the lighthouse?"}
                answer = http.post("/v1/query", json=body)
                assert answer.status_code == 200, answer.text + server.log.read_text()
                assert "white" in answer.json()["answer"]
                filler.unlink()
                assert submit(http, new)["state"] == "succeeded"
                assert {d["id"] for d in all_documents(http)} == {"old", "new"}

    def test_while_the_index_grows(self, tmp_path: Path) -> None:
        """The index writes through memory maps, where a full disk would cause a fatal signal."""
        with small_disk(tmp_path / "disk", 400) as disk:
            data, folder, env = disk / "data", tmp_path / "book", shallow(tmp_path)
            folder.mkdir()
            for n in range(DOCUMENTS):
                (folder / f"{n:02}.txt").write_text(text_of(n))
            ran = rag("ingest", "-", data=data, env=env, stdin=b"The lighthouse is painted white.")
            assert ran.returncode == 0, ran.stderr
            filler = fill(disk, leave=400_000)
            stopped = rag("ingest", folder, data=data, env=env)
            assert stopped.returncode != 0
            filler.unlink()
            assert "white" in rag("search", "lighthouse", data=data, env=env).stdout
            ran = rag("ingest", folder, data=data, env=env)
            assert ran.returncode == 0, ran.stderr
            assert ran.stdout.startswith(f"{DOCUMENTS} documents")
            assert "failed" not in ran.stdout
            assert stopped.returncode == 1
            assert "full" in stopped.stdout + stopped.stderr


class TestHostileFiles:
    def test_200_megabytes(self, tmp_path: Path) -> None:
        peaks = []
        for name, size in (("small.txt", 0), ("huge.txt", 200 << 20)):
            with (tmp_path / name).open("wb") as file:
                file.truncate(size)
            command = [*RAG, "ingest", str(tmp_path / name)]
            env = environment(tmp_path / "data")
            with (tmp_path / "out").open("wb") as out:
                process = subprocess.Popen(command, cwd=tmp_path, env=env, stdout=out, stderr=out)
                _, status, usage = os.wait4(process.pid, 0)
                process.returncode = os.waitstatus_to_exitcode(status)
            assert process.returncode == 1
            peaks.append(usage.ru_maxrss >> 10)
        message = (tmp_path / "out").read_text()
        assert "64 MiB" in message
        assert "limits.file_mb" in message
        assert peaks[1] - peaks[0] < 100, peaks

    def test_permissions(self, tmp_path: Path) -> None:
        root = prefix()
        folder = tmp_path / "folder"
        (folder / "closed").mkdir(parents=True)
        (folder / "secret.txt").write_text("Secret.")
        (folder / "open.txt").write_text("Open.")
        (folder / "secret.txt").chmod(0)
        (folder / "closed").chmod(0)
        ran = rag("ingest", folder, data=tmp_path / "data", command=(*root, *RAG))
        assert ran.returncode == 2
        assert str(folder / "closed") in ran.stderr
        assert "permissions" in ran.stderr
        (folder / "closed").chmod(0o700)
        ran = rag("ingest", folder, data=tmp_path / "data", command=(*root, *RAG))
        assert ran.returncode == 1
        assert "1 stored, 1 failed" in ran.stdout
        assert "secret.txt: cannot be read: Permission denied" in ran.stdout

    def test_link_loops(self, tmp_path: Path) -> None:
        (tmp_path / "a" / "b").mkdir(parents=True)
        (tmp_path / "a" / "b" / "up").symlink_to(tmp_path / "a")
        (tmp_path / "a" / "self.txt").symlink_to("self.txt")
        (tmp_path / "a" / "one.txt").write_text("One.")
        one = tmp_path / "a" / "one.txt"
        assert list(find([str(tmp_path / "a")])) == [one]
        assert list(find([str(tmp_path / "*")])) == [one]

    def test_link_loops_under_a_recursive_glob(self, tmp_path: Path) -> None:
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "up").symlink_to(tmp_path / "a")
        (tmp_path / "a" / "one.txt").write_text("One.")
        assert list(find([str(tmp_path / "**" / "*.txt")])) == [tmp_path / "a" / "one.txt"]

    def test_a_name_that_is_no_text(self, tmp_path: Path) -> None:
        odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.txt"))
        odd.write_text("The oddly named file.")
        ran = rag("ingest", odd, data=tmp_path / "data")
        assert ran.returncode == 0, ran.stderr
