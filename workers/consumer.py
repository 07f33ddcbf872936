"""A Celery consumer that connects again as soon as the broker is back."""

from __future__ import annotations

import logging

from celery.worker.consumer import Consumer
from celery.worker.state import maybe_shutdown
from kombu.connection import Connection

from rag.privacy.redaction import masked, words

CONNECT_SECONDS = 0.25
"""Seconds between tries to connect. Celery's pauses grow by two seconds, up to half a minute."""

_log = logging.getLogger(__name__)


class PromptConsumer(Consumer):  # type: ignore[misc] # Celery has no types
    """Tries to connect several times a second, and logs a failure once."""

    def ensure_connected(self, conn: Connection) -> Connection:
        """Returns the connection once it is open; ends the worker if it is asked to stop."""
        tries = 0

        def failed(error: Exception, _: float) -> None:
            nonlocal tries
            tries += 1
            if tries == 1:
                url = str(self.app.conf.broker_url)
                _log.error(
                    "The broker does not answer, and is tried until it does: %s: %s.",
                    masked(url),
                    words(error, url).rstrip("."),
                )

        conn.ensure_connection(  # type: ignore[no-untyped-call]
            failed,
            interval_start=CONNECT_SECONDS,
            interval_step=0,
            interval_max=CONNECT_SECONDS,
            callback=maybe_shutdown,
        )
        # From here on a loss ends the worker, as `broker_connection_retry` says.
        self.first_connection_attempt = False
        return conn
