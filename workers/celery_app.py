"""The Celery app and its queues."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Literal

from celery import Celery
from kombu.connection import Connection
from kombu.exceptions import OperationalError
from kombu.transport import TRANSPORT_ALIASES

from rag.errors import UpstreamError
from rag.privacy.redaction import masked, words
from rag.settings.storage import CeleryQueueSettings
from rag.types import Stage

QueuePriority = Literal["interactive", "bulk"]
STAGES: tuple[Stage, ...] = ("embed", "parse")
"""Stages in the order in which workers take them: begun documents come before new ones."""
INGEST = "plumbline.ingest"
"""The Celery task: takes ids of tasks in the catalog."""
SCORE = "plumbline.score"
"""The Celery task: takes ids of answers in the catalog."""
SCORE_QUEUE = "plumbline.score"
ASK = "plumbline.ask"
"""The Celery task: takes the folder of an offline run, and the id of a question in it."""
ASK_QUEUE = "plumbline.ask"
ANSWER_SECONDS = 5.0
"""Seconds that a broker may take to answer."""
PING_SECONDS = 1.0
SWEEP_SECONDS = 10
"""Seconds between a worker's checks of Redis for messages whose worker is gone."""

# The setting `broker_transport` would do this as well, but drops the TLS of rediss://.
TRANSPORT_ALIASES |= dict.fromkeys(("redis", "rediss"), "workers.redis_transport:Transport")


def queue_of(stage: Stage, *, bulk: bool) -> str:
    """Returns the queue of tasks that wait for a stage; a worker may serve only some queues."""
    return f"plumbline.{stage}.{'bulk' if bulk else 'interactive'}"


def queues_of(stages: Iterable[Stage], priority: QueuePriority | None = None) -> list[str]:
    """Returns queues in the order in which workers empty them: interactive ones first.

    With a priority, only its queues.
    """
    kinds = {"interactive": (False,), "bulk": (True,), None: (False, True)}[priority]
    return [queue_of(stage, bulk=bulk) for bulk in kinds for stage in stages]


def celery_app(settings: CeleryQueueSettings) -> Celery:
    """Returns an app that can send tasks; nothing is connected yet."""
    url = settings.broker_url.get_secret_value()
    app = Celery("plumbline", broker=url)
    if url.startswith("rediss:"):  # kombu checks no certificate unless it is told to
        app.conf.broker_use_ssl = {"ssl_cert_reqs": "required"}
    app.conf.update(
        task_acks_late=True,  # a worker that dies has not done its task
        task_reject_on_worker_lost=True,
        task_ignore_result=True,  # results are in the catalog
        task_serializer="json",
        accept_content=["json"],
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        worker_send_task_events=False,
        # After a lost connection Celery's consumer may connect again and take nothing any more:
        # it ends (https://github.com/celery/celery/issues/8091), and `rag worker` starts another.
        broker_connection_retry=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "visibility_timeout": settings.visibility_seconds,
            # By default Kombu checks only every tenth round of ten seconds, so every 100 s. A check
            # costs Redis four commands, and covers the messages that workers have taken.
            "unacked_restore_interval": min(SWEEP_SECONDS, settings.visibility_seconds),
            "unacked_restore_throttle": 1,
            # A worker killed during a check blocks the checks of the others for that long.
            "unacked_mutex_expire": SWEEP_SECONDS,
            # A timeout, because a dispatcher locks rows of the catalog until the broker answers.
            "socket_timeout": ANSWER_SECONDS,
            "socket_connect_timeout": ANSWER_SECONDS,
            "queue_order_strategy": "priority",
        },
    )
    return app


@contextlib.contextmanager
def connected(app: Celery) -> Iterator[Connection]:
    """Opens a new connection: one from a pool may be dead without notice.

    Raises:
        UpstreamError: The broker does not answer.
    """
    url = str(app.conf.broker_url)
    connection = app.connection_for_write()
    try:
        with connection:
            # One try alone: by default it makes three, with pauses of two seconds.
            connection.ensure_connection(max_retries=0)
            yield connection
    except (
        OperationalError,
        OSError,
        *connection.connection_errors,
        *connection.channel_errors,
    ) as error:
        raise UpstreamError(
            "The broker does not answer. Is it running, and is the setting queue.broker_url right?",
            detail=f"{masked(url)}: {words(error, url)}.",
        ) from None


def check_broker(app: Celery) -> None:
    """Checks that the broker answers. Raises as `connected`."""
    with connected(app):
        pass


def check_workers(app: Celery) -> None:
    """Checks that a worker answers.

    Raises:
        UpstreamError: None does, or the broker does not.
    """
    with connected(app) as connection:
        if not app.control.ping(timeout=PING_SECONDS, limit=1, connection=connection):
            raise UpstreamError(f"No worker answered within {PING_SECONDS:g} s.")


def send(app: Celery, task: str, *arguments: object, queue: str) -> None:
    """Sends one message to the broker. Raises as `connected`."""
    with connected(app) as connection:
        producer = app.amqp.Producer(connection)
        app.send_task(task, arguments, queue=queue, producer=producer, retry=False)


def waiting_in(connection: Connection, queue: str) -> int:
    """Returns the number of messages in a queue that no worker has taken."""
    with (
        contextlib.suppress(*connection.channel_errors),  # no queue yet
        connection.channel() as channel,  # type: ignore[no-untyped-call]
    ):
        return int(channel.queue_declare(queue, passive=True).message_count)
    return 0
