"""The parent of a server's processes looks for notices; they show its failures."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from rag.cli.server_processes import ServerProcesses
from rag.operations.notices import looking
from rag.settings.operations import ServerSettings
from rag.telemetry import metrics
from tests.metadata_server import metadata_server
from tests.servers import wait_for

COUNT = 2
COUNTER = "plumbline_stop_notice_failures_total"
FAILURES = 3


def serve(folder: Path, _line: socket.socket, *, waits: bool) -> None:
    """Drains at the first signal, until there is a file; says so if a second one comes."""
    told: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: told.append(number))
    (folder / f"ready-{os.getpid()}").touch()
    while not (folder / "drained").exists():
        if told:
            (folder / f"{len(told)}-signals-{os.getpid()}").touch()
        time.sleep(0.01)


def serve_until_failures(folder: Path, _line: socket.socket, *, waits: bool) -> None:
    """Serves until its metrics have failed looks; writes those metrics."""
    ready = folder / f"metrics-{os.getpid()}"
    while (count := _failures(metrics.exposition(None))) < FAILURES:
        time.sleep(0.01)
    ready.with_suffix(".new").write_text(f"{count:g}")
    ready.with_suffix(".new").rename(ready)
    signal.pause()


def _failures(exposition: bytes) -> float:
    """Returns the sum over all series: each process must show the same one."""
    families = text_string_to_metric_families(exposition.decode())
    samples = [each for family in families for each in family.samples]
    return sum(each.value for each in samples if each.name == COUNTER)


@pytest.fixture(autouse=True)
def _restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Puts back the environment of this process, and its handlers of signals."""
    monkeypatch.setenv(metrics.FOLDER_VARIABLE, "")
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_notice_ends_all_and_the_signal_that_follows_it_cuts_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looking, "FILE_SECONDS", 0.01)
    notice = tmp_path / "notice"
    settings = ServerSettings(processes=COUNT, stop_notice=notice)

    def all_have(name: str) -> bool | None:
        return len(list(tmp_path.glob(f"{name}-*"))) == COUNT or None

    def tell() -> None:
        wait_for(lambda: all_have("ready"))
        notice.touch()
        wait_for(lambda: all_have("1-signals"))
        os.kill(os.getpid(), signal.SIGTERM)
        wait_for(lambda: not processes._noticed or None)
        (tmp_path / "drained").touch()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        processes = ServerProcesses(partial(serve, tmp_path), listener, settings)
        telling = threading.Thread(target=tell)
        telling.start()
        processes.run()
        telling.join()
    assert not list(tmp_path.glob("2-signals-*"))
    assert len(list(tmp_path.glob("ready-*"))) == COUNT, "none was started again"


def test_looks_that_fail_are_in_the_metrics_of_each_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looking, "URL_SECONDS", 0.01)

    def shown() -> list[str] | None:
        found = [each.read_text() for each in tmp_path.glob("metrics-*") if not each.suffix]
        return found if len(found) == COUNT else None

    def tell() -> None:
        try:
            wait_for(shown)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    with metadata_server() as cloud, socket.create_server(("127.0.0.1", 0)) as listener:
        cloud.pages["/taken"] = (500, "no")
        settings = ServerSettings(processes=COUNT, stop_notice_url=f"{cloud.url}/taken")
        serving = partial(serve_until_failures, tmp_path)
        telling = threading.Thread(target=tell)
        telling.start()
        ServerProcesses(serving, listener, settings).run()
        telling.join()
        asked = len(cloud.requests)
    counts = [float(each) for each in shown() or ()]
    assert len(counts) == COUNT
    assert all(FAILURES <= each <= asked for each in counts)
