"""Which requests are in the audit log, and when their rows are written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute

from rag.api.app import app_without_lifespan
from rag.api.auditing import audit_of
from rag.api.deps import Running, permission_of
from rag.build.gateway import open_gateway
from rag.build.storage import Storage, open_storage
from rag.catalog.audit import Audit
from rag.errors import StorageError
from rag.gateway import audit_log, ocsf
from rag.gateway.api_keys import ApiKeys, Grant
from rag.records import SERVICE, AuditRow
from rag.settings.tree import load_settings
from rag.types import PERMISSIONS, Permission, Principal

pytestmark = pytest.mark.anyio
ROUTES = [
    route
    for route in app_without_lifespan(load_settings(), Running()).routes
    if isinstance(route, APIRoute)
]
AT_ONCE = {
    "acl.change", "collection.delete", "document.delete", "key.create", "key.revoke", "key.rotate",
    "rollout.change", "rollout.delete", "rollout.start", "token.allow", "token.refuse",
}  # fmt: skip


def test_every_route_that_changes_or_exports_declares_its_action() -> None:
    for route in ROUTES:
        if permission_of(route) in ("write", "admin") and route.methods != {"GET"}:
            assert audit_of(route), f"{route.path}: dependencies=[…, audited(…)]"


def test_deletions_and_changes_of_keys_and_permissions_are_written_before_the_answer() -> None:
    declared = [found for route in ROUTES if (found := audit_of(route))]
    assert {each.action for each in declared if each.at_once} == AT_ONCE
    assert {each.action for each in declared if not each.at_once}.isdisjoint(AT_ONCE)
    assert {each.action for each in declared} <= ocsf._ACTIVITIES.keys()


def test_documents_that_are_read_are_audited_and_questions_are_not() -> None:
    actions = {route.path: found.action for route in ROUTES if (found := audit_of(route))}
    assert actions["/v1/documents/{document_id:path}/content"] == "document.read"
    assert actions["/v1/answers"] == actions["/v1/drift"] == "answer.read"
    assert actions["/v1/eval-runs/compare"] == "evaluation.read"
    assert actions["/v1/files/{file_id}/content"] == "file.read"
    for route in ROUTES:
        if permission_of(route) == "ask" and not _is_of_batches(route):
            assert audit_of(route) is None, "the ledger has questions"


def _is_of_batches(route: APIRoute) -> bool:
    return route.path.startswith(("/v1/files", "/v1/batches"))


class Api:
    """An API with the gateway over a catalog; it ingests and answers nothing."""

    def __init__(self, http: httpx.AsyncClient, storage: Storage, running: Running) -> None:
        self.http = http
        self._storage = storage
        self._running = running

    async def key(self, *scopes: Permission) -> tuple[str, dict[str, str]]:
        keys = ApiKeys(self._storage.catalog.keys, changed=lambda _: None)
        caller = Principal(tenant="acme", scopes=frozenset(PERMISSIONS))
        record, key = await keys.create(caller, Grant(name="k", scopes=scopes, subject="ann"))
        return record.id, {"Authorization": f"Bearer {key}"}

    async def rows(self, tenant: str = "acme") -> list[AuditRow]:
        assert self._running.audit is not None
        await self._running.audit.flush()
        return await self.stored(tenant)

    async def stored(self, tenant: str = "acme") -> list[AuditRow]:
        return [entry.row async for entry in self._storage.catalog.audit.entries(tenant)]


@pytest.fixture
async def api(folder: Path) -> AsyncIterator[Api]:
    settings = load_settings(data_dir=folder, gateway={"enabled": True})
    async with open_storage(settings) as storage, open_gateway(storage) as gateway:
        assert gateway is not None
        running = Running(opened=storage, gateway=gateway, audit=gateway.audit)
        app = app_without_lifespan(settings, running)
        transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=("192.0.2.7", 9))
        async with httpx.AsyncClient(transport=transport, base_url="http://rag.local") as http:
            yield Api(http, storage, running)


async def test_a_row_says_who_did_what_with_what_outcome_and_from_where(api: Api) -> None:
    id_, key = await api.key("read", "admin")
    sent = {**key, "X-Request-ID": "r-1"}
    made = await api.http.post("/v1/keys", json={"name": "new", "scopes": ["read"]}, headers=sent)
    assert made.status_code == 201
    [row] = await api.stored()  # before the answer, so without waiting
    assert (row.tenant, row.action, row.object) == ("acme", "key.create", made.json()["id"])
    assert (row.outcome, row.status, row.detail) == ("success", 201, "")
    assert (row.key_id, row.subject) == (id_, "ann")
    assert (row.address, row.request_id) == ("192.0.2.7", "r-1")

    missing = "/v1/documents/a%2Fb?collection=handbook"
    assert (await api.http.get(missing, headers=key)).status_code == 404
    row = (await api.rows())[-1]
    assert (row.action, row.object, row.collection) == ("document.read", "a/b", "handbook")
    assert (row.outcome, row.status) == ("failure", 404)
    assert row.detail in ("unknown_document", "unknown_collection")


async def test_a_row_is_stored_before_the_response_has_ended(api: Api) -> None:
    _, key = await api.key("read")
    for number in range(3):
        await api.http.get(f"/v1/documents/{number}", headers=key)
        assert len(await api.stored()) == number + 1


async def test_a_catalog_that_is_away_holds_a_response_back_for_a_moment_alone(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_log, "SETTLED_SECONDS", 0.1)
    monkeypatch.setattr(audit_log, "RETRY_SECONDS", 0.02)
    _, key = await api.key("metrics")
    write, away = Audit.write, True

    async def refusing(self: Audit, rows: list[AuditRow]) -> None:
        if away:
            raise StorageError("The disk is full.", code="disk_full")
        await write(self, rows)

    monkeypatch.setattr(Audit, "write", refusing)
    assert (await api.http.get("/v1/collections", headers=key)).status_code == 403
    away = False
    [row] = await api.rows()
    assert (row.action, row.outcome) == ("read", "denied")


async def test_denied_attempts_are_written_on_every_route(api: Api) -> None:
    _, key = await api.key("metrics")
    requests: list[tuple[str, str, str]] = [
        ("POST", "/v1/query", "ask"),
        ("GET", "/v1/collections", "read"),
        ("GET", "/v1/documents/1", "document.read"),
        ("DELETE", "/v1/documents/1", "document.delete"),
        ("POST", "/v1/keys", "key.create"),
        ("DELETE", "/v1/keys/1", "key.revoke"),
    ]
    for method, path, _ in requests:
        body: Any = {"query": "Who?"} if "query" in path else {"name": "x", "scopes": ["read"]}
        response = await api.http.request(
            method, path, headers=key, json=body if method == "POST" else None
        )
        assert response.status_code == 403
    rows = await api.rows()
    assert [row.action for row in rows] == [action for *_, action in requests]
    assert {(row.outcome, row.status, row.detail) for row in rows} == {("denied", 403, "forbidden")}


async def test_a_wrong_key_is_written_and_no_key_is_not(api: Api) -> None:
    for headers in ({"Authorization": "Bearer pl_x"}, {"api-key": f"pl_{'0' * 12}_{'0' * 64}"}, {}):
        assert (await api.http.get("/v1/collections", headers=headers)).status_code == 401
    rows = await api.rows(SERVICE)
    assert [(row.action, row.outcome, row.status) for row in rows] == [("logon", "denied", 401)] * 2
    assert all(row.address == "192.0.2.7" and not row.key_id for row in rows)
    assert "pl_" not in str(rows)


async def test_what_needs_no_row_has_none(api: Api) -> None:
    _, key = await api.key("read", "ask", "admin")
    for path in ("/healthz", "/v1/collections", "/v1/keys", "/nowhere"):
        await api.http.get(path, headers=key)
    await api.http.post("/v1/query", json={"query": "Who?"}, headers=key)
    assert await api.rows() == []


async def test_without_the_log_a_change_has_no_answer_but_is_in_it_later(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_log, "WRITTEN_SECONDS", 0.2)
    monkeypatch.setattr(audit_log, "RETRY_SECONDS", 0.02)
    _, key = await api.key("admin", "read")
    write, away = Audit.write, True

    async def refusing(self: Audit, rows: list[AuditRow]) -> None:
        if away:
            raise StorageError("The disk is full.", code="disk_full")
        await write(self, rows)

    monkeypatch.setattr(Audit, "write", refusing)
    response = await api.http.post(
        "/v1/keys", json={"name": "new", "scopes": ["read"]}, headers=key
    )
    assert (response.status_code, response.json()["code"]) == (503, "audit_unavailable")
    assert "pl_" not in response.text
    away = False
    [row] = await api.rows()
    assert (row.action, row.outcome) == ("key.create", "success")


async def test_requests_at_once_are_each_written_once(api: Api) -> None:
    _, key = await api.key("read")
    await api.http.get("/v1/collections", headers=key)  # the key is known to be good then
    await asyncio.gather(*(api.http.get(f"/v1/documents/{n}", headers=key) for n in range(100)))
    assert sorted(int(row.object) for row in await api.rows()) == list(range(100))
    assert not (await api._storage.catalog.audit.verify("acme")).fault
