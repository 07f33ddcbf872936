"""A missing broker is reported at once, and reconnecting is tried several times a second."""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from queue import Queue

import pytest
from celery import Celery
from kombu.transport import redis
from pydantic import SecretStr

from rag.errors import UpstreamError
from rag.settings.storage import CeleryQueueSettings
from tests.certificates import certificate_for_loopback
from tests.ports import free_port
from tests.redis_server import redis_server
from tests.servers import PATIENCE
from workers.celery_app import celery_app, send, waiting_in
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


def test_a_worker_whose_clock_is_ahead_leaves_others_what_they_have_in_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with redis_server(tmp_path / "redis", durable=False) as broker:
        app = celery_app(CeleryQueueSettings(kind="celery", broker_url=SecretStr(broker.url)))
        with app.connection_for_write() as working, app.connection_for_write() as ahead:
            send(app, "task", queue="q")
            assert working.SimpleQueue("q").get(timeout=PATIENCE)  # and is not done with
            channel = ahead.channel()
            monkeypatch.setattr("kombu.transport.redis.time", lambda: time.time() + 7200)
            channel.qos.restore_visible()
            assert waiting_in(ahead, "q") == 0
            redis.QoS.restore_visible(channel.qos)  # type: ignore[no-untyped-call]
            assert waiting_in(ahead, "q") == 1, "kombu's own way gives it out again"


def test_what_was_taken_too_long_ago_by_the_clock_of_redis_is_given_out_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kombu.transport.redis.time", lambda: time.time() + 7200)
    with redis_server(tmp_path / "redis", durable=False) as broker:
        app = celery_app(CeleryQueueSettings(kind="celery", broker_url=SecretStr(broker.url)))
        app.conf.broker_transport_options["visibility_timeout"] = 0
        with app.connection_for_write() as working, app.connection_for_write() as other:
            send(app, "task", queue="q")
            taken = working.SimpleQueue("q").get(timeout=PATIENCE)
            other.channel().qos.restore_visible()
            again = other.SimpleQueue("q").get(timeout=PATIENCE)
            assert again.headers == taken.headers | {"redelivered": True}


@contextlib.contextmanager
def shaking_hands(certificate: tuple[Path, Path]) -> Iterator[tuple[int, Queue[bool]]]:
    """Yields a port that speaks TLS and no more, and for each connection if it was trusted."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    trusted: Queue[bool] = Queue()

    def accept(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):  # it was closed
            while True:
                connection = listener.accept()[0]
                try:
                    context.wrap_socket(connection, server_side=True).close()
                except ssl.SSLError:
                    trusted.put(False)
                else:
                    trusted.put(True)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, args=(listener,), daemon=True).start()
        yield listener.getsockname()[1], trusted
        listener.shutdown(socket.SHUT_RDWR)


def test_a_broker_is_trusted_by_its_certificate_alone(tmp_path: Path) -> None:
    certificate = certificate_for_loopback(tmp_path)
    with shaking_hands(certificate) as (port, trusted):
        url = f"rediss://:hunter2@127.0.0.1:{port}/0"
        with pytest.raises(UpstreamError, match="broker does not answer"):
            send(celery_app(settings(url)), "task", queue="q")
        assert trusted.get(timeout=PATIENCE) is False
        with pytest.raises(UpstreamError):  # it says nothing
            send(celery_app(settings(f"{url}?ssl_ca_certs={certificate[0]}")), "task", queue="q")
        assert trusted.get(timeout=PATIENCE) is True
