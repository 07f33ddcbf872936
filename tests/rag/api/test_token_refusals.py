"""The endpoints of refused tokens, and what a refused token gets."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from rag.api.app import app_without_lifespan
from rag.api.batch_calls import BatchCalls
from rag.api.deps import Running
from rag.api.refusal_schemas import RefusalList, RefusalOut
from rag.build.gateway import open_gateway
from rag.build.storage import open_storage
from rag.catalog.catalog import Catalog
from rag.gateway.credential_cache import CACHE_SECONDS
from rag.records import ClaimedLine
from rag.settings.tree import load_settings
from rag.types import Principal
from tests.tokens import TokenIssuer, token_issuer

pytestmark = pytest.mark.anyio
PATH = "/v1/tokens/refused"
SCOPES = {"boss": ["admin", "read"]}


@dataclass
class Api:
    issuer: TokenIssuer
    http: httpx.AsyncClient
    app: FastAPI
    catalog: Catalog

    def token(self, tenant: str = "acme", **claims: Any) -> str:
        return self.issuer.token(tenant=tenant, **claims)

    async def call(self, method: str, path: str, token: str, **sent: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}"}
        return await self.http.request(method, path, headers=headers, **sent)

    async def seen(self, token: str) -> tuple[int, Any, str | None]:
        """Returns the status, the body without the request's id, and the challenge."""
        response = await self.call("GET", "/v1/collections", token)
        body = response.json() | {"request_id": ""}
        return response.status_code, body, response.headers.get("www-authenticate")


@pytest.fixture(scope="module")
def issuer() -> Iterator[TokenIssuer]:
    with token_issuer() as made:
        yield made


@pytest.fixture
async def api(issuer: TokenIssuer, folder: Path) -> AsyncIterator[Api]:
    [accepted] = issuer.settings(
        tenant_claim="tenant", scopes=SCOPES, default_scopes=["read"]
    ).issuers
    gateway = {"enabled": True, "issuers": [accepted.model_dump()]}
    settings = load_settings(data_dir=folder, gateway=gateway)
    async with open_storage(settings) as storage, open_gateway(storage) as opened:
        assert opened is not None
        running = Running(opened=storage, gateway=opened, audit=opened.audit)
        app = app_without_lifespan(settings, running)
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://rag.local") as http:
            yield Api(issuer, http, app, storage.catalog)


async def test_a_refused_token_is_as_a_wrong_one_until_it_is_allowed(api: Api) -> None:
    boss, lost = api.token(scope="boss"), api.token(sub="a/b?c", jti="1")
    wrong = await api.seen(lost[:-4] + "AAAA")
    assert (wrong[0], wrong[1]["code"]) == (401, "unauthenticated")
    for named in ({"kind": "token", "value": "1"}, {"kind": "subject", "value": "a/b?c"}):
        assert (await api.seen(lost))[0] == 200
        made = await api.call("POST", PATH, boss, json=named)
        assert made.status_code == 201, made.text
        assert RefusalOut.model_validate(made.json()).model_dump() == made.json()
        assert made.json()["expires_at"] > made.json()["refused_at"]
        assert await api.seen(lost) == wrong
        listed = (await api.call("GET", PATH, boss)).json()
        assert RefusalList.model_validate(listed).model_dump() == listed
        assert listed == {"refused": [made.json()]}
        allowed = await api.call("DELETE", PATH, boss, params=named)
        assert (allowed.status_code, allowed.json()) == (200, made.json())
        again = await api.call("DELETE", PATH, boss, params=named)
        assert (again.status_code, again.json()["code"]) == (404, "not_refused")
    assert (await api.seen(lost))[0] == 200


async def test_batches_of_a_refused_subject_end(api: Api) -> None:
    made = Principal(tenant="acme", subject="jo", scopes=frozenset())
    line = ClaimedLine(
        batch_id="b", batch_created_at=time.time(), line=1, token="t", caller=made, attempts=1,
        endpoint="/v1/search", body='{"query": "x"}', claimed_at=time.time(),
    )  # fmt: skip
    calls = BatchCalls(api.app, api.catalog.keys, api.catalog.refused_tokens, price=0.5)
    assert (await calls(line)).status == 403  # as the scopes of its caller say
    await api.call("POST", PATH, api.token(scope="boss"), json={"kind": "subject", "value": "jo"})
    ended = await calls(line)
    assert (ended.status, json.loads(ended.body)["error"]["code"]) == (401, "key_ended")
    later = replace(line, batch_created_at=time.time() + CACHE_SECONDS)
    ann = replace(line, caller=replace(made, subject="ann"))
    assert [(await calls(each)).status for each in (later, ann)] == [403, 403]


async def test_an_expired_token_says_so_also_if_it_is_refused(api: Api) -> None:
    await api.call("POST", PATH, api.token(scope="boss"), json={"kind": "token", "value": "1"})
    assert (await api.seen(api.token(jti="1", exp=1)))[1]["code"] == "token_expired"


async def test_administrators_see_and_change_what_their_tenant_refuses(api: Api) -> None:
    boss, rival = api.token(scope="boss"), api.token("rival", sub="jo", scope="boss")
    named = {"kind": "subject", "value": "ann"}
    assert (await api.call("POST", PATH, boss, json=named)).status_code == 201
    assert (await api.call("GET", PATH, rival)).json() == {"refused": []}
    theirs = await api.call("DELETE", PATH, rival, params=named)
    none = await api.call("DELETE", PATH, rival, params=named | {"value": "bob"})
    assert theirs.json()["detail"].replace("ann", "bob") == none.json()["detail"]
    assert {theirs.status_code, none.status_code} == {404}
    assert (await api.seen(api.token(sub="ann")))[0] == 401
    assert (await api.seen(api.token("rival", sub="ann")))[0] == 200
    for method in ("GET", "POST", "DELETE"):
        assert (await api.call(method, PATH, api.token())).status_code == 403


async def test_a_wrong_request_names_its_field(api: Api) -> None:
    cases: tuple[tuple[str, Any], ...] = (
        ("kind", "tenant"), ("value", ""), ("value", "x" * 256), ("expires_in", 0),
        ("expires_in", 1e12), ("tenant", "rival"),
    )  # fmt: skip
    for field, value in cases:
        body = {"kind": "subject", "value": "ann", field: value}
        refused = await api.call("POST", PATH, api.token(scope="boss"), json=body)
        assert refused.status_code == 422
        assert field in refused.json()["detail"]


@pytest.mark.parametrize("value", ["jo@x\n", "a\0", "jo\u2028", "\x7f", "a\u00a0b"])
async def test_what_no_token_can_have_is_not_refused(api: Api, value: str) -> None:
    named, boss = {"kind": "subject", "value": value}, api.token(scope="boss")
    made = await api.call("POST", PATH, boss, json=named)
    ended = await api.call("DELETE", PATH, boss, params=named)
    for response in (made, ended):
        assert response.status_code == 422
        assert "no token has such an id or subject" in response.json()["detail"]
    assert (await api.call("GET", PATH, boss)).json() == {"refused": []}
