"""Random calls of five callers in two tenants: each sees only what it may read."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from rag.api.app import app_without_lifespan
from rag.api.deps import Running
from rag.settings.tree import load_settings
from tests.isolation_calls import ACLS, Calls
from tests.isolation_routes import CALLS, one
from tests.isolation_world import Caller, Document, World
from tests.servers import NO_CERTIFICATES, PATIENCE, Json, rag, serving
from tests.shallow_minilm import shallow

ON = {"RAG_GATEWAY__ENABLED": "true"}
ADMINS = (
    Caller(name="acme's admin", tenant="acme", subject="ada", admin=True),
    Caller(name="rival's admin", tenant="rival", subject="rex", admin=True),
)
USERS = (
    Caller(name="anna", tenant="acme", subject="anna", groups=frozenset({"sales"})),
    Caller(
        name="carl", tenant="acme", subject="carl", groups=frozenset({"sales", "law"}),
        collections=frozenset({"shared", "plans"}),
    ),
    # The same name and groups as in the other tenant.
    Caller(name="rival's anna", tenant="rival", subject="anna", groups=frozenset({"sales"})),
)  # fmt: skip
COLLECTIONS = {"acme": ("shared", "plans", "inner"), "rival": ("shared", "plans", "vault")}
"""Each tenant has one that the other has not; one of acme's is beyond carl's key."""


def test_every_route_has_a_call() -> None:
    routes = app_without_lifespan(load_settings(), Running()).routes
    assert set(CALLS) == {
        f"{method} {getattr(route, 'path', '')}"
        for route in routes
        for method in getattr(route, "methods", None) or ["*"]
    }


def admin_with_key(admin: Caller, data: Path) -> Caller:
    scopes = "ask,read,write,admin,metrics"
    options = ("--scopes", scopes, "--tenant", admin.tenant, "--subject", admin.subject)
    made = rag("keys", "create", "admin", *options, "--json", data=data)
    assert made.returncode == 0, made.stderr
    key: Json = json.loads(made.stdout)
    return replace(admin, key=key["key"], key_id=key["id"])


def user_with_key(user: Caller, admin: Caller, http: httpx.Client) -> Caller:
    body = {
        "name": user.name,
        "scopes": ["ask", "read", "write"],
        "subject": user.subject,
        "groups": sorted(user.groups),
        "collections": sorted(user.collections) if user.collections else None,
    }
    headers = {"Authorization": f"Bearer {admin.key}"}
    made = http.post("/v1/keys", json=body, headers=headers)
    assert made.status_code == 201, made.text
    return replace(user, key=made.json()["key"], key_id=made.json()["id"])


def fill(calls: Calls, admin: Caller) -> None:
    """Stores documents of which the tenants have the same ids, and a third the same bytes."""
    for collection in COLLECTIONS[admin.tenant]:
        for n in range(8):
            secret = f"zq00000{n}z" if n % 3 == 0 else calls.secret()
            text = f"The harbour is shared by {secret}." if n % 3 == 0 else calls.text(secret)
            document = Document(
                tenant=admin.tenant,
                collection=collection,
                id=f"d{n:02}",
                text=text,
                title=f"Notes of {secret}",
                uri=f"doc:{secret}",
                acl=calls.rng.choice(ACLS),
                fields=() if n % 3 == 0 else (calls.field(),),
            )
            assert calls.upload(admin, document) == "succeeded"


def attack(data: Path, *, seed: int, least: int) -> Counter[str]:
    """Makes at least so many calls; returns their numbers."""
    admins = {each.tenant: admin_with_key(each, data) for each in ADMINS}
    with (
        serving(data, env=ON | shallow(data.parent)) as server,
        httpx.Client(base_url=server.url, timeout=PATIENCE, verify=NO_CERTIFICATES) as http,
    ):
        users = [user_with_key(each, admins[each.tenant], http) for each in USERS]
        world = World(callers=[*admins.values(), *users])
        world.owners |= {each.key_id: each for each in world.callers}
        calls = Calls(http, world, seed)
        for admin in admins.values():
            fill(calls, admin)
        for each in calls.rng.sample(sorted(CALLS), len(CALLS)):
            CALLS[each](calls)
        while calls.counts["calls"] < least:
            one(calls)
    print(f"seed {seed}: {dict(calls.counts)}")
    return calls.counts


def check(counts: Counter[str]) -> None:
    """Checks that the calls were such as could have failed."""
    for caller in (*ADMINS, *USERS):
        assert counts[f"pairs {caller.name}"] > 0
    for kind in ("2xx", "4xx", "secrets of one's own", "documents succeeded", "documents failed"):
        assert counts[kind] > 0, kind


def test_no_call_shows_what_its_caller_may_not_read(tmp_path: Path) -> None:
    check(attack(tmp_path / "data", seed=1, least=700))


@pytest.mark.attack
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(2, 10))
def test_none_of_a_hundred_thousand_calls_does(tmp_path: Path, seed: int) -> None:
    check(attack(tmp_path / "data", seed=seed, least=12_500))
