"""`rag chat` and `rag open`, in this process, on a server, and on a terminal."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import papers
from tests.model_server import ModelServer, chunk, goes_on, model_server, pieces_of, says, sends
from tests.servers import (
    PATIENCE,
    RAG,
    Server,
    environment,
    finished,
    rag,
    serving,
    submit,
    wait_for,
)

QUESTION = "What did James Watt patent in 1769?"
FACT = "In 1769 James Watt patented an engine with a separate condenser."
WRONG = "In 1796 James Watt patented an engine with a separate condenser."
PDF = papers.pdf("The office opens at nine. " * 30, "The kettle is red. " * 30)
CONFIG = """
[generator]
kind = "openai"
base_url = "{url}/v1"
model = "tiny"

[citations]
claims = "mark"
"""


@pytest.fixture(scope="module")
def model() -> Iterator[ModelServer]:
    with model_server(says(*pieces_of(f"{WRONG} {FACT}"))) as running:
        yield running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, model: ModelServer) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("terminal")
    (folder / "rag.toml").write_text(CONFIG.format(url=model.url))
    with serving(folder / "data") as running, running.client() as http:
        submit(http, {"id": "watt", "title": "Watt", "text": FACT, "uri": "https://docs.example/w"})
        finished(http, http.post("/v1/documents", files={"files": ("paper.pdf", PDF)}))
        yield running


class TestChat:
    def test_a_conversation_without_a_server(self, tmp_path: Path) -> None:
        data, state = tmp_path / "data", tmp_path / "state" / "plumbline"
        (tmp_path / "watt.txt").write_text(FACT)
        (tmp_path / "birth.txt").write_text("James Watt was born in Greenock in 1736.")
        assert rag("ingest", *tmp_path.glob("*.txt"), data=data).returncode == 0
        asked = f"{QUESTION}\n\nWhere was he born?\nHow do I bake bread?\n".encode()
        ran = rag("chat", data=data, stdin=asked, command=RAG)
        assert (ran.returncode, ran.stderr) == (0, "")
        assert f"{FACT} [1]\n\n[1] watt" in ran.stdout
        assert "James Watt was born in Greenock in 1736. [1]" in ran.stdout
        assert "No answer: no passage speaks of it" in ran.stdout
        assert [each.name for each in state.iterdir()] == ["last-answer.json"]
        assert (state / "last-answer.json").stat().st_mode & 0o777 == 0o600

    def test_json_is_an_answer_a_line(self, server: Server, tmp_path: Path) -> None:
        asked = f"{QUESTION}\n{QUESTION}\n".encode()
        ran = rag("chat", "--json", "--url", server.url, data=tmp_path / "data", stdin=asked)
        answers = [json.loads(line) for line in ran.stdout.splitlines()]
        assert [each["citations"][0]["quote"] for each in answers] == [FACT, FACT]
        assert not (tmp_path / "state").exists()

    def test_what_is_retracted_is_named(self, server: Server, tmp_path: Path) -> None:
        asked = QUESTION.encode()
        ran = rag("chat", "--url", server.url, data=tmp_path / "data", stdin=asked)
        assert ran.returncode == 0, ran.stderr
        assert ran.stdout.startswith(f"{WRONG} [unsupported] {FACT} [1]\n")
        assert f"No passage supports: “{WRONG}”" in ran.stdout

    def test_a_question_that_fails_does_not_end_it(self, server: Server, tmp_path: Path) -> None:
        asked = f"{'x' * 20_000}\n{QUESTION}\n".encode()
        ran = rag("chat", "--url", server.url, data=tmp_path / "data", stdin=asked)
        assert ran.returncode == 1
        assert "limits.question_chars" in ran.stderr
        assert FACT in ran.stdout

    def test_ctrl_c_stops_an_answer_and_history_is_kept(
        self, server: Server, model: ModelServer, tmp_path: Path
    ) -> None:
        stream, model.script = model.script, sends(chunk(f"{FACT} [1] And "), then=goes_on)
        model.hung_up.clear()
        try:
            with terminal("chat", "--url", server.url, data=tmp_path / "data") as screen:
                screen.until("> ")
                screen.type(f"{QUESTION}\n")
                screen.until(f"{FACT} [1]")
                screen.type("\x03")
                screen.until("(stopped)")
                assert model.hung_up.wait(PATIENCE)
                model.script = stream
                screen.until("> ")
                screen.type("\x1b[A\n")  # the arrow upwards recalls the question
                screen.until("docs.example")
                screen.until("> ")
                screen.type("\x04")
            assert screen.code == 0
        finally:
            model.script = stream
        history = tmp_path / "state" / "plumbline" / "chat-history"
        assert history.read_text().splitlines() == [QUESTION]
        assert history.stat().st_mode & 0o777 == 0o600


class TestOpen:
    def test_nothing_was_shown(self, tmp_path: Path) -> None:
        ran = rag("open", "1", data=tmp_path / "data")
        assert (ran.returncode, "`rag query`" in ran.stderr) == (2, True)

    def test_what_was_shown_last_cannot_be_read(self, tmp_path: Path) -> None:
        state = tmp_path / "state" / "plumbline"
        state.mkdir(parents=True)
        (state / "last-answer.json").write_text("{")
        ran = rag("open", "1", data=tmp_path / "data")
        assert ran.returncode != 0
        assert "cannot be read" in ran.stderr

    def test_a_file_opens_where_it_is_and_as_text_once_it_is_gone(self, tmp_path: Path) -> None:
        data, file = tmp_path / "data", tmp_path / "watt.html"
        file.write_text(f"<html><body><p>{FACT}</p></body></html>")
        assert rag("ingest", file, data=data).returncode == 0
        assert rag("search", QUESTION, data=data).returncode == 0
        assert rag("open", "1", "--print", data=data).stdout == f"{file.as_uri()}\n"
        opened = tmp_path / "opened"
        browser = tmp_path / "browser.py"
        browser.write_text("import pathlib, sys; pathlib.Path('opened').write_text(sys.argv[1])")
        env = {"BROWSER": f"{sys.executable} {browser} %s"}
        ran = rag("open", "1", data=data, env=env, command=RAG)
        assert ran.returncode == 0, ran.stderr
        assert wait_for(lambda: opened.exists() and opened.read_text()) == file.as_uri()
        missing = rag("open", "7", data=data)
        assert (missing.returncode, "it has 1" in missing.stderr) == (2, True)

        file.unlink()
        kept = rag("open", "1", "--print", data=data)
        assert kept.returncode == 0, kept.stderr
        assert "is not opened in its place" in kept.stderr
        copy = Path(kept.stdout.strip().removeprefix("file://"))
        assert copy.read_text() == FACT  # a page of somebody else would run in the browser
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        ran = rag("open", "1", "--print", data=data, cwd=elsewhere)
        assert (ran.returncode, str(tmp_path) in ran.stderr) == (2, True)

    def test_an_upload_opens_as_its_copy_at_its_page(self, server: Server, tmp_path: Path) -> None:
        data = tmp_path / "data"
        assert (
            rag("search", "Which colour is the kettle?", "--url", server.url, data=data).returncode
            == 0
        )
        ran = rag("open", "1", "--print", "--json", data=data)
        assert ran.returncode == 0, ran.stderr
        uri: str = json.loads(ran.stdout)["uri"]
        path, _, page = uri.removeprefix("file://").partition("#")
        assert page == "page=2"
        assert Path(path).read_bytes() == PDF
        assert Path(path).parent.stat().st_mode & 0o777 == 0o700

    def test_a_web_page_opens_where_it_is(self, server: Server, tmp_path: Path) -> None:
        data = tmp_path / "data"
        rag("query", QUESTION, "--url", server.url, data=data)
        assert rag("open", "1", "--print", data=data).stdout == "https://docs.example/w\n"

    @pytest.mark.parametrize(
        "uri", ["{}", "file://host/{}", "file://[", "javascript:alert(1)", "-h"]
    )
    def test_no_address_of_a_sender_is_opened(
        self, server: Server, tmp_path: Path, uri: str
    ) -> None:
        data, file = tmp_path / "data", tmp_path / "own.html"
        file.write_text("<script>alert(1)</script>")
        sent = {"id": "sent", "text": "The boiler is green.", "uri": uri.format(file.as_uri())}
        with server.client() as http:
            submit(http, sent, collection="sent")
        options = ("--url", server.url, "--collection", "sent")
        assert rag("search", "boiler", *options, data=data).returncode == 0
        ran = rag("open", "1", "--print", data=data)
        assert ran.returncode == 0, ran.stderr
        copy = Path(ran.stdout.strip().removeprefix("file://"))
        assert (copy.suffix, copy.read_text()) == (".txt", "The boiler is green.")


class TestWhatDocumentsSay:
    def test_commands_nothing_of_the_terminal(
        self, server: Server, model: ModelServer, tmp_path: Path
    ) -> None:
        tricks = "\x1b]0;taken\x9b31m \u202e"
        page = (
            f"<title>Pump {tricks}\n[2] Pump</title><h1>Pump {tricks}\n[2] Pump</h1>"
            f"<p>The pump {tricks} was replaced in May.</p>"
        )
        with server.client() as http:
            files = {"files": ("pump.html", page.encode())}
            form = {"collection": "tricks"}
            finished(http, http.post("/v1/documents", files=files, data=form))
        options = ("--url", server.url, "--collection", "tricks")
        data, asked = tmp_path / "data", "When was the pump replaced?"
        stream, model.script = model.script, says(f"Pump: {tricks}. Replaced in May. [1]")
        try:
            runs = (
                rag("search", asked, *options, data=data),
                rag("query", asked, *options, data=data),
                rag("chat", *options, data=data, stdin=asked.encode()),
                rag("status", *options, data=data),
            )
        finally:
            model.script = stream
        for ran in runs:
            assert ran.returncode == 0, ran.stderr
            assert "Pump" in ran.stdout
            assert not set("\x1b\x9b\u202e") & set(ran.stdout)
        found = rag("search", asked, *options, "--json", data=data)
        assert "\x9b" not in found.stdout
        assert json.loads(found.stdout)["hits"]
        shown = rag("search", asked, *options, data=data).stdout.splitlines()
        assert not [line for line in shown if line.startswith("[2]")]


class Screen:
    """A command on a terminal."""

    def __init__(self, fd: int, process: subprocess.Popen[bytes]) -> None:
        self._fd = fd
        self._process = process
        self._seen = ""
        self.code: int | None = None

    def type(self, keys: str) -> None:
        os.write(self._fd, keys.encode())

    def until(self, text: str) -> None:
        """Reads up to the text, and forgets what came before."""
        while text not in self._seen:
            self._seen += os.read(self._fd, 4096).decode(errors="replace")
        self._seen = self._seen.partition(text)[2]

    def end(self) -> None:
        self.code = self._process.wait(PATIENCE)


def _take_terminal() -> None:
    """Makes the standard input the terminal of the process: Ctrl-C on it is a signal."""
    signal.signal(
        signal.SIGINT, signal.SIG_DFL
    )  # tests in the background inherit that it is ignored
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@contextlib.contextmanager
def terminal(*arguments: str, data: Path, **env: Any) -> Iterator[Screen]:
    """Runs `rag` on a terminal of its own; the block ends once it has ended."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*RAG, *arguments],
        cwd=data.parent,
        env=environment(data, {"TERM": "dumb", **env}),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=_take_terminal,  # noqa: PLW1509 - it takes no lock
    )
    os.close(theirs)
    screen = Screen(ours, process)
    try:
        yield screen
        screen.end()
    finally:
        process.kill()
        process.wait()
        os.close(ours)
