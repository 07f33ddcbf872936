"""Webhooks on both databases, and by a real `rag serve` that is killed."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import logging
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from prometheus_client import REGISTRY
from standardwebhooks import WebhookVerificationError

from rag.catalog import tables
from rag.catalog.catalog import Catalog
from rag.catalog.database import Database
from rag.settings.webhooks import WebhookSettings, key_of
from rag.types import Scope
from tests.catalogs import submit, succeed
from tests.places import ROOT
from tests.ports import free_port
from tests.servers import serving, wait_for
from tests.servers import submit as submit_to
from tests.waiting import until
from tests.webhook_receiver import SECRET, Receiver, receiving, setting
from workers import webhooks
from workers.webhooks import WebhookQueue, signature

pytestmark = pytest.mark.anyio


def receiver_of(url: str, tenant: str = "acme", **others: Any) -> WebhookSettings:
    given = {"url": url, "secret": SECRET, "tenant": tenant, "private_addresses": True}
    return WebhookSettings.model_validate(given | others)


@contextlib.asynccontextmanager
async def sending(catalog: Catalog, **receivers: WebhookSettings) -> AsyncIterator[None]:
    async with WebhookQueue(catalog, receivers).started():
        yield


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(webhooks, "WAITS", (0.0, 0.0))


async def waiting(database: Database) -> int:
    counted = sa.select(sa.func.count().label("n")).select_from(tables.webhook_messages)
    return int((await database.rows(counted))[0]["n"])


def counted(outcome: str) -> float:
    labels = {"outcome": outcome}
    return REGISTRY.get_sample_value("plumbline_webhook_messages_total", labels) or 0.0


async def none_waits(database: Database) -> bool:
    return not await waiting(database)


async def announced(database: Database) -> bool:
    left = await database.rows(sa.select(tables.jobs.c.id).where(~tables.jobs.c.announced))
    return not left


async def ended(catalog: Catalog, scope: Scope, *names: str) -> str:
    job, tasks = await submit(catalog, scope, *names)
    for task in tasks:
        await succeed(catalog, task)
    return job


async def test_the_end_of_a_job_is_told_once(
    catalog: Catalog, database: Database, scope: Scope
) -> None:
    with receiving() as receiver:
        here = receiver_of(receiver.url)
        async with sending(catalog, n8n=here), sending(catalog, n8n=here):  # as two processes
            job, [good, bad] = await submit(catalog, scope, "good", "bad")
            await succeed(catalog, good)
            await asyncio.sleep(0.1)
            assert receiver.events == []
            await catalog.outcomes.fail(bad, "The text of a document.")
            await until(lambda: receiver.events)
            await asyncio.sleep(0.1)
    (event,) = receiver.events
    assert event["type"] == "job.ended"
    assert event["data"] | {"created_at": "", "updated_at": ""} == {
        "job_id": job,
        "tenant": "acme",
        "collection": "handbook",
        "state": "partial",
        "counts": {"succeeded": 1, "failed": 1},
        "outcomes": {"stored": 1},
        "created_at": "",
        "updated_at": "",
    }
    assert event["timestamp"] == event["data"]["updated_at"]
    assert await waiting(database) == 0


async def test_a_job_that_is_retried_ends_again(catalog: Catalog, scope: Scope) -> None:
    with receiving() as receiver:
        async with sending(catalog, n8n=receiver_of(receiver.url)):
            job, [task] = await submit(catalog, scope, "bad")
            await catalog.outcomes.fail(task, "Broken.")
            await until(lambda: len(receiver.events) == 1)
            await catalog.jobs.retry(scope.tenant, job)
            [again] = await catalog.tasks.claim(9)
            await succeed(catalog, again)
            await until(lambda: len(receiver.events) == 2)
    assert [event["data"]["state"] for event in receiver.events] == ["failed", "succeeded"]
    assert len(set(receiver.ids)) == 2


async def test_attempts_are_alike_until_one_succeeds(
    catalog: Catalog, database: Database, scope: Scope, caplog: pytest.LogCaptureFixture
) -> None:
    before = counted("retried"), counted("delivered")
    with caplog.at_level(logging.WARNING), receiving(500, 302) as receiver:
        async with sending(catalog, n8n=receiver_of(receiver.url)):
            await ended(catalog, scope, "a")
            await until(lambda: counted("delivered") > before[1])
    assert len(set(receiver.ids)) == len(set(receiver.bodies)) == 1
    assert (counted("retried"), counted("delivered")) == (before[0] + 2, before[1] + 1)
    assert len(receiver.events) == 3
    assert not await waiting(database)
    assert "the receiver answered 500; sent again" in caplog.text
    assert "secret-path" not in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.parametrize("statuses", [[500] * 9, [410]])
async def test_what_fails_for_long_or_for_good_is_given_up(
    catalog: Catalog, database: Database, caplog: pytest.LogCaptureFixture, statuses: list[int]
) -> None:
    before = counted("given up")
    with receiving(*statuses) as receiver:
        async with sending(catalog, n8n=receiver_of(receiver.url)):
            await ended(catalog, Scope(tenant="acme", collection="handbook"), "a")
            await until(lambda: "is given up" in caplog.text)
            await until(lambda: none_waits(database))
    assert len(receiver.events) == (1 if statuses == [410] else 3)
    assert counted("given up") == before + 1


async def test_nothing_is_sent_to_a_private_address(
    catalog: Catalog, scope: Scope, caplog: pytest.LogCaptureFixture
) -> None:
    with receiving() as receiver:
        refused = receiver_of(receiver.url, private_addresses=False)
        async with sending(catalog, n8n=refused):
            await ended(catalog, scope, "a")
            await until(lambda: "is given up" in caplog.text)
    assert receiver.events == []
    assert "webhooks.n8n.private_addresses = true" in caplog.text


async def test_a_receiver_gets_the_jobs_of_its_tenant_alone(
    catalog: Catalog, database: Database, scope: Scope
) -> None:
    other = Scope(tenant="other", collection="handbook")
    with receiving() as receiver:
        async with sending(catalog, n8n=receiver_of(receiver.url)):
            await ended(catalog, other, "a")
            await ended(catalog, scope, "a")
            await until(lambda: announced(database))
            await until(lambda: receiver.events)
    assert [event["data"]["tenant"] for event in receiver.events] == ["acme"]


async def test_nobody_is_told_of_old_jobs(
    catalog: Catalog, database: Database, scope: Scope
) -> None:
    await ended(catalog, scope, "a")
    async with database.write() as db:
        await db.execute(tables.tasks.update().values(updated_at="2020-01-01T00:00:00.000+00:00"))
    with receiving() as receiver:
        async with sending(catalog, n8n=receiver_of(receiver.url)):
            await until(lambda: announced(database))
    assert receiver.events == []


async def test_messages_to_a_receiver_that_was_taken_out_are_dropped(
    catalog: Catalog, database: Database, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "WAITS", (0.2,) * 9)
    nobody = receiver_of(f"http://127.0.0.1:{free_port()}/")
    async with sending(catalog, n8n=nobody):
        await ended(catalog, scope, "a")
        await until(lambda: waiting(database))
    before = counted("dropped")
    async with sending(catalog, zapier=nobody):
        await until(lambda: counted("dropped") > before)
    assert counted("dropped") == before + 1
    assert not await waiting(database)


def test_the_signature_is_that_of_the_specification() -> None:
    """The example of standard-webhooks' own tests."""
    given = receiver_of("https://a.example/")
    made = signature(
        key_of(given.secret),
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
    )
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


async def test_the_receiver_of_the_docs_takes_what_is_sent(
    capsys: pytest.CaptureFixture[str],
) -> None:
    page = (ROOT / "docs" / "webhooks.md").read_text()
    (code,) = re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    made: dict[str, Any] = {"__name__": "receiver"}
    exec(code, made)
    at, body = int(time.time()), json.dumps({"data": {"job_id": "j1", "state": "failed"}}).encode()
    sign = functools.partial(signature, key_of(receiver_of("https://a.example/").secret))
    headers = {"webhook-id": "msg_1", "webhook-timestamp": str(at)}
    transport = httpx.ASGITransport(made["app"])
    async with httpx.AsyncClient(transport=transport, base_url="http://a.example") as http:
        post = functools.partial(http.post, "/webhook/plumbline", content=body)
        signed = headers | {"webhook-signature": sign("msg_1", at, body)}
        assert (await post(headers=signed)).status_code == 204
        assert "j1 failed" in capsys.readouterr().out
        with pytest.raises(WebhookVerificationError):
            await post(headers=headers | {"webhook-signature": sign("msg_2", at, body)})


def test_a_server_that_is_killed_tells_it_after_its_next_start(tmp_path: Path) -> None:
    port = free_port()
    receiver = Receiver(port=port)
    env = {"RAG_WEBHOOKS": setting(receiver.url)}
    with serving(tmp_path / "data", env=env) as server:
        with server.client() as http:
            job = submit_to(http, {"id": "a", "text": "The office opens at nine."})
        wait_for(lambda: "sent again in 5 s" in server.log.read_text())
        log = server.log.read_text()
        server.kill()
    assert SECRET not in log
    assert "secret-path" not in log
    with receiving(port=port) as receiver, serving(tmp_path / "data", env=env):
        wait_for(lambda: receiver.events)
    (event,) = receiver.events
    assert event["data"]["job_id"] == job["id"]
