"""Large bodies of documents: which parts are stored on disk, and for how long."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from starlette.requests import Request
from starlette.types import Message

from ingest.sources.files import Spool, TenantSpool
from rag.api.json_documents import SMALL_BYTES, Sent, take_json
from rag.errors import TooLargeError
from rag.settings.operations import LimitSettings
from tests.waiting import until

pytestmark = pytest.mark.anyio

LIMITS = LimitSettings()


def body_of(documents: int) -> bytes:
    """Returns a body that counts as large."""
    text = "x" * (SMALL_BYTES // documents + 1)
    return json.dumps(
        {"documents": [{"id": str(i), "text": text} for i in range(documents)]}
    ).encode()


async def taken(body: bytes, spool: TenantSpool, turn: asyncio.Lock) -> Sent:
    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    request = Request({"type": "http", "method": "POST", "headers": []}, receive)
    return await take_json(request, spool, LIMITS, turn=turn)


def files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.exists() else []


def settled(folder: Path) -> int:
    """Waits until a killed process's threads have stopped writing; returns the number of files."""
    before, now = -1, len(files(folder))
    while now != before:
        time.sleep(0.1)
        before, now = now, len(files(folder))
    return now


@contextlib.contextmanager
def killing(folder: Path, times: int) -> Iterator[list[int]]:
    """Kills the JSON reader `times` times once it has stored documents; yields the killed pids."""
    killed: list[int] = []
    over = threading.Event()

    def readers() -> list[psutil.Process]:
        mine = psutil.Process().children()
        return [child for child in mine if "reader of JSON" in child.cmdline()]

    def run() -> None:
        before = len(files(folder)) + 1  # with the body
        while len(killed) < times and not over.is_set():
            with contextlib.suppress(psutil.NoSuchProcess):
                for reader in readers():
                    if reader.pid not in killed and len(files(folder)) > before:
                        reader.kill()
                        killed.append(reader.pid)
                        before = settled(folder) + 1
            time.sleep(0.005)  # to list the children takes a few milliseconds itself

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield killed
    finally:
        over.set()
        thread.join()


async def test_a_large_body_is_gone_once_its_documents_are_kept(folder: Path) -> None:
    spool = Spool(folder).of("acme")
    sent = await taken(body_of(3), spool, asyncio.Lock())
    keys = {submission.source["spool"] for submission in sent.submissions}
    assert len(keys) == 3
    assert {file.name for file in files(folder)} == keys == spool.keys(older_than=0)


@pytest.mark.parametrize("times", [1, 2])
async def test_what_a_killed_reader_kept_goes(folder: Path, times: int) -> None:
    spool = Spool(folder).of("acme")
    other = spool.put(b"x", uri="upload:other", name="a.txt")
    wanted = {other.source["spool"]}
    with killing(folder, times) as killed:
        if times == 1:
            sent = await taken(body_of(1_000), spool, asyncio.Lock())
            wanted |= {submission.source["spool"] for submission in sent.submissions}
        else:
            with pytest.raises(TooLargeError):
                await taken(body_of(1_000), spool, asyncio.Lock())
    assert len(killed) == times
    assert {file.name for file in files(folder)} == wanted


async def test_a_body_that_waits_for_its_turn_is_not_swept(folder: Path) -> None:
    spool, turn, body = Spool(folder).of("acme"), asyncio.Lock(), body_of(2)
    async with turn:
        taking = asyncio.create_task(taken(body, spool, turn))
        await until(lambda: [file.stat().st_size for file in files(folder)] == [len(body)])
        [waiting] = files(folder)
        hours_ago = time.time() - 7200
        os.utime(waiting, (hours_ago, hours_ago))
        others = Spool(folder)
        others.sweep(others.keys(older_than=3600))
    assert len((await taking).submissions) == 2
    assert waiting not in files(folder)
