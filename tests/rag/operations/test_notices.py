"""Notices are read from a server that behaves as those of clouds are documented to."""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from threading import Event

import pytest
from prometheus_client import REGISTRY

from rag.errors import UpstreamError
from rag.operations.notices import http_notice, looking
from rag.operations.notices.http_notice import MAX_BYTES, HttpNotice
from rag.operations.notices.looking import watching
from rag.settings.operations import ServerSettings
from tests.metadata_server import AWS, AZURE, GOOGLE, MACHINE, Metadata, metadata_server
from tests.ports import free_port
from tests.servers import PATIENCE, wait_for
from tests.web import Page, web


@pytest.fixture
def cloud() -> Iterator[Metadata]:
    with metadata_server() as running:
        yield running


@contextlib.contextmanager
def notice(url: str) -> Iterator[HttpNotice]:
    with contextlib.closing(HttpNotice(url)) as made:
        yield made


def test_aws_is_asked_with_a_token_which_is_renewed(cloud: Metadata) -> None:
    with notice(f"{cloud.url}{AWS}") as aws:
        assert (aws.read(), aws.read()) == ("", "")
        assert cloud.requests == ["PUT /latest/api/token", f"GET {AWS}", f"GET {AWS}"]
        cloud.token = "token-2"
        with pytest.raises(UpstreamError, match="it answers 401"):
            aws.read()
        assert aws.read() == ""
        cloud.noticed = True
        assert json.loads(aws.read())["action"] == "terminate"


def test_a_refusal_is_no_token_and_no_name_of_a_machine(cloud: Metadata) -> None:
    name = "/metadata/instance/compute/name?api-version=2021-02-01&format=text"
    cloud.busy, cloud.noticed = {"/latest/api/token", name}, True
    cloud.events = [{"EventType": "Preempt", "Resources": [MACHINE]}]
    for path in (AWS, AZURE):
        with notice(f"{cloud.url}{path}") as asked:
            with pytest.raises(UpstreamError, match="it answers 500"):
                asked.read()
            assert asked.read()
    assert not cloud.busy


def test_google_says_true_or_false(cloud: Metadata) -> None:
    with notice(f"{cloud.url}{GOOGLE}") as google:
        assert google.read() == ""
        cloud.noticed = True
        assert google.read() == "TRUE"


def test_azure_lists_events_of_several_machines(cloud: Metadata) -> None:
    with notice(f"{cloud.url}{AZURE}") as azure:
        assert azure.read() == ""
        assert len(cloud.requests) == 1
        cloud.events = [
            {"EventType": "Freeze", "Resources": [MACHINE]},
            {"EventType": "Preempt", "Resources": ["rag_4"]},
        ]
        assert azure.read() == ""
        cloud.events.append({"EventType": "Preempt", "Resources": ["rag_2", MACHINE]})
        assert json.loads(azure.read())["EventType"] == "Preempt"


def test_an_address_of_your_own_has_nothing_until_there_is_a_notice(cloud: Metadata) -> None:
    with notice(f"{cloud.url}/taken") as own:
        assert own.read() == ""
        cloud.pages["/taken"] = (204, "")
        assert own.read() == ""
        cloud.pages["/taken"] = (200, "")
        assert own.read() == "it answers 200"


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ((302, "/notice"), "it answers 302"),
        ((500, "no"), "it answers 500"),
        ((200, "x" * (MAX_BYTES + 1)), "more than 65,536 bytes"),
    ],
)
def test_what_is_no_notice_is_a_failure(
    cloud: Metadata, answer: tuple[int, str], says: str
) -> None:
    cloud.pages |= {"/taken": answer, "/notice": (200, "taken")}
    with notice(f"{cloud.url}/taken") as own, pytest.raises(UpstreamError, match=says):
        own.read()
    assert cloud.requests == ["GET /taken"], "a redirect is not followed"


@pytest.mark.parametrize("body", ["", "maybe", '{"Events": 3}', '{"events": []}', "[]"])
@pytest.mark.parametrize("path", [GOOGLE, "/metadata/scheduledevents"])
def test_metadata_of_another_form_is_a_failure(path: str, body: str) -> None:
    with (
        web({path: Page(body.encode())}) as site,
        notice(f"{site.url}{path}") as cloud,
        pytest.raises(UpstreamError, match="stop_notice_url cannot be read"),
    ):
        cloud.read()


def test_a_response_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_notice, "SECONDS", 0.2)

    def drip(handler: BaseHTTPRequestHandler) -> None:
        with contextlib.suppress(OSError):  # until the client has gone
            while True:
                handler.wfile.write(b"x")
                time.sleep(0.02)

    with (
        web({"/taken": Page(write=drip)}) as site,
        notice(f"{site.url}/taken") as own,
        pytest.raises(UpstreamError, match=r"took more than 0\.2 s"),
    ):
        own.read()


def test_a_proxy_of_the_environment_is_not_asked(
    cloud: Metadata, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("NO_PROXY", "")
    with notice(f"{cloud.url}{GOOGLE}") as google:
        assert google.read() == ""


def failures() -> float:
    return REGISTRY.get_sample_value("plumbline_stop_notice_failures_total") or 0.0


def test_failures_are_counted_and_logged_once_until_there_is_a_notice(
    cloud: Metadata, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(looking, "URL_SECONDS", 0.01)
    cloud.pages["/taken"] = (500, "no")
    before, told = failures(), Event()
    settings = ServerSettings(stop_notice_url=f"{cloud.url}/taken")
    with caplog.at_level(logging.WARNING), watching(settings, told.set):
        wait_for(lambda: failures() >= before + 3 or None)
        assert not told.is_set()
        del cloud.pages["/taken"]
        wait_for(lambda: "looked for again" in caplog.text or None)
        cloud.pages["/taken"] = (200, "at noon")
        assert told.wait(PATIENCE)
    assert caplog.text.count("No notice would be seen") == 1
    assert "about to be taken away: at noon." in caplog.text


def test_a_file_is_a_notice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "FILE_SECONDS", 0.01)
    told = Event()
    with watching(ServerSettings(stop_notice=tmp_path / "notice"), told.set):
        assert not told.is_set()
        (tmp_path / "notice").touch()
        assert told.wait(PATIENCE)
