"""Celery, configured."""

from __future__ import annotations

from celery import Celery

from rag.settings import CeleryQueueSettings

INTERACTIVE, BULK = "plumbline.interactive", "plumbline.bulk"
QUEUES = (INTERACTIVE, BULK)
"""In the order in which workers empty them."""
INGEST = "plumbline.ingest"
"""The task: takes the id of a task in the catalog."""
ANSWER_SECONDS = 5.0
"""That a broker may take."""


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
            # One that hangs is noticed: a dispatcher holds rows of the catalog until it answers.
            "socket_timeout": ANSWER_SECONDS,
            "socket_connect_timeout": ANSWER_SECONDS,
            "queue_order_strategy": "priority",
        },
    )
    return app
