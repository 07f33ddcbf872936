"""Stored API keys in both kinds of catalog."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rag.catalog.catalog import Catalog
from rag.catalog.keys import Keys
from rag.errors import ConflictError, NotFoundError
from rag.records import KeyRecord, StoredKey

pytestmark = pytest.mark.anyio
NOW = 1_800_000_000.0
FULL = KeyRecord(
    id="full",
    tenant="acme",
    name="Käse “1”",
    scopes=("ask", "read"),
    collections=("a", "b"),
    subject="jo",
    groups=("g", "h"),
    created_at=NOW,
    expires_at=NOW + 60,
)
PLAIN = KeyRecord(id="plain", tenant="acme", name="p", scopes=("admin",), created_at=NOW + 1)
RIVAL = replace(PLAIN, id="rival", tenant="rival")


@pytest.fixture
async def keys(catalog: Catalog) -> Keys:
    for record in (FULL, PLAIN, RIVAL):
        await catalog.keys.add(record, f"digest of {record.id}")
    return catalog.keys


async def test_a_key_is_found_by_its_id_whoever_has_it(keys: Keys) -> None:
    assert await keys.find("full") == StoredKey(FULL, "digest of full", None)
    assert await keys.find("rival") == StoredKey(RIVAL, "digest of rival", None)
    assert await keys.find("none") is None
    assert await keys.find("") is None


async def test_a_tenant_has_its_own_keys_oldest_first(keys: Keys) -> None:
    assert await keys.of("acme") == [FULL, PLAIN]
    assert await keys.of("rival") == [RIVAL]
    assert await keys.of("nobody") == []
    assert await keys.get("acme", "plain") == PLAIN


async def test_a_key_of_another_tenant_is_as_unknown_as_none(keys: Keys) -> None:
    for id_ in ("rival", "none"):
        for call in (
            keys.get("acme", id_),
            keys.rotate("acme", id_, "x", now=NOW, until=NOW),
            keys.revoke("acme", id_, now=NOW),
        ):
            with pytest.raises(NotFoundError, match=f"There is no key '{id_}'"):
                await call
    assert await keys.find("rival") == StoredKey(RIVAL, "digest of rival", None)


async def test_a_rotation_keeps_the_key_before_and_none_before_that(keys: Keys) -> None:
    rotated = await keys.rotate("acme", "full", "second", now=NOW, until=NOW + 9)
    assert rotated == replace(FULL, previous_until=NOW + 9)
    assert await keys.find("full") == StoredKey(rotated, "second", "digest of full")
    again = await keys.rotate("acme", "full", "third", now=NOW + 1, until=NOW + 8)
    assert await keys.find("full") == StoredKey(again, "third", "second")


async def test_a_key_that_has_ended_is_not_rotated(keys: Keys) -> None:
    revoked = await keys.revoke("acme", "plain", now=NOW + 5)
    assert revoked == replace(PLAIN, revoked_at=NOW + 5)
    assert await keys.revoke("acme", "plain", now=NOW + 7) == revoked
    for id_, now in (("plain", NOW), ("full", NOW + 60)):
        with pytest.raises(ConflictError, match="make a new one") as caught:
            await keys.rotate("acme", id_, "new", now=now, until=now)
        assert caught.value.code == "key_ended"
    assert await keys.find("full") == StoredKey(FULL, "digest of full", None)


async def test_times_of_use_are_stored_for_several_keys_at_once(keys: Keys) -> None:
    await keys.used({"full": NOW + 3, "rival": NOW + 4, "none": NOW})
    assert (await keys.get("acme", "full")).last_used_at == NOW + 3
    assert (await keys.get("rival", "rival")).last_used_at == NOW + 4
    assert (await keys.get("acme", "plain")).last_used_at is None
