"""Limits of the reader process: a bad document fails alone."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from ingest.reader_process import Limits, Parser
from ingest.sources.files import submission_of
from ingest.turns import reading_for
from rag.errors import ReadError, UpstreamError
from rag.types import Document
from tests import papers
from tests.waiting import until

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("new_interpreters")]


@contextmanager
def parser(limits: Limits) -> Iterator[Parser]:
    made = Parser(limits)
    yield made
    made.close()


async def read(reader: Parser, path: Path) -> Document:
    submission = submission_of(path)
    return await reader.read(submission.source, path, id_="id", uri=submission.uri)


async def refused(reader: Parser, path: Path) -> ReadError:
    with pytest.raises(ReadError) as caught:
        await read(reader, path)
    assert path.name in str(caught.value)
    return caught.value


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "good.docx"
    path.write_bytes(papers.docx(papers.paragraph("Good words.")))
    return path


@pytest.fixture
def endless(tmp_path: Path) -> Path:
    """A pipe that nothing writes to: opening it never returns."""
    path = tmp_path / "endless"
    os.mkfifo(path)
    return path


def children() -> list[psutil.Process]:
    return list(psutil.Process().children())


def children_of(parent: subprocess.Popen[bytes]) -> list[psutil.Process]:
    return list(psutil.Process(parent.pid).children())


async def test_no_process_runs_before_the_first_document(good: Path) -> None:
    before = children()
    with parser(Limits()) as reader:
        assert children() == before
        assert (await read(reader, good)).text == "Good words."
        assert len(children()) == len(before) + 1
    assert children() == before


async def test_a_process_that_nobody_waits_for_any_more_is_ended(good: Path) -> None:
    before = children()
    with parser(Limits()) as reader:
        reading = asyncio.create_task(read(reader, good))
        await until(lambda: children() != before)
        reading.cancel()
        await asyncio.wait([reading])
        await until(lambda: children() == before)
        assert (await read(reader, good)).text == "Good words."


async def test_a_document_that_takes_too_long_costs_itself_alone(good: Path, endless: Path) -> None:
    with parser(Limits(seconds=2)) as reader:
        await read(reader, good)
        error = await refused(reader, endless)
        assert error.code == "parser_timeout"
        assert "more than 2 s" in str(error)
        assert (await read(reader, good)).text == "Good words."


async def test_a_document_that_crashes_its_parser_costs_itself_alone(
    good: Path, endless: Path
) -> None:
    with parser(Limits()) as reader:
        await read(reader, good)
        before = set(children())
        waits = asyncio.create_task(refused(reader, endless))

        async def crash() -> None:
            [process] = await until(lambda: [c for c in children() if c.name() and is_at_work(c)])
            process.kill()

        await crash()
        await crash()
        assert (await waits).code == "parser_crashed"
        assert (await read(reader, good)).text == "Good words."
        assert len(children()) == len(before)


def is_at_work(process: psutil.Process) -> bool:
    """True if the process waits for the other end of the endless file."""
    try:
        return any(
            Path(f"/proc/{process.pid}/task/{thread.id}/wchan").read_text() == "wait_for_partner"
            for thread in process.threads()
        )
    except (OSError, psutil.NoSuchProcess):
        return False


async def test_a_slow_document_does_not_hold_up_another_job(good: Path, endless: Path) -> None:
    with parser(Limits()) as reader:
        before = len(children())
        with reading_for("slow", bulk=True):
            waits = asyncio.create_task(read(reader, endless))
        await until(lambda: [c for c in children() if is_at_work(c)])
        with reading_for("another", bulk=False):
            assert (await read(reader, good)).text == "Good words."
        assert not waits.done()
        assert len(children()) == before + 2
    with pytest.raises(UpstreamError, match="closed"):
        await waits


async def test_a_process_that_is_idle_ends_but_for_one(
    good: Path, endless: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.reader_process.IDLE_SECONDS", 0.1)
    with parser(Limits(seconds=5)) as reader:
        before = len(children())
        with reading_for("slow", bulk=True):
            waits = asyncio.create_task(refused(reader, endless))
        await until(lambda: [c for c in children() if is_at_work(c)])
        with reading_for("another", bulk=False):
            await read(reader, good)
        assert (await waits).code == "parser_timeout"
        async with asyncio.timeout(20):
            while len(children()) > before + 1:  # noqa: ASYNC110 - another process is awaited
                await asyncio.sleep(0.02)
        assert (await read(reader, good)).text == "Good words."
        assert len(children()) == before + 1


async def test_a_bomb_costs_itself_alone(tmp_path: Path, good: Path) -> None:
    bomb = tmp_path / "bomb.docx"
    bomb.write_bytes(papers.docx(papers.paragraph("x" * (300 << 20))))
    assert bomb.stat().st_size < 1 << 20
    with parser(Limits(memory=1 << 30)) as reader:
        assert (await refused(reader, bomb)).code in {"damaged", "too_large", "parser_crashed"}
        assert (await read(reader, good)).text == "Good words."


async def test_more_text_than_allowed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "long.txt"
    path.write_text("word " * (300 << 10))
    with parser(Limits(text=1 << 20)) as reader:
        assert (await refused(reader, path)).code == "too_large"


async def test_a_file_over_the_limit_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "long.txt"
    path.write_text("word " * (300 << 10))
    with parser(Limits(file=1 << 20)) as reader:
        error = await refused(reader, path)
    assert "limits.file_mb" in str(error)


def test_a_parser_at_work_ends_although_its_parent_was_killed(
    tmp_path: Path, endless: Path
) -> None:
    code = (
        "import asyncio, sys; from pathlib import Path; from tests.ingest.test_parser import *;"
        "asyncio.run(read(Parser(Limits(seconds=3)), Path(sys.argv[1])))"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(endless)]) as parent:
        [process] = asyncio.run(until(lambda: [c for c in children_of(parent) if is_at_work(c)]))
        parent.kill()
    process.wait(20)


async def test_a_parser_that_is_closed_says_nothing_bad_of_the_document(
    good: Path, endless: Path
) -> None:
    with parser(Limits()) as reader:
        await read(reader, good)
        waits = asyncio.create_task(read(reader, endless))
        await until(lambda: [c for c in children() if is_at_work(c)])
    with pytest.raises(UpstreamError, match="closed"):
        await waits


def test_a_limit_of_the_machine_that_is_lower_holds(good: Path) -> None:
    code = (
        "import asyncio, resource, sys; from pathlib import Path;"
        "from tests.ingest.test_parser import *;"
        "resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30));"
        "reader = Parser(Limits());"
        "print(asyncio.run(read(reader, Path(sys.argv[1]))).text);"
        "reader.close()"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, str(good)], capture_output=True, text=True, check=False
    )
    assert ran.stdout == "Good words.\n", ran.stderr
