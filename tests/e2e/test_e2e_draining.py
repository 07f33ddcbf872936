"""`rag serve` is told to stop while questions are under way."""

from __future__ import annotations

import contextlib
import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from rag.cli.one_server import CUT_SECONDS
from tests.metadata_server import AWS, Metadata, metadata_server
from tests.model_server import ModelServer, model_server, says, slowly
from tests.servers import PATIENCE, Server, serving, submit, wait_for

FACT = "In 1769 James Watt patented an engine with a separate condenser."
ASKED = {"query": "What did James Watt patent in 1769?", "stream": True}


@pytest.fixture
def model() -> Iterator[ModelServer]:
    pieces = [f"{word} " for word in FACT.split()] + ["[1]"]
    with model_server(slowly(says(*pieces), seconds=1.5)) as running:
        yield running


@pytest.fixture
def cloud() -> Iterator[Metadata]:
    with metadata_server() as running:
        yield running


@pytest.fixture
def server(tmp_path: Path, model: ModelServer, cloud: Metadata) -> Iterator[Server]:
    (tmp_path / "rag.toml").write_text(
        f'[generator]\nkind = "openai"\nbase_url = "{model.base_url}"\nmodel = "tiny"\n'
        f'[server]\nstop_notice = "{tmp_path / "notice"}"\n'
        f'stop_notice_url = "{cloud.url}{AWS}"\n'
    )
    with serving(tmp_path / "data") as running, running.client() as http:
        submit(http, {"id": "watt", "text": FACT, "uri": "https://docs.example/watt"})
        yield running


class Stream:
    """A question whose answer streams in a thread."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.begun = threading.Event()
        self.lines: list[str] = []
        self._thread = threading.Thread(target=self._read)
        self._thread.start()
        assert self.begun.wait(PATIENCE)

    def _read(self) -> None:
        with (
            contextlib.suppress(httpx.RemoteProtocolError),  # it was cut off
            self._server.client() as http,
            http.stream("POST", "/v1/query", json=ASKED) as sent,
        ):
            for line in sent.iter_lines():
                self.lines.append(line)
                self.begun.set()

    def events(self) -> dict[str, str]:
        """Returns the data of the last event of each kind, once the stream has ended."""
        self._thread.join(PATIENCE)
        names = [line.removeprefix("event: ") for line in self.lines if line.startswith("event: ")]
        data = [line.removeprefix("data: ") for line in self.lines if line.startswith("data: ")]
        return dict(zip(names, data, strict=True))


def test_what_is_under_way_ends_and_what_is_new_is_refused(
    server: Server, model: ModelServer
) -> None:
    with server.client() as kept:
        assert kept.get("/readyz").status_code == 200
        stream = Stream(server)
        server.process.send_signal(signal.SIGTERM)
        wait_for(lambda: kept.get("/readyz").status_code == 503)
        assert kept.get("/readyz").json()["code"] == "draining"
        assert kept.get("/healthz").status_code == 200
        for http in (kept, server.client()):
            refused = http.post("/v1/search", json={"query": "Watt"})
            assert (refused.status_code, refused.json()["code"]) == (503, "draining")
            assert refused.headers["Connection"] == "close"
            assert refused.headers["Retry-After"]
    events = stream.events()
    assert json.loads(events["answer"])["answer"] == f"{FACT} [1]"
    assert "error" not in events
    assert server.process.wait(PATIENCE) in (0, -signal.SIGTERM)
    assert "1 requests under way" in server.log.read_text()
    assert len(model.requests) == 1


def test_a_second_signal_stops_it_at_once(server: Server, model: ModelServer) -> None:
    model.script = slowly(says(FACT), seconds=60)
    stream = Stream(server)
    server.process.send_signal(signal.SIGTERM)
    wait_for(lambda: "requests under way" in server.log.read_text())
    server.process.send_signal(signal.SIGTERM)
    server.process.wait(PATIENCE)
    assert "answer" not in stream.events()
    assert model.hung_up.wait(PATIENCE)


@pytest.mark.parametrize("way", ["file", "address"])
def test_a_notice_stops_it_too(server: Server, cloud: Metadata, way: str) -> None:
    stream = Stream(server)
    if way == "file":
        (server.log.parent / "notice").touch()
    else:
        cloud.noticed = True
    assert json.loads(stream.events()["answer"])["answer"] == f"{FACT} [1]"
    assert server.process.wait(PATIENCE) == 0
    with pytest.raises(httpx.ConnectError):
        server.client().get("/healthz")


def test_the_signal_that_follows_a_notice_ends_nothing_at_once(
    server: Server, model: ModelServer
) -> None:
    model.script = slowly(says(f"{FACT} [1]"), seconds=2 * CUT_SECONDS)
    stream = Stream(server)
    (server.log.parent / "notice").touch()
    wait_for(lambda: "requests under way" in server.log.read_text())
    server.process.send_signal(signal.SIGTERM)
    assert json.loads(stream.events()["answer"])["answer"] == f"{FACT} [1]"
