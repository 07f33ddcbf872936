"""The command `rag` as a separate process: `command=RAG` starts a new interpreter for it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import RAG, Json, Server, environment, rag, serving

INGESTED = {"jobs", "counts", "outcomes", "failures", "seconds"}
HITS = {"hits", "timings", "degraded", "trace_id"}
ANSWER = HITS | {
    "question", "answer", "citations", "unsupported", "uncited", "claims", "abstained", "reason",
    "cached", "confidence", "usage", "answer_id", "missing", "route", "variant",
    "finish_reason",
}  # fmt: skip
DOCUMENT = {
    "id", "uri", "title", "media_type", "state", "error", "version", "meta", "chunks",
    "duplicate_of", "parent", "created_at", "updated_at",
}  # fmt: skip


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A folder with two documents, a copy, and files that are not documents."""
    folder = tmp_path / "library"
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "otters.txt").write_text("Otters hold hands while they sleep.\n")
    (folder / "deep" / "er" / "owls.md").write_text("# Owls\n\nOwls hunt at night.\n")
    (folder / "copy.txt").write_text("Otters hold hands while they sleep.\n")
    (folder / "photo.jpg").write_bytes(b"\xff\xd8\xff")
    (folder / ".hidden.txt").write_text("Not this one.\n")
    (folder / "deep" / "back").symlink_to(folder)
    (folder / "self").symlink_to("self")
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("cli") / "data") as running:
        yield running


def result(ran: subprocess.CompletedProcess[str], code: int = 0) -> Json:
    """Checks the exit code and returns the JSON on standard output."""
    assert ran.returncode == code, ran.stdout + ran.stderr
    body: Json = json.loads(ran.stdout)
    return body


def complaint(ran: subprocess.CompletedProcess[str], code: int = 2) -> str:
    """Checks that a command failed with one readable message and no traceback; returns it."""
    assert ran.returncode == code, ran.stdout + ran.stderr
    assert ran.stdout == ""
    assert ran.stderr.startswith("rag: ")
    assert "Traceback" not in ran.stderr
    return ran.stderr


class TestEmbedded:
    def test_a_document_s_life(self, tmp_path: Path, library: Path) -> None:
        data = tmp_path / "data"
        first = result(rag("ingest", library, "--json", data=data, command=RAG))
        assert set(first) == INGESTED
        assert first["counts"]["succeeded"] == first["counts"]["total"] == 3
        assert first["outcomes"] == {"stored": 2, "duplicate": 1}

        again = rag("ingest", "library/*.*", "library/deep", data=data)
        assert again.returncode == 0
        assert "3 unchanged" in again.stdout
        assert "1 skipped" in again.stdout  # the glob names the photo too, which is not recognised

        answer = result(
            rag("query", "What do otters do while they sleep?", "--json", data=data, command=RAG)
        )
        assert set(answer) == ANSWER
        assert "hold hands" in answer["answer"]

        listed = result(rag("status", "--json", data=data, command=RAG))
        assert set(listed) == {"collections", "collection", "documents"}
        assert [set(each) for each in listed["documents"]] == [DOCUMENT] * 4
        chunks = {each["uri"].rpartition("/")[2]: each["chunks"] for each in listed["documents"]}
        assert sorted((chunks["otters.txt"], chunks["copy.txt"])) == [0, 1]

        owls = next(d["id"] for d in listed["documents"] if d["uri"].endswith("owls.md"))
        names = [str(library / "otters.txt"), owls]
        assert result(rag("delete", *names, "--json", data=data, command=RAG)) == {"deleted": names}

        found = result(rag("search", "otters", "--json", data=data))
        assert set(found) == HITS
        assert [hit["uri"] for hit in found["hits"]] == [(library / "copy.txt").as_uri()]

    def test_standard_input_and_collections(self, tmp_path: Path) -> None:
        data = tmp_path / "data"
        text = b"The kettle is broken.\n"
        ran = rag("ingest", "-", "--collection", "kitchen", data=data, stdin=text)
        assert ran.returncode == 0
        assert "1 stored" in ran.stdout
        people = rag("search", "kettle", "--collection", "kitchen", data=data)
        assert people.returncode == 0
        assert "“The kettle is broken.”" in people.stdout
        assert "dense 1, sparse 1" in people.stdout
        missing = rag("query", "kettle", "--json", data=data)
        assert missing.returncode == 2
        assert json.loads(missing.stderr)["error"]["code"] == "unknown_collection"
        assert "`rag status`" in missing.stderr

    def test_what_cannot_be_read_fails_alone(self, tmp_path: Path) -> None:
        data, folder = tmp_path / "data", tmp_path / "mixed"
        folder.mkdir()
        (folder / "empty.txt").touch()
        (folder / "junk.txt").write_bytes(bytes(range(256)) * 20)
        (folder / "west.txt").write_bytes("Füße und Käse, „schön“ – oder nicht?".encode("cp1252"))
        (folder / "fine.rst").write_text("Fine\n====\n\nAll is well.\n")
        ran = result(rag("ingest", folder, "--json", data=data), 1)
        assert ran["counts"]["failed"] == 2
        assert ran["counts"]["succeeded"] == 2
        errors = {f["uri"].rpartition("/")[2]: f["error"] for f in ran["failures"]}
        assert "no text" in errors["empty.txt"]
        assert "binary" in errors["junk.txt"]
        dead = rag("status", "--failed", data=data).stdout
        assert errors["empty.txt"] in dead
        assert "Fine" not in dead
        found = result(rag("search", "Käse", "--json", data=data))
        assert found["hits"][0]["text"] == "Füße und Käse, „schön“ – oder nicht?"

    def test_collections_are_no_paths(self, tmp_path: Path, library: Path) -> None:
        before = sorted(tmp_path.rglob("*"))
        for name in ("../../escaped", "A B"):
            ran = rag("ingest", library, "--collection", name, data=tmp_path / "data")
            assert "--collection" in complaint(ran)
        assert sorted(tmp_path.rglob("*")) == before

    def test_paths_that_are_none(self, tmp_path: Path, library: Path) -> None:
        data = tmp_path / "data"
        assert "there is no such file" in complaint(rag("ingest", "nowhere", data=data))
        assert "no file to read" in complaint(rag("ingest", "library/*.nope", data=data))
        assert "no such" in complaint(rag("ingest", "library/self", data=data))
        assert not data.exists()  # refused before anything was made

    def test_commands_open_what_they_use_alone(self, tmp_path: Path, library: Path) -> None:
        data = tmp_path / "data"
        assert rag("ingest", library, data=data).returncode == 0
        no_generator = {"RAG_GENERATOR__KIND": "vllm", "RAG_GENERATOR__MODEL": str(tmp_path / "no")}
        no_embedder = {"RAG_EMBEDDER__DEVICE": "cuda:99"}
        nothing = no_generator | no_embedder
        assert result(rag("status", "--json", data=data, env=nothing))["documents"]
        deleted = [str(library / "deep" / "er" / "owls.md")]  # nothing has to be embedded for it
        assert result(rag("delete", *deleted, "--json", data=data, env=nothing)) == {
            "deleted": deleted
        }
        assert result(rag("search", "otters", "--json", data=data, env=no_generator))["hits"]
        assert "embedder.device" in complaint(rag("search", "otters", data=data, env=no_embedder))
        assert "embedder.device" in complaint(rag("ingest", library, data=data, env=no_embedder))
        asked = rag("query", "otters", data=data, env=no_generator)
        assert asked.returncode == 2
        assert "there is no such folder" in asked.stderr


class TestThroughAServer:
    def test_a_document_s_life(self, tmp_path: Path, server: Server, library: Path) -> None:
        data = tmp_path / "unused"
        via = ("--url", server.url, "--collection", "life")
        (library / "empty.txt").touch()
        first = result(rag("ingest", library, "--json", *via, data=data), 1)
        assert set(first) == INGESTED
        assert first["counts"]["succeeded"] == 3
        assert [f["uri"] for f in first["failures"]] == [(library / "empty.txt").as_uri()]
        again = result(rag("ingest", library / "otters.txt", "--json", *via, data=data))
        assert again["outcomes"] == {"unchanged": 1}
        ran = rag("ingest", "-", *via, data=data, stdin=b"The kettle is broken.")
        assert "1 stored" in ran.stdout

        env = {"RAG_URL": server.url}
        here = ("--collection", "life")
        answer = result(rag("query", "--json", *here, "What do owls do?", data=data, env=env))
        assert "hunt at night" in answer["answer"]
        found = result(rag("search", "--json", *here, "kettle", "--top-k", "1", data=data, env=env))
        assert [hit["uri"] for hit in found["hits"]] == ["stdin:"]
        path = str(library / "otters.txt")
        listed = rag("status", *here, data=data, env=env)
        assert "life: 4 documents" in listed.stdout
        one = result(rag("status", path, "--json", *here, data=data, env=env))
        assert set(one) == DOCUMENT
        assert rag("delete", path, *here, data=data, env=env).stdout == f"Deleted {path}\n"
        assert "no document" in complaint(rag("delete", path, *here, data=data, env=env))
        assert not data.exists()

    def test_whose_folder_it_is(self, server: Server, library: Path) -> None:
        data = server.log.with_suffix("")
        for command in (("ingest", library), ("query", "x"), ("status",)):
            message = complaint(rag(*command, data=data))
            assert str(server.process.pid) in message
            assert f"--url {server.url}" in message

    def test_a_port_that_is_taken(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = str(taken.getsockname()[1])
            message = complaint(rag("serve", "--port", port, data=tmp_path / "data"))
        assert f"127.0.0.1:{port}" in message
        assert "--port" in message

    def test_urls_that_lead_nowhere(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        data = tmp_path / "data"
        message = complaint(rag("search", "x", "--url", f"http://127.0.0.1:{port}", data=data), 1)
        assert "rag serve" in message
        for url in ("ftp://127.0.0.1", "nonsense", "http://[::1"):
            assert "no URL" in complaint(rag("search", "x", "--url", url, data=data))

    def test_bytes_that_are_no_text(self, server: Server, tmp_path: Path) -> None:
        folder = tmp_path / "odd"
        folder.mkdir()
        odd = Path(os.fsdecode(os.fsencode(folder) + b"/\xff.txt"))
        odd.write_text("The oddly named file.")
        via = ("--url", server.url, "--collection", "odd")
        data = tmp_path / "unused"
        assert result(rag("ingest", odd, "--json", *via, data=data))["outcomes"] == {"stored": 1}
        ran = rag("search", *via, b"oddly \xff named", "--filter", b"title=\xff.txt", data=data)
        assert ran.returncode == 0, ran.stderr
        assert "no document" in complaint(rag("status", b"\xff", *via, data=data))
        assert rag("delete", odd, *via, data=data).stdout.startswith("Deleted ")

    def test_questions_that_cannot_be_served(self, server: Server, tmp_path: Path) -> None:
        via = ("--url", server.url, "--collection", "asked")
        data = tmp_path / "unused"
        rag("ingest", "-", *via, data=data, stdin=b"Something to ask about.")
        assert "query" in complaint(rag("query", "", *via, data=data))
        assert "limits.question_chars" in complaint(rag("query", "x" * 100_000, *via, data=data))
        assert "top_k" in complaint(rag("search", "x", "--top-k", "0", *via, data=data))
        assert "--filter" in complaint(rag("search", "x", "--filter", "year", *via, data=data))
        message = complaint(rag("search", "x", "--filter", "titel=x", *via, data=data))
        assert "'title'" in message


class TestServe:
    def test_ctrl_c(self, tmp_path: Path) -> None:
        data = tmp_path / "data"
        with serving(data, command=RAG) as server:
            assert server.interrupt() in (0, 130)
            assert "Traceback" not in server.log.read_text()
        listed = rag("status", data=data)
        assert listed.returncode == 0, listed.stderr
        assert "Nothing is stored yet" in listed.stdout


class TestSettings:
    def test_config(self, tmp_path: Path) -> None:
        data = tmp_path / "data"
        (tmp_path / "rag.toml").write_text("[retrieval]\ndepth = 7\n")
        printed = rag("config", data=data, env={"RAG_LIMITS__TOP_K": "5"}, command=RAG)
        assert printed.returncode == 0
        settings = result(rag("config", "--json", data=data, env={"RAG_LIMITS__TOP_K": "5"}))
        assert settings["retrieval"]["depth"] == 7
        assert settings["limits"]["top_k"] == 5
        assert settings["data_dir"] == str(data)
        (tmp_path / "copy.toml").write_text(printed.stdout)
        env = {"RAG_CONFIG": "copy.toml"}
        assert result(rag("config", "--json", data=data, env=env)) == settings

    def test_names_that_are_none(self, tmp_path: Path) -> None:
        data = tmp_path / "data"
        message = complaint(rag("config", data=data, env={"RAG_RETRIEVAL__DEPHT": "3"}))
        assert "RAG_RETRIEVAL__DEPTH" in message
        (tmp_path / "rag.toml").write_text("[retrieval]\ndepht = 3\n")
        assert "'retrieval.depth'" in complaint(rag("config", data=data))
        (tmp_path / "rag.toml").write_text("[retrieval\n")
        assert "rag.toml" in complaint(rag("config", data=data))
        (tmp_path / "rag.toml").unlink()
        message = complaint(rag("config", data=data, env={"RAG_LIMITS__TOP_K": "many"}))
        assert "limits.top_k" in message
        missing = rag("config", "--json", data=data, env={"RAG_CONFIG": "missing.toml"})
        assert missing.returncode == 2
        assert "missing.toml" in json.loads(missing.stderr)["error"]["message"]


class TestHelp:
    def test_is_light(self, tmp_path: Path) -> None:
        ran = subprocess.run(
            [sys.executable, "-X", "importtime", *RAG[1:], "--help"],
            cwd=tmp_path,
            env=environment(tmp_path),
            capture_output=True,
            text=True,
            check=True,
        )
        assert "usage: rag" in ran.stdout
        imported = {line.rpartition("|")[2].strip() for line in ran.stderr.splitlines()}
        heavy = {
            "torch",
            "fastapi",
            "pydantic",
            "numpy",
            "sqlalchemy",
            "httpx",
            "qdrant_edge",
            "rich",
        }
        assert "rag" in imported
        assert not imported & heavy

    def test_says_how(self, tmp_path: Path) -> None:
        for wrong in ((), ("nope",), ("query",), ("search", "x", "--top-k", "many")):
            ran = rag(*wrong, data=tmp_path / "data", command=RAG)
            assert ran.returncode == 2
            assert "usage: rag" in ran.stderr

    @pytest.mark.skipif(shutil.which("head") is None, reason="needs head")
    def test_a_reader_that_leaves(self, tmp_path: Path) -> None:
        command = " ".join([*RAG, "config", "--json", "|", "head", "-c", "5"])
        ran = subprocess.run(
            command,
            shell=True,
            cwd=tmp_path,
            env=environment(tmp_path),
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.stdout == '{\n  "'
        assert ran.stderr == ""
