"""Tells receivers of ended jobs, by signed messages: Standard Webhooks.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import hashlib
import hmac
import json
import logging
import ssl
import time
from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from uuid import uuid4

import httpcore

import rag
from ingest.sources.addresses import is_public
from ingest.sources.checked_network import CheckedNetwork
from rag.catalog.catalog import Catalog
from rag.errors import BusyError, NotFoundError, RagError, ReadError
from rag.privacy.redaction import words
from rag.process.background import running
from rag.records import JobRecord, WebhookMessage
from rag.settings.webhooks import WebhookSettings, key_of
from rag.telemetry import metrics

POLL_SECONDS = 1.0
ATTEMPT_SECONDS = 15.0
"""Time limit of an attempt; the specification recommends 15 to 30 s."""
WAITS = (5.0, 300.0, 1800.0, 7200.0, 18000.0, 36000.0, 50400.0, 72000.0, 86400.0)
"""Seconds between the attempts, as the specification's example has them: three days in all."""
STALE_SECONDS = 86400.0
"""Seconds after its end from which nobody is told of a job: it ended before there were webhooks."""
_FAILURES = (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, TimeoutError)
_log = logging.getLogger(__name__)


class WebhookQueue:
    """Makes messages of ended jobs, and sends them, while it is started.

    They wait in the catalog until a receiver has taken them. One process of a cluster sends.
    """

    def __init__(self, catalog: Catalog, webhooks: Mapping[str, WebhookSettings]) -> None:
        self._catalog = catalog
        self._webhooks = webhooks

    def started(self) -> contextlib.AbstractAsyncContextManager[None]:
        """Runs the queue until the end of the block."""
        return running(self._run())

    async def _run(self) -> None:
        while True:
            try:
                async with self._catalog.alone("webhooks", wait=False):
                    await self._announce()
                    await self._send_due()
            except BusyError:
                """Another process sends; this one takes over when it ends."""
            except RagError as error:
                _log.error("Messages to webhooks wait: %s", error.in_full())
            except Exception:  # noqa: BLE001 - otherwise none would be sent any more
                _log.exception("Messages to webhooks wait")
            await asyncio.sleep(POLL_SECONDS)

    async def _announce(self) -> None:
        """Stores a message for each receiver about each job that has ended."""
        while ended := await self._catalog.webhooks.ended():
            for tenant, job_id in ended:
                try:
                    job = await self._catalog.jobs.get(tenant, job_id)
                except NotFoundError:  # its collection was removed just now
                    continue
                await self._catalog.webhooks.announce(job_id, self._messages(tenant, job))

    def _messages(self, tenant: str, job: JobRecord) -> list[WebhookMessage]:
        ended = datetime.fromisoformat(job.updated_at).timestamp()
        if time.time() - ended > STALE_SECONDS:
            return []
        body = json.dumps(job_ended(tenant, job), ensure_ascii=False, separators=(",", ":"))
        return [
            WebhookMessage(id=f"msg_{uuid4().hex}", tenant=tenant, webhook=name, body=body)
            for name, webhook in self._webhooks.items()
            if webhook.tenant == tenant
        ]

    async def _send_due(self) -> None:
        while due := await self._catalog.webhooks.due():
            await asyncio.gather(*(self._deliver(message) for message in due))

    async def _deliver(self, message: WebhookMessage) -> None:
        """Makes an attempt, and records how it ended."""
        webhook = self._webhooks.get(message.webhook)
        if webhook is None or webhook.tenant != message.tenant:  # taken out of the settings
            await self._catalog.webhooks.done(message.id)
            metrics.webhook_message("dropped")
            return
        try:
            status = await send(message, webhook, f"webhooks.{message.webhook}.private_addresses")
        except (ReadError, *_FAILURES) as error:
            await self._failed(message, words(error, webhook.url.get_secret_value()))
            return
        if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            await self._catalog.webhooks.done(message.id)
            metrics.webhook_message("delivered")
        else:
            says = f"the receiver answered {status}"
            await self._failed(message, says, is_final=status == HTTPStatus.GONE)

    async def _failed(self, message: WebhookMessage, says: str, *, is_final: bool = False) -> None:
        told = (message.id, message.webhook, message.tenant, says.rstrip("."))
        if message.attempts < len(WAITS) and not is_final:
            seconds = WAITS[message.attempts]
            await self._catalog.webhooks.put_back(message.id, seconds=seconds)
            metrics.webhook_message("retried")
            _log.warning(
                "Message %s to webhook %s of tenant %s: %s; sent again in %g s.", *told, seconds
            )
        else:
            await self._catalog.webhooks.done(message.id)
            metrics.webhook_message("given up")
            _log.error("Message %s to webhook %s of tenant %s is given up: %s.", *told)


def job_ended(tenant: str, job: JobRecord) -> dict[str, object]:
    """Returns the event: of the documents it has numbers alone, no name and no text."""
    return {
        "type": "job.ended",
        "timestamp": job.updated_at,
        "data": {
            "job_id": job.id,
            "tenant": tenant,
            "collection": job.collection,
            "state": job.state,
            "counts": dict(job.counts),
            "outcomes": dict(job.outcomes),
            "created_at": job.created_at,
            "updated_at": job.updated_at,
        },
    }


async def send(message: WebhookMessage, webhook: WebhookSettings, setting: str) -> int:
    """Posts a message; returns the status of the response. Redirects are not followed.

    Args:
        message: the message.
        webhook: its receiver.
        setting: the name of the setting that would allow a private address.

    Raises:
        ReadError: The receiver's address is private, and that is not allowed.
        httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, TimeoutError: No
            response came.
    """
    allows = (lambda _: True) if webhook.private_addresses else is_public
    body, at = message.body.encode(), int(time.time())
    headers = {
        "Content-Type": "application/json",
        "User-Agent": f"Plumbline/{rag.__version__}",
        "webhook-id": message.id,
        "webhook-timestamp": str(at),
        "webhook-signature": signature(key_of(webhook.secret), message.id, at, body),
    }
    async with (
        asyncio.timeout(ATTEMPT_SECONDS),
        httpcore.AsyncConnectionPool(
            ssl_context=_ssl(), network_backend=CheckedNetwork(allows, setting=setting)
        ) as pool,
        pool.stream(
            "POST", webhook.url.get_secret_value(), headers=list(headers.items()), content=body
        ) as response,
    ):
        return response.status


def signature(key: bytes, message_id: str, at: int, body: bytes) -> str:
    """Returns the header `webhook-signature`, by HMAC-SHA256; `at` is Unix time in seconds."""
    signed = b".".join((message_id.encode(), str(at).encode(), body))
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


@functools.cache
def _ssl() -> ssl.SSLContext:
    return httpcore.default_ssl_context()  # reads files: not before the first message
