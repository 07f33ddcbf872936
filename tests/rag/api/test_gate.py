"""Who may use which route."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Mount, Route

import rag.api
from rag.api.app import app_without_lifespan
from rag.api.deps import KNOWN, Running, needs_key, permission_of
from rag.api.docs_pages import ASSETS
from rag.api.gate import OPEN, UNCHARGED, is_open
from rag.api.resource_metadata import METADATA
from rag.build.gateway import open_gateway
from rag.build.storage import Storage, open_storage
from rag.gateway.api_keys import ApiKeys, Grant
from rag.settings.operations import ServerSettings
from rag.settings.tree import Settings, load_settings
from rag.telemetry import logs
from rag.types import PERMISSIONS, Permission, Principal, Scope
from rag.web.page import FOLDERS

pytestmark = pytest.mark.anyio

ROUTES = app_without_lifespan(load_settings(), Running()).routes


def needed(route: BaseRoute) -> str:
    """Returns the permission that a route needs; "open" if it takes no key, "any" if any key."""
    assert isinstance(route, Route | Mount), f"{route} declares no permission"
    if is_open(f"{route.path}/" if isinstance(route, Mount) else route.path):
        return "open"
    if isinstance(route, APIRoute) and KNOWN in route.dependencies:
        assert permission_of(route) is None
        return "any key"
    if route.path in UNCHARGED:
        return "any key"
    permission = permission_of(route) if isinstance(route, APIRoute) else None
    assert permission, f"{route.path} declares no permission: dependencies=[needs(…)]"
    return permission


def test_every_route_declares_the_permission_that_it_needs() -> None:
    found = {
        f"{method} {getattr(route, 'path', '')}": needed(route)
        for route in ROUTES
        for method in getattr(route, "methods", None) or ["*"]
    }
    assert {path for path, permission in found.items() if permission == "open"} == {
        "GET /healthz", "GET /readyz", "GET /openapi.json", "HEAD /openapi.json", f"* {ASSETS}",
        "GET /docs", "HEAD /docs", "GET /redoc", "HEAD /redoc",
        f"GET {METADATA}", f"HEAD {METADATA}", "GET /", "HEAD /",
        *(f"{method} {folder}/{{file:path}}" for method in ("GET", "HEAD") for folder in FOLDERS),
    }  # fmt: skip
    known = {path for path, permission in found.items() if permission == "any key"}
    assert known == {"GET /v1/me", "POST /mcp"}
    assert found["GET /metrics"] == found["GET /v1/queue"] == found["GET /v1/tenants"] == "metrics"
    for path in ("answers", "drift", "eval-runs", "eval-runs/{name}", "eval-runs/compare"):
        assert found[f"GET /v1/{path}"] == "admin"
    assert found["POST /v1/query"] == found["POST /v1/chat/completions"] == "ask"
    assert found["GET /v1/documents/{document_id:path}/content"] == "read"
    assert found["POST /v1/documents"] == found["DELETE /v1/jobs/{job_id}"] == "write"


def test_a_route_that_needs_a_permission_is_not_open() -> None:
    for route in ROUTES:
        if isinstance(route, APIRoute) and needs_key(route):
            assert not is_open(route.path)
    shut = ("//", "/assets", "/pdfjsx", "/healthz/", "/docs/", "/v1/query", f"{ASSETS}x", "//docs")
    assert not any(map(is_open, shut))
    assert set(OPEN) <= {getattr(route, "path", "") for route in ROUTES}


def test_scopes_of_requests_are_made_in_one_place() -> None:
    folder = Path(rag.api.__file__).parent
    makers = {
        str(file.relative_to(folder))
        for file in folder.rglob("*.py")
        if re.search(r"\bScope\((tenant|\w+\.tenant)", file.read_text())
    }
    assert makers == {"deps.py"}


# A server with the gateway: of the service, the catalog alone is open


@pytest.fixture
def settings(folder: Path) -> Settings:
    return load_settings(data_dir=folder, gateway={"enabled": True})


@pytest.fixture
async def storage(settings: Settings) -> AsyncIterator[Storage]:
    async with open_storage(settings) as opened:
        yield opened


Key = Callable[..., Any]


@pytest.fixture
def key(storage: Storage) -> Key:
    """Makes a key of a tenant."""

    async def make(*scopes: Permission, tenant: str = "acme", **grant: Any) -> str:
        keys = ApiKeys(storage.catalog.keys, changed=lambda _: None)
        made = Grant(name="test", scopes=scopes or PERMISSIONS, **grant)
        return (await keys.create(Principal(tenant=tenant), made))[1]

    return make


@pytest.fixture
async def http(settings: Settings, storage: Storage) -> AsyncIterator[httpx.AsyncClient]:
    async with open_gateway(storage) as gateway:
        app = app_without_lifespan(settings, Running(opened=storage, gateway=gateway))
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            yield client


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def calls() -> list[tuple[str, str]]:
    """Returns a call of each route that needs a permission."""
    return [
        (method, re.sub(r"\{[^}]+\}", "x", route.path))
        for route in ROUTES
        if isinstance(route, APIRoute) and needs_key(route)
        for method in sorted(route.methods)
    ]


@pytest.mark.parametrize(("method", "path"), calls())
async def test_every_route_refuses_in_the_same_words_whatever_is_wrong(
    http: httpx.AsyncClient, key: Key, method: str, path: str
) -> None:
    expired = await key(expires_in=1e-9)
    wrong: list[dict[str, str]] = [
        {},
        *map(bearer, ("", "x", expired, f"pl_{'0' * 12}_{'0' * 64}", "x" * 20_000)),
        {"Authorization": "Basic eDp5"},
        {"Authorization": "Bearer"},
        {"api-key": "x"},
        bearer("x") | {"api-key": await key()},
    ]
    seen = set()
    for headers in wrong:
        sent = headers | {"X-Request-ID": "1"}
        refused = await http.request(method, path, headers=sent, content=b"not JSON")
        assert refused.headers["www-authenticate"] == "Bearer"
        seen.add((refused.status_code, refused.text))
    [(status, body)] = seen
    assert status == 401
    assert "No valid API key" in body


async def test_a_key_is_taken_from_either_header_and_any_case(
    http: httpx.AsyncClient, key: Key
) -> None:
    made = await key("read")
    for headers in (
        bearer(made),
        {"authorization": f"bearer  {made} "},
        {"API-Key": made},
        {"Authorization": f"BEARER {made}"},
    ):
        assert (await http.get("/v1/collections", headers=headers)).status_code == 200, headers
    twice = [("Authorization", f"Bearer {made}")] * 2
    assert (await http.get("/v1/collections", headers=twice)).status_code == 401


@pytest.mark.parametrize("permission", PERMISSIONS)
async def test_a_route_is_refused_to_a_key_with_every_scope_but_its_own(
    http: httpx.AsyncClient, key: Key, permission: Permission
) -> None:
    others = bearer(await key(*(set(PERMISSIONS) - {permission})))
    examples = {
        "ask": ("GET", "/v1/models"),
        "read": ("GET", "/v1/documents/x"),
        "write": ("DELETE", "/v1/documents/x"),
        "admin": ("GET", "/v1/keys"),
        "metrics": ("GET", "/metrics"),
    }
    method, path = examples[permission]
    refused = await http.request(method, path, headers=others)
    assert refused.status_code == 403
    assert f"'{permission}'" in refused.text


async def test_health_and_the_pages_of_the_api_need_no_key(http: httpx.AsyncClient) -> None:
    for path in ("/healthz", "/docs", "/redoc", "/openapi.json", f"{ASSETS}/swagger-ui.css"):
        assert (await http.get(path)).status_code == 200, path
    assert (await http.get("/nowhere")).status_code == 401
    assert (await http.get("/healthz", headers=bearer("wrong"))).status_code == 200


async def test_until_the_service_has_started_no_key_is_called_wrong(settings: Settings) -> None:
    app = app_without_lifespan(settings, Running())
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=app), base_url="http://localhost"
    ) as http:
        loading = await http.get("/v1/collections", headers=bearer("x"))
        assert (loading.status_code, loading.json()["code"]) == (503, "loading")
        assert (await http.get("/healthz")).status_code == 200


async def test_wrong_keys_from_one_address_are_limited_before_they_are_looked_at(
    http: httpx.AsyncClient, key: Key
) -> None:
    good, late = await key("read"), await key("read")
    assert (await http.get("/v1/collections", headers=bearer(good))).status_code == 200
    for n in range(20):
        wrong = f"pl_{n:012x}_{'0' * 64}"
        assert (await http.get("/v1/collections", headers=bearer(wrong))).status_code == 401
    for headers in (bearer(late), bearer("x"), {"api-key": late}):
        refused = await http.get("/v1/collections", headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (429, "too_many_failures")
        assert int(refused.headers["retry-after"]) >= 1
    assert (await http.get("/v1/collections", headers=bearer(good))).status_code == 200
    assert (await http.get("/v1/collections")).status_code == 401  # it tries nothing


async def test_the_errors_have_the_forms_of_each_client(http: httpx.AsyncClient) -> None:
    openai = (await http.post("/v1/chat/completions", json={})).json()
    assert openai["error"]["code"] == "unauthenticated"
    assert openai["error"]["type"] == "invalid_request_error"
    assert (await http.post("/v2/rerank")).json()["message"].startswith("No valid API key")
    assert (await http.post("/embed")).json().keys() == {"error", "error_type"}
    assert (await http.post("/retrieval")).json()["error_code"] == 1002
    assert (await http.get("/api/tags")).json().keys() == {"error"}
    assert (await http.get("/v1/jobs/x")).headers["content-type"] == "application/problem+json"


async def test_pages_of_allowed_origins_ask_first_without_a_key_and_read_why_it_is_refused(
    storage: Storage, key: Key
) -> None:
    page = "https://front.example"
    settings = storage.settings.model_copy(
        update={"server": ServerSettings(allowed_origins=(page,))}
    )
    async with open_gateway(storage) as gateway:
        app = app_without_lifespan(settings, Running(opened=storage, gateway=gateway))
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app=app), base_url="http://localhost"
        ) as http:
            for header in ("authorization", "api-key"):
                asks = {
                    "Origin": page,
                    "Access-Control-Request-Method": "PUT",
                    "Access-Control-Request-Headers": header,
                }
                assert (await http.options("/v1/query", headers=asks)).status_code == 200
            refused = await http.get("/v1/collections", headers={"Origin": page})
            assert refused.status_code == 401
            assert refused.headers["access-control-allow-origin"] == page
            good = bearer(await key()) | {"Origin": page}
            assert (await http.get("/v1/collections", headers=good)).status_code == 200
            assert (await http.options("/v1/query")).status_code == 401


# Tenants and collections


async def test_a_key_reaches_its_tenant_and_its_collections_alone(
    http: httpx.AsyncClient, key: Key, storage: Storage
) -> None:
    for tenant, name in (("acme", "a"), ("acme", "b"), ("rival", "a"), ("rival", "r")):
        await storage.catalog.collections.claim(Scope(tenant=tenant, collection=name), "e")
    all_, bound = bearer(await key()), bearer(await key("ask", "read", collections=["b", "r"]))
    for headers, names in ((all_, ["a", "b"]), (bound, ["b"])):
        listed = (await http.get("/v1/collections", headers=headers)).json()["collections"]
        assert [each["name"] for each in listed] == names
        models = (await http.get("/v1/models", headers=headers)).json()["data"]
        assert [each["id"] for each in models] == names
        tags = (await http.get("/api/tags", headers=headers)).json()["models"]
        assert [each["name"] for each in tags] == names


async def test_a_collection_beyond_the_key_is_as_one_that_does_not_exist(
    http: httpx.AsyncClient, key: Key, storage: Storage
) -> None:
    await storage.catalog.collections.claim(Scope(tenant="acme", collection="there"), "e")
    job = await storage.catalog.jobs.submit(Scope(tenant="acme", collection="there"), [])
    bound = bearer(await key("ask", "read", "write", collections=["own"])) | {"X-Request-ID": "1"}

    async def seen(method: str, path: str) -> tuple[int, dict[str, str], str]:
        found = await http.request(method, path, headers=bound)
        headers = {k: v for k, v in found.headers.items() if k != "content-length"}
        return found.status_code, headers, found.text

    for method, path in (
        ("GET", "/v1/models/{}"),
        ("GET", "/v1/documents?collection={}"),
        ("GET", "/v1/documents/x?collection={}"),
    ):
        theirs, none = (
            await seen(method, path.format("there")),
            await seen(method, path.format("gone0")),
        )
        assert theirs[0] == 404
        assert theirs[:2] == none[:2]
        assert theirs[2].replace("there'", "gone0'") == none[2]
    for method, path in (("GET", "/v1/jobs/{}"), ("POST", "/v1/jobs/{}/retry")):
        theirs, none = (
            await seen(method, path.format(job)),
            await seen(method, path.format("0" * 32)),
        )
        assert theirs[2].replace(job, "0" * 32) == none[2]


async def test_the_log_names_the_tenant_and_no_key(
    http: httpx.AsyncClient, key: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[dict[str, object]] = []
    monkeypatch.setattr(logs, "request", lambda **line: lines.append(line))
    made = await key("read")
    await http.get("/v1/collections", headers=bearer(made))
    await http.get("/v1/collections", headers=bearer(made + "0"))
    assert [(line["tenant"], line["status"]) for line in lines] == [("acme", 200), ("", 401)]
    assert made not in str(lines)


def test_the_document_of_the_api_names_scheme_and_scope_of_each_operation(
    settings: Settings,
) -> None:
    document: Any = app_without_lifespan(settings, Running()).openapi()
    schemes = document["components"]["securitySchemes"]
    assert (schemes["bearer"]["scheme"], schemes["apiKey"]["name"]) == ("bearer", "api-key")
    paths = document["paths"]
    assert paths["/v1/query"]["post"]["security"] == [{"bearer": ["ask"]}, {"apiKey": ["ask"]}]
    assert paths["/v1/keys"]["get"]["security"] == [{"bearer": ["admin"]}, {"apiKey": ["admin"]}]
    assert "security" not in paths["/healthz"]["get"]
    off: Any = app_without_lifespan(load_settings(), Running()).openapi()
    assert "security" not in off["paths"]["/v1/query"]["post"]
