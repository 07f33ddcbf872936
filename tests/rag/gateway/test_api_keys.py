"""Keys: their form, and who may make which."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest

from rag.catalog.catalog import Catalog
from rag.errors import ConflictError, ForbiddenError, NotFoundError
from rag.gateway.api_keys import ApiKeys, Grant, digest_of, id_of
from rag.types import Permission, Principal

pytestmark = pytest.mark.anyio
ADMIN = Principal(tenant="acme", scopes=frozenset(["admin", "ask"]))
BOUND = replace(ADMIN, collections=frozenset(["a"]))


@pytest.fixture
def changed() -> list[str]:
    return []


@pytest.fixture
def keys(catalog: Catalog, changed: list[str]) -> ApiKeys:
    return ApiKeys(catalog.keys, changed=changed.append)


async def test_a_key_is_256_random_bits_of_which_only_the_hash_is_stored(
    keys: ApiKeys, catalog: Catalog
) -> None:
    made = [await keys.create(ADMIN, Grant(name="n", scopes=["ask"])) for _ in range(3)]
    assert len({key for _, key in made}) == 3
    for record, key in made:
        assert re.fullmatch(r"pl_[0-9a-f]{12}_[0-9a-f]{64}", key)
        assert id_of(key) == record.id
        stored = await catalog.keys.find(record.id)
        assert stored is not None
        assert stored.digest == digest_of(key) == sha256(key.encode()).hexdigest()
        assert key.rpartition("_")[2] not in repr(stored)


async def test_a_key_has_what_it_was_made_with(keys: ApiKeys) -> None:
    grant = Grant(
        name="n", scopes=["ask"], collections=["a"], subject="jo", groups=["g"], expires_in=60
    )
    before = time.time()
    record, _ = await keys.create(ADMIN, grant)
    assert record.expires_at is not None
    assert before + 60 <= record.expires_at <= time.time() + 60
    assert record.principal() == Principal(
        tenant="acme",
        subject="jo",
        groups=frozenset(["g"]),
        scopes=frozenset(["ask"]),
        collections=frozenset(["a"]),
        key_id=record.id,
    )
    assert await keys.of(ADMIN) == [record]


@pytest.mark.parametrize("scopes", [["write"], ["ask", "metrics"], ["admin", "read"]])
async def test_a_key_permits_no_more_than_its_maker_may_do(
    keys: ApiKeys, scopes: list[Permission]
) -> None:
    with pytest.raises(ForbiddenError, match=r"lacks (write|metrics|read)\."):
        await keys.create(ADMIN, Grant(name="n", scopes=scopes))
    whole = replace(ADMIN, scopes=Principal().scopes)
    record, _ = await keys.create(whole, Grant(name="n", scopes=scopes))
    with pytest.raises(ForbiddenError, match="lacks"):  # it would return such a key
        await keys.rotate(ADMIN, record.id, overlap=0)
    assert (await keys.revoke(ADMIN, record.id)).revoked_at


async def test_who_is_bound_to_collections_manages_no_keys(keys: ApiKeys) -> None:
    record, _ = await keys.create(ADMIN, Grant(name="n", scopes=["ask"]))
    for call in (
        keys.create(BOUND, Grant(name="n", scopes=["ask"], collections=["a"])),
        keys.rotate(BOUND, record.id, overlap=0),
        keys.revoke(BOUND, record.id),
        keys.of(BOUND),
    ):
        with pytest.raises(ForbiddenError, match="bound to collections"):
            await call
    with pytest.raises(ConflictError, match="reaches all collections"):
        await keys.create(ADMIN, Grant(name="n", scopes=["admin"], collections=["a"]))


async def test_each_change_is_announced(keys: ApiKeys, changed: list[str]) -> None:
    record, _ = await keys.create(ADMIN, Grant(name="n", scopes=["ask"]))
    assert changed == []
    await keys.rotate(ADMIN, record.id, overlap=60)
    await keys.revoke(ADMIN, record.id)
    assert changed == [record.id, record.id]


async def test_a_key_of_another_tenant_is_not_found(keys: ApiKeys) -> None:
    record, _ = await keys.create(ADMIN, Grant(name="n", scopes=["ask"]))
    rival: Any = replace(ADMIN, tenant="rival")
    for call in (keys.rotate(rival, record.id, overlap=0), keys.revoke(rival, record.id)):
        with pytest.raises(NotFoundError):
            await call
    assert await keys.of(rival) == []
