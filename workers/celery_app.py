"""Celery, configured."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

from celery import Celery
from kombu.connection import Connection
from kombu.exceptions import OperationalError

from rag.errors import UpstreamError
from rag.privacy.redaction import masked, words
from rag.settings.storage import CeleryQueueSettings
from rag.types import Stage

STAGES: tuple[Stage, ...] = ("embed", "parse")
"""In the order in which workers take them: what was begun comes before what was not."""
INGEST = "plumbline.ingest"
"""The Celery task: takes ids of tasks in the catalog."""
SCORE = "plumbline.score"
"""The Celery task: takes ids of answers in the catalog."""
SCORE_QUEUE = "plumbline.score"
ASK = "plumbline.ask"
"""The Celery task: takes the folder of an offline run, and the id of a question in it."""
ASK_QUEUE = "plumbline.ask"
ANSWER_SECONDS = 5.0
"""That a broker may take."""
SWEEP_SECONDS = 10
"""Between a worker's looks into Redis for messages whose worker is gone."""


def queue_of(stage: Stage, *, bulk: bool) -> str:
    """The queue of the tasks that wait for a stage; a worker may take from some alone."""
    return f"plumbline.{stage}.{'bulk' if bulk else 'interactive'}"


def queues_of(stages: Iterable[Stage]) -> list[str]:
    """Queues in the order in which workers empty them: interactive ones first."""
    return [queue_of(stage, bulk=bulk) for bulk in (False, True) for stage in stages]


def celery_app(settings: CeleryQueueSettings) -> Celery:
    """An app that can send tasks; nothing is connected yet."""
    app = Celery("plumbline", broker=settings.broker_url.get_secret_value())
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
            # Kombu's default is to look at each tenth round of ten seconds alone, which adds up to
            # 100 s. A look takes Redis four commands; what is looked through is what workers hold.
            "unacked_restore_interval": min(SWEEP_SECONDS, settings.visibility_seconds),
            "unacked_restore_throttle": 1,
            # A worker killed while it looks keeps the others from looking for that long.
            "unacked_mutex_expire": SWEEP_SECONDS,
            # One that hangs is noticed: a dispatcher holds rows of the catalog until it answers.
            "socket_timeout": ANSWER_SECONDS,
            "socket_connect_timeout": ANSWER_SECONDS,
            "queue_order_strategy": "priority",
        },
    )
    return app


@contextlib.contextmanager
def connected(app: Celery) -> Iterator[Connection]:
    """A connection of its own: one from a pool may be dead without knowing.

    Raises:
        UpstreamError: The broker does not answer.
    """
    url = str(app.conf.broker_url)
    connection = app.connection_for_write()
    try:
        with connection:
            # At once or not at all: by itself it sleeps for two seconds between three tries.
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


def send(app: Celery, task: str, *arguments: object, queue: str) -> None:
    """Gives the broker one message. Raises as `connected`."""
    with connected(app) as connection:
        producer = app.amqp.Producer(connection)
        app.send_task(task, arguments, queue=queue, producer=producer, retry=False)


def waiting_in(connection: Connection, queue: str) -> int:
    """Messages that no worker has taken."""
    with (
        contextlib.suppress(*connection.channel_errors),  # no queue yet
        connection.channel() as channel,  # type: ignore[no-untyped-call]
    ):
        return int(channel.queue_declare(queue, passive=True).message_count)
    return 0
