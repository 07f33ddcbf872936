"""Keys are looked up, remembered for seconds, and forgotten when they change."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import pytest

from rag.catalog.catalog import Catalog
from rag.catalog.keys import Keys
from rag.errors import UnauthenticatedError, UpstreamError
from rag.gateway import credential_cache
from rag.gateway.api_keys import ApiKeys, Grant
from rag.gateway.key_authenticator import KeyAuthenticator
from rag.records import StoredKey
from rag.types import Principal

pytestmark = pytest.mark.anyio
HOST = Principal(tenant="acme")
ASK = Grant(name="n", scopes=["ask"])


class Counting(Keys):
    """Keys that count how often one is looked up, and may fail or wait before they answer."""

    def __init__(self, inner: Keys) -> None:
        super().__init__(inner._db)
        self.looked_up = 0
        self.away = False
        self.read, self.go_on = asyncio.Event(), asyncio.Event()
        self.go_on.set()

    async def find(self, id_: str) -> StoredKey | None:
        self.looked_up += 1
        if self.away:
            raise UpstreamError("PostgreSQL does not answer.")
        found = await super().find(id_)
        self.read.set()
        await self.go_on.wait()
        return found


@dataclass
class Setup:
    keys: Counting
    authenticator: KeyAuthenticator
    manager: ApiKeys

    async def accepts(self, key: str) -> bool:
        try:
            return (await self.authenticator.authenticate(key)).tenant == "acme"
        except UnauthenticatedError:
            return False


@pytest.fixture
def here(catalog: Catalog) -> Setup:
    keys = Counting(catalog.keys)
    authenticator = KeyAuthenticator(keys)
    return Setup(keys, authenticator, ApiKeys(catalog.keys, changed=authenticator.forget))


@pytest.fixture
def no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ends the cache's life: as seconds later."""
    monkeypatch.setattr(credential_cache, "CACHE_SECONDS", -1.0)


def at(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Moves the wall clock, seen from now."""
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + seconds)


async def test_a_warm_key_is_not_looked_up(here: Setup) -> None:
    _, key = await here.manager.create(HOST, ASK)
    assert all([await here.accepts(key) for _ in range(5)])
    assert here.keys.looked_up == 1


async def test_a_text_without_the_form_of_a_key_is_not_looked_up(here: Setup) -> None:
    for text in ("x", f"pl_{'0' * 12}_{'0' * 63}", f"pl_{'0' * 12}_{'0' * 64} "):
        assert not await here.accepts(text)
    assert here.keys.looked_up == 0


async def test_wrong_keys_are_not_remembered(here: Setup) -> None:
    wrong = f"pl_{'0' * 12}_{'0' * 64}"
    assert [await here.accepts(wrong) for _ in range(3)] == [False] * 3
    assert not here.authenticator._known


async def test_a_revoked_key_is_refused_at_once_in_this_process(here: Setup) -> None:
    record, key = await here.manager.create(HOST, ASK)
    _, other = await here.manager.create(HOST, ASK)
    assert await here.accepts(key)
    assert await here.accepts(other)
    await here.manager.revoke(HOST, record.id)
    assert not await here.accepts(key)
    assert await here.accepts(other)


async def test_a_key_revoked_while_it_is_looked_up_is_not_remembered(here: Setup) -> None:
    record, key = await here.manager.create(HOST, ASK)
    here.keys.go_on.clear()
    asking = asyncio.create_task(here.accepts(key))
    await here.keys.read.wait()
    await here.manager.revoke(HOST, record.id)
    here.keys.go_on.set()
    assert await asking  # it came before
    assert not await here.accepts(key)


async def test_another_process_refuses_a_revoked_key_when_its_cache_ends(
    here: Setup, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = ApiKeys(catalog.keys, changed=lambda _: None)
    record, key = await elsewhere.create(HOST, ASK)
    assert await here.accepts(key)
    await elsewhere.revoke(HOST, record.id)
    assert await here.accepts(key)  # still warm
    soon = time.monotonic() + credential_cache.CACHE_SECONDS
    monkeypatch.setattr(time, "monotonic", lambda: soon + 0.001)
    assert not await here.accepts(key)
    assert not here.authenticator._known


async def test_a_key_expires_also_while_it_is_warm(
    here: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, key = await here.manager.create(HOST, Grant(name="n", scopes=["ask"], expires_in=60))
    assert await here.accepts(key)
    at(monkeypatch, 61)
    assert not await here.accepts(key)
    here.authenticator.forget(record.id)
    assert not await here.accepts(key)


async def test_a_rotated_key_works_until_the_overlap_ends(
    here: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, first = await here.manager.create(HOST, ASK)
    assert await here.accepts(first)
    _, second = await here.manager.rotate(HOST, record.id, overlap=60)
    assert first != second
    assert await here.accepts(first)
    assert await here.accepts(second)
    at(monkeypatch, 61)
    assert not await here.accepts(first)
    assert await here.accepts(second)


async def test_only_the_last_key_before_a_rotation_is_accepted(here: Setup) -> None:
    record, first = await here.manager.create(HOST, ASK)
    _, second = await here.manager.rotate(HOST, record.id, overlap=60)
    _, third = await here.manager.rotate(HOST, record.id, overlap=60)
    assert [await here.accepts(key) for key in (first, second, third)] == [False, True, True]
    _, fourth = await here.manager.rotate(HOST, record.id, overlap=0)
    assert [await here.accepts(key) for key in (third, fourth)] == [False, True]
    await here.manager.revoke(HOST, record.id)
    assert [await here.accepts(key) for key in (third, fourth)] == [False, False]


@pytest.mark.usefixtures("no_cache")
async def test_without_the_catalog_no_key_is_accepted_and_none_is_called_wrong(
    here: Setup,
) -> None:
    _, key = await here.manager.create(HOST, ASK)
    assert await here.accepts(key)
    here.keys.away = True
    with pytest.raises(UpstreamError):
        await here.authenticator.authenticate(key)
    here.keys.away = False
    assert await here.accepts(key)


async def test_the_cache_is_bounded(here: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credential_cache, "CACHED", 2)
    made = [(await here.manager.create(HOST, ASK))[1] for _ in range(4)]
    assert all([await here.accepts(key) for key in made])
    assert len(here.authenticator._known) == 2
    assert not any(key in repr(vars(here.authenticator._known)) for key in made)


async def test_the_last_use_is_written_aside_and_at_the_end(here: Setup) -> None:
    record, key = await here.manager.create(HOST, ASK)
    async with here.authenticator.stamping():
        assert await here.accepts(key)
        [unwritten] = await here.manager.of(HOST)
        assert unwritten.last_used_at is None
    [written] = await here.manager.of(HOST)
    assert written.last_used_at is not None
    assert written.last_used_at >= record.created_at


async def test_a_use_that_cannot_be_written_is_written_later(
    here: Setup, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _, key = await here.manager.create(HOST, ASK)
    assert await here.accepts(key)

    async def fail(_times: object) -> None:
        raise UpstreamError("PostgreSQL does not answer.")

    with monkeypatch.context() as patched:
        patched.setattr(here.keys, "used", fail)
        await here.authenticator.stamp()
    assert "PostgreSQL does not answer." in caplog.text
    await here.authenticator.stamp()
    [written] = await here.manager.of(HOST)
    assert written.last_used_at is not None
