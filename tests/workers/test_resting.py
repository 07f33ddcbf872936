"""A worker of a real broker whose GPU becomes unhealthy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from celery.contrib.testing.worker import start_worker
from pydantic import SecretStr

from rag.operations.gpu.watching import GpuWatch
from rag.settings.storage import CeleryQueueSettings
from tests.redis_server import redis_server
from tests.servers import wait_for
from workers.celery_app import celery_app, connected, waiting_in
from workers.consumer import PromptConsumer
from workers.resting import resting

NAME = "resting@here"


class Gpus:
    faults = ""


def test_a_worker_takes_nothing_while_its_gpu_is_unhealthy(tmp_path: Path) -> None:
    done: list[int] = []
    gpus = Gpus()
    with redis_server(tmp_path / "redis") as redis:
        app = celery_app(CeleryQueueSettings(kind="celery", broker_url=SecretStr(redis.url)))

        @app.task(name="note")  # type: ignore[untyped-decorator]
        def note(number: int) -> None:
            done.append(number)

        def send(number: int) -> None:
            app.send_task("note", (number,), queue="work")

        def reached(numbers: list[int]) -> Callable[[], Any]:
            return lambda: done == numbers

        def queues() -> list[str]:
            answers = app.control.inspect([NAME], limit=1).active_queues() or {}
            return [queue["name"] for queue in answers.get(NAME, [])]

        options: dict[str, Any] = {
            "pool": "threads", "hostname": NAME, "queues": ["work"], "consumer_cls": PromptConsumer,
            "perform_ping_check": False,
        }  # fmt: skip
        with (
            start_worker(app, **options),
            resting(app, NAME, ["work"], cast(GpuWatch, gpus)),
        ):
            send(1)
            wait_for(reached([1]))
            gpus.faults = "GPU-0: It is lost."
            wait_for(lambda: queues() == [])
            send(2)
            with connected(app) as connection:  # Redis gives it at once to who waits for it
                assert waiting_in(connection, "work") == 1
            gpus.faults = ""
            wait_for(reached([1, 2]))
            assert queues() == ["work"]
