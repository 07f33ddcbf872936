"""A missing broker is reported at once, and reconnecting is tried several times a second."""

from __future__ import annotations

import logging

import pytest
from celery import Celery
from pydantic import SecretStr

from rag.errors import UpstreamError
from rag.settings.storage import CeleryQueueSettings
from tests.servers import free_port
from workers.celery_app import celery_app, send
from workers.consumer import CONNECT_SECONDS, PromptConsumer

NOBODY = pytest.mark.parametrize(
    "url", ["redis://:hunter2@127.0.0.1:{port}/0", "amqp://u:hunter2@127.0.0.1:{port}//"]
)


class EnoughError(Exception):
    """Ends an endless wait."""


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Records the pauses between connection attempts without waiting; the fourth ends them."""
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) > 3:
            raise EnoughError

    monkeypatch.setattr("kombu.utils.functional.sleep", sleep)
    return pauses


def settings(url: str) -> CeleryQueueSettings:
    return CeleryQueueSettings(kind="celery", broker_url=SecretStr(url.format(port=free_port())))


@NOBODY
def test_what_cannot_be_sent_is_told_without_a_pause(url: str, slept: list[float]) -> None:
    with pytest.raises(UpstreamError, match="broker does not answer") as caught:
        send(celery_app(settings(url)), "task", queue="q")
    assert slept == []
    assert "hunter2" not in caught.value.in_full()


@NOBODY
def test_a_worker_looks_for_its_broker_without_growing_pauses_and_tells_once(
    url: str, slept: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    app = celery_app(settings(url))
    consumer = PromptConsumer.__new__(PromptConsumer)
    consumer.app = app
    with (
        caplog.at_level(logging.ERROR),
        app.connection_for_read() as connection,
        pytest.raises(EnoughError),
    ):
        consumer.ensure_connected(connection)
    assert slept == [CONNECT_SECONDS] * 4
    assert caplog.text.count("The broker does not answer") == 1
    assert "hunter2" not in caplog.text


def test_once_a_worker_was_connected_a_loss_ends_it() -> None:
    consumer = PromptConsumer.__new__(PromptConsumer)
    consumer.app = Celery(broker="memory://")
    consumer.first_connection_attempt = True
    with consumer.app.connection_for_read() as connection:
        consumer.ensure_connected(connection)
    assert not consumer.first_connection_attempt
