"""`rag ingest` of URLs, with --sync and with --watch, as processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rag.text.uris import document_id
from tests import papers
from tests.forked import ForkedRag, Process
from tests.servers import PATIENCE, Json, environment, rag, serving, states, wait_for
from tests.web import Page, Web, web

as_root = pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
INSIDE = {"RAG_FETCH__PRIVATE_ADDRESSES": "true"}


def result(ran: subprocess.CompletedProcess[str], code: int = 0) -> Json:
    assert ran.returncode == code, ran.stdout + ran.stderr
    body: Json = json.loads(ran.stdout)
    return body


def stored(data: Path, *via: str) -> list[str]:
    """Returns the sorted URIs of the documents in `rag status`."""
    return sorted(d["uri"] for d in result(rag("status", "--json", *via, data=data))["documents"])


def uris(*paths: Path) -> list[str]:
    return sorted(path.as_uri() for path in paths)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with two documents, next to a folder whose name has the same prefix."""
    for name in ("doc/otters.txt", "doc/deep/owls.md", "docs/newts.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"This is about {Path(name).stem}.\n")
    return tmp_path / "doc"


@pytest.fixture
def beside(folder: Path) -> Path:
    return folder.with_name("docs")


class TestUrls:
    @pytest.fixture
    def site(self) -> Iterator[Web]:
        with web({"/otters.html": Page(b"<title>Otters</title><p>Otters hold hands.")}) as running:
            yield running

    def test_a_page_s_life(self, tmp_path: Path, site: Web) -> None:
        data, url = tmp_path / "data", f"{site.url}/otters.html"
        first = result(rag("ingest", url, "--json", data=data, env=INSIDE))
        assert first["outcomes"] == {"stored": 1}
        again = result(rag("ingest", url, url, "--json", data=data, env=INSIDE))
        assert again["outcomes"] == {"unchanged": 1}
        site.pages["/otters.html"].body = b"<title>Otters</title><p>Otters juggle stones."
        changed = result(rag("ingest", url, "--json", data=data, env=INSIDE))
        assert changed["outcomes"] == {"stored": 1}
        [hit] = result(rag("search", "otters", "--json", data=data))["hits"]
        assert (hit["uri"], hit["title"], hit["text"]) == (url, "Otters", "Otters juggle stones.")
        gone = result(rag("ingest", f"{site.url}/gone", "--json", data=data, env=INSIDE), 1)
        assert "answered 404 Not Found" in gone["failures"][0]["error"]
        assert list((data / "spool").iterdir()) == []
        assert rag("delete", url, data=data).stdout == f"Deleted {url}\n"

    def test_through_a_server(self, tmp_path: Path, site: Web) -> None:
        url = f"{site.url}/otters.html"
        with serving(tmp_path / "data", env=INSIDE) as server, server.client() as http:
            via = ("--url", server.url, "--json")
            ran = result(rag("ingest", url, *via, data=tmp_path / "unused"))
            assert ran["outcomes"] == {"stored": 1}
            sent = {"documents": [{"uri": url, "id": "mine"}, {"text": "A text.", "id": "yours"}]}
            answer = http.post("/v1/documents", json=sent).json()
            assert [each["id"] for each in answer["documents"]] == ["mine", "yours"]
            job = answer["job_id"]
            wait_for(lambda: http.get(f"/v1/jobs/{job}").json()["state"] == "succeeded")
            mine = http.get("/v1/documents/mine").json()
            assert (mine["title"], mine["duplicate_of"]) == ("Otters", None)
            listed = http.get("/v1/documents", params={"uri_prefix": site.url}).json()
            assert {each["id"] for each in listed["documents"]} == {"mine", document_id(url)}

    def test_addresses_of_this_machine_are_refused(self, tmp_path: Path, site: Web) -> None:
        ran = result(rag("ingest", site.url, "--json", data=tmp_path / "data"), 1)
        assert "fetch.private_addresses" in ran["failures"][0]["error"]
        assert site.requests == []

    def test_a_password_is_refused_before_anything_is_made(self, tmp_path: Path) -> None:
        data = tmp_path / "data"
        ran = rag("ingest", "https://me:secret@a.example/", data=data)
        assert (ran.returncode, data.exists()) == (2, False)
        assert "secret" not in ran.stderr


class TestSync:
    def test_what_is_gone_is_removed_and_nothing_else(
        self, tmp_path: Path, folder: Path, beside: Path
    ) -> None:
        data, photo = tmp_path / "data", folder / "photo.html.bak"
        photo.write_text("Named, so it is kept.")
        rag("ingest", beside, "-", photo, data=data, stdin=b"Piped.")
        first = result(rag("ingest", "--sync", folder, "--json", data=data))
        assert (first["outcomes"], first["removed"]) == ({"stored": 2}, 0)
        (folder / "otters.txt").unlink()
        shutil.rmtree(folder / "deep")
        (folder / "voles.txt").write_text("This is about voles.")
        ran = rag("ingest", "--sync", folder, data=data)
        assert ran.returncode == 0
        assert "1 stored, 2 removed." in ran.stdout
        left = uris(folder / "voles.txt", photo, beside / "newts.txt")
        assert stored(data) == sorted([*left, "stdin:"])
        found = result(rag("search", "otters owls", "--json", data=data))["hits"]
        assert {hit["uri"] for hit in found} <= {*left, "stdin:"}

    def test_a_file_that_moved_is_embedded_once(self, tmp_path: Path, folder: Path) -> None:
        data = tmp_path / "data"
        rag("ingest", "--sync", folder, data=data)
        (folder / "otters.txt").rename(folder / "moved.txt")
        moved = result(rag("ingest", "--sync", folder, "--json", data=data))
        assert (moved["outcomes"], moved["removed"]) == ({"duplicate": 1, "unchanged": 1}, 1)
        found = result(rag("search", "otters", "--json", data=data))["hits"]
        assert found[0]["uri"] == (folder / "moved.txt").as_uri()

    def test_attachments_come_and_go_with_their_mails(self, tmp_path: Path, folder: Path) -> None:
        data, mail = tmp_path / "data", folder / "mail.eml"
        mail.write_bytes(
            bytes(
                papers.mail("Zoo", "See below.", ("newts.txt", b"Newts."), ("x.zip", b"PK\x03\x04"))
            )
        )
        first = result(rag("ingest", "--sync", folder, "--json", data=data))
        assert (first["outcomes"], first["removed"]) == ({"stored": 4}, 0)
        attached = f"{mail.as_uri()}#attachments/newts.txt"
        assert attached in stored(data)
        again = result(rag("ingest", "--sync", folder, "--json", data=data))
        assert (again["outcomes"], again["removed"]) == ({"unchanged": 4}, 0)
        moved = mail.rename(folder / "deep" / "moved.eml")
        ran = result(rag("ingest", "--sync", folder, "--json", data=data))
        assert ran["outcomes"] == {"unchanged": 2, "duplicate": 2}
        assert attached not in stored(data)
        assert f"{moved.as_uri()}#attachments/newts.txt" in stored(data)
        moved.unlink()
        result(rag("ingest", "--sync", folder, "--json", data=data))
        assert stored(data) == uris(folder / "deep/owls.md", folder / "otters.txt")

    def test_an_empty_folder_empties(self, tmp_path: Path, folder: Path, beside: Path) -> None:
        data = tmp_path / "data"
        assert result(rag("ingest", "--sync", beside, "--json", data=data))["removed"] == 0
        (beside / "newts.txt").unlink()
        assert result(rag("ingest", "--sync", beside, "--json", data=data))["removed"] == 1
        other = ("--collection", "other")
        assert result(rag("ingest", "--sync", beside, "--json", *other, data=data))["removed"] == 0

    def test_through_a_server(self, tmp_path: Path, folder: Path, beside: Path) -> None:
        unused = tmp_path / "unused"
        with serving(tmp_path / "data") as server:
            via = ("--url", server.url)
            rag("ingest", folder, beside, *via, data=unused)
            (folder / "otters.txt").unlink()
            ran = result(rag("ingest", "--sync", folder, "--json", *via, data=unused))
            assert (ran["outcomes"], ran["removed"]) == ({"unchanged": 1}, 1)
            left = uris(folder / "deep/owls.md", beside / "newts.txt")
            assert stored(unused, *via) == left

    def test_what_is_no_folder_changes_nothing(self, tmp_path: Path, folder: Path) -> None:
        data = tmp_path / "data"
        rag("ingest", folder, data=data)
        before = stored(data)
        shutil.rmtree(folder)
        for path in (folder, "-", "https://a.example/", folder.parent / "docs/newts.txt"):
            for flag in ("--sync", "--watch"):
                ran = rag("ingest", flag, path, data=data)
                assert ran.returncode == 2
                assert "no such folder" in ran.stderr
        assert stored(data) == before

    @as_root
    @pytest.mark.parametrize("mode", [0o000, 0o444])
    def test_a_folder_that_is_closed_changes_nothing(
        self, tmp_path: Path, folder: Path, mode: int
    ) -> None:
        data = tmp_path / "data"
        rag("ingest", folder, data=data)
        before = stored(data)
        (folder / "otters.txt").unlink()
        (folder / "deep").chmod(mode)
        try:
            ran = rag("ingest", "--sync", folder, data=data)
        finally:
            (folder / "deep").chmod(0o755)
        assert ran.returncode == 2
        assert "permissions" in ran.stderr
        assert stored(data) == before


class Watching:
    """A process of `rag ingest --watch` and its output."""

    def __init__(self, process: Process, out: Path, err: Path) -> None:
        self.process, self._out, self._err = process, out, err

    @property
    def told(self) -> list[Json]:
        return [json.loads(line) for line in self._out.read_text().splitlines(keepends=True)
                if line.endswith("\n")]  # fmt: skip

    @property
    def errors(self) -> str:
        return self._err.read_text()

    def total(self, kind: str) -> int:
        """Sums over all reports the documents of an outcome, removed or failed."""
        return sum(
            each["removed"] if kind == "removed"
            else each["counts"]["failed"] if kind == "failed"
            else each["outcomes"].get(kind, 0)
            for each in self.told
        )  # fmt: skip

    def comes_to(self, **totals: int) -> None:
        def look() -> bool:
            assert self.process.poll() is None, self.errors
            return all(self.total(kind) >= n for kind, n in totals.items())

        wait_for(look)

    def interrupt(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(PATIENCE)


@contextmanager
def watching(data: Path, folder: Path, *via: str) -> Iterator[Watching]:
    """Runs `rag ingest --watch`; the block begins after its first pass."""
    out, err = data.with_suffix(".out"), data.with_suffix(".err")
    for file in (out, err):
        file.write_bytes(b"")
    arguments: list[str | Path] = ["ingest", "--watch", folder, "--json", *via]
    process = ForkedRag(arguments, cwd=data.parent, env=environment(data), stdout=out, stderr=err)
    watch = Watching(process, out, err)

    def follows() -> bool:
        assert process.poll() is None, watch.errors
        return "Following" in watch.errors

    try:
        wait_for(follows)
        yield watch
    finally:
        process.kill()
        process.wait()


class TestWatch:
    def test_what_changes(self, tmp_path: Path, folder: Path, beside: Path) -> None:
        data = tmp_path / "data"
        rag("ingest", beside, data=data)
        with watching(data, folder) as watch:
            assert watch.told[0]["outcomes"] == {"stored": 2}
            (folder / "new.txt").write_text("This is about newcomers.")
            watch.comes_to(stored=3)
            (folder / "new.txt").write_text("This is about old hands.")
            watch.comes_to(stored=4)
            shutil.rmtree(folder / "deep")
            (folder / "otters.txt").unlink()
            watch.comes_to(removed=2)
            (tmp_path / "elsewhere/er").mkdir(parents=True)
            (tmp_path / "elsewhere/er/moved.md").write_text("This came with its folder.")
            (tmp_path / "elsewhere").rename(folder / "elsewhere")
            watch.comes_to(stored=5)
            assert watch.interrupt() == 0
            assert "Traceback" not in watch.errors
        left = (folder / "new.txt", folder / "elsewhere/er/moved.md", beside / "newts.txt")
        assert stored(data) == uris(*left)
        hits = result(rag("search", "old hands", "--json", data=data))["hits"]
        assert hits[0]["text"] == "This is about old hands."

    def test_a_file_that_is_being_written(self, tmp_path: Path, folder: Path) -> None:
        data = tmp_path / "data"
        with watching(data, folder) as watch:
            with (folder / "slow.txt").open("w") as file:
                watch.comes_to(failed=1)  # it is still empty
                file.write("This is complete now.")
            (folder / "bad.txt").write_bytes(bytes(range(256)) * 20)
            (folder / ".hidden.txt").write_text("This is hidden.")
            (folder / "photo.png").write_bytes(b"\x89PNG")
            watch.comes_to(stored=3, failed=2)
            assert watch.interrupt() == 1  # the bad file still exists
        documents = result(rag("status", "--json", data=data))["documents"]
        states = {Path(d["uri"]).name: d["state"] for d in documents}
        assert states == {"otters.txt": "succeeded", "owls.md": "succeeded",
                          "slow.txt": "succeeded", "bad.txt": "failed"}  # fmt: skip

    def test_a_server_that_is_away(self, tmp_path: Path, folder: Path) -> None:
        data, unused = tmp_path / "data", tmp_path / "unused"
        with serving(data) as server:
            port = server.url.rpartition(":")[2]
            with watching(unused, folder, "--url", server.url) as watch:
                server.interrupt()
                (folder / "otters.txt").unlink()
                wait_for(lambda: "tried again" in watch.errors)
                with serving(data, port=port):
                    watch.comes_to(removed=1)
                    assert watch.interrupt() == 0

    def test_a_folder_that_goes_away_takes_nothing_along(
        self, tmp_path: Path, folder: Path
    ) -> None:
        data = tmp_path / "data"
        with watching(data, folder) as watch:
            shutil.rmtree(folder)
            assert watch.process.wait(PATIENCE) == 2
            assert "Its documents are kept" in watch.errors
        assert stored(data) == uris(folder / "otters.txt", folder / "deep/owls.md")

    def test_ctrl_c_while_it_is_at_work(self, tmp_path: Path, folder: Path) -> None:
        data = tmp_path / "data"
        with watching(data, folder) as watch:
            for n in range(20):
                (folder / f"{n}.txt").write_text(f"{n} is a number that takes time. " * 300)
            wait_for(lambda: "running" in states(data))
            assert watch.interrupt() == 0
            assert "Traceback" not in watch.errors
            assert "never retrieved" not in watch.errors
        ran = result(rag("ingest", "--sync", folder, "--json", data=data))
        assert ran["counts"]["succeeded"] == 22
