"""The endpoints of keys, with a key for keys."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from rag.api.app import app_without_lifespan
from rag.api.deps import Running
from rag.api.key_schemas import KeyList, NewKeyOut
from rag.build.gateway import open_gateway
from rag.build.storage import Storage, open_storage
from rag.gateway.api_keys import ApiKeys, Grant
from rag.settings.tree import load_settings
from rag.types import Permission, Principal

pytestmark = pytest.mark.anyio


async def made(storage: Storage, tenant: str, *scopes: Permission) -> dict[str, str]:
    """Returns the header of a new key."""
    keys = ApiKeys(storage.catalog.keys, changed=lambda _: None)
    _, key = await keys.create(Principal(tenant=tenant), Grant(name="first", scopes=scopes))
    return {"Authorization": f"Bearer {key}"}


@pytest.fixture
async def storage(folder: Path) -> AsyncIterator[Storage]:
    async with open_storage(load_settings(data_dir=folder, gateway={"enabled": True})) as opened:
        yield opened


@pytest.fixture
async def http(storage: Storage) -> AsyncIterator[httpx.AsyncClient]:
    """A client with a key for keys, of the tenant `acme`."""
    async with open_gateway(storage) as gateway:
        app = app_without_lifespan(storage.settings, Running(opened=storage, gateway=gateway))
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app=app),
            base_url="http://localhost",
            headers=await made(storage, "acme", "admin", "ask", "read"),
        ) as client:
            yield client


async def create(http: httpx.AsyncClient, **request: Any) -> Any:
    response = await http.post("/v1/keys", json={"name": "app", "scopes": ["read"]} | request)
    assert response.status_code == 201, response.text
    assert response.headers["cache-control"] == "no-store"
    body = response.json()
    assert NewKeyOut.model_validate(body).model_dump() == body
    return body


async def status(http: httpx.AsyncClient, key: str) -> int:
    headers = {"Authorization": f"Bearer {key}"}
    return (await http.get("/v1/collections", headers=headers)).status_code


async def test_a_key_is_made_listed_rotated_and_revoked(http: httpx.AsyncClient) -> None:
    asked = {"collections": ["a"], "subject": "jo", "groups": ["g"], "expires_in": 60}
    first = await create(http, **asked)
    assert (first["tenant"], first["subject"], first["groups"]) == ("acme", "jo", ["g"])
    assert first["expires_at"] > first["created_at"]
    assert await status(http, first["key"]) == 200

    listing = await http.get("/v1/keys")
    assert KeyList.model_validate(listing.json()).model_dump() == listing.json()
    assert [key["name"] for key in listing.json()["keys"]] == ["first", "app"]
    assert first["key"] not in listing.text

    path = f"/v1/keys/{first['id']}"
    rotated = (await http.post(f"{path}/rotate", params={"overlap": 3600})).json()
    assert rotated["id"] == first["id"]
    assert rotated["previous_until"] > first["created_at"]
    assert [await status(http, key) for key in (first["key"], rotated["key"])] == [200, 200]
    last = (await http.post(f"{path}/rotate", params={"overlap": 0})).json()
    assert [await status(http, key) for key in (rotated["key"], last["key"])] == [401, 200]

    revoked = await http.delete(path)
    assert (revoked.status_code, revoked.json()["id"]) == (200, first["id"])
    assert await status(http, last["key"]) == 401
    assert (await http.delete(path)).json() == revoked.json()
    ended = await http.post(f"{path}/rotate")
    assert (ended.status_code, ended.json()["code"]) == (409, "key_ended")


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["root"]}, "scopes.0"),
        ({"scopes": ["read"] * 6}, "scopes"),
        ({"collections": []}, "collections"),
        ({"collections": ["../x"]}, "collections.0"),
        ({"expires_in": 0}, "expires_in"),
        ({"expires_in": "60"}, "expires_in"),
        ({"expires_in": 1e12}, "expires_in"),
        ({"groups": ["x"] * 101}, "groups"),
        ({"tenant": "rival"}, "tenant"),
    ],
)
async def test_a_wrong_request_names_its_field(
    http: httpx.AsyncClient, wrong: dict[str, Any], field: str
) -> None:
    refused = await http.post("/v1/keys", json={"name": "app", "scopes": ["read"]} | wrong)
    assert refused.status_code == 422
    assert field in refused.json()["detail"]
    assert len((await http.get("/v1/keys")).json()["keys"]) == 1


async def test_a_key_for_keys_is_bound_to_no_collections(http: httpx.AsyncClient) -> None:
    asked = {"name": "x", "scopes": ["admin"], "collections": ["a"]}
    refused = await http.post("/v1/keys", json=asked)
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")


async def test_a_key_gives_no_more_than_it_has(http: httpx.AsyncClient) -> None:
    refused = await http.post("/v1/keys", json={"name": "x", "scopes": ["read", "metrics"]})
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert "metrics" in refused.json()["detail"]


async def test_a_key_of_another_tenant_is_as_unknown_as_none(
    http: httpx.AsyncClient, storage: Storage
) -> None:
    theirs = (await made(storage, "rival", "read"))["Authorization"].split("_")[1]
    before = await storage.catalog.keys.of("rival")
    for method, path in (("DELETE", "/v1/keys/{}"), ("POST", "/v1/keys/{}/rotate")):
        found = await http.request(method, path.format(theirs))
        none = await http.request(method, path.format("0" * 12))
        assert (found.status_code, found.json()["code"]) == (404, "unknown_key")
        assert found.json()["detail"].replace(theirs, "0" * 12) == none.json()["detail"]
    assert await storage.catalog.keys.of("rival") == before
    assert len((await http.get("/v1/keys")).json()["keys"]) == 1
