"""Keys of an issuer on a real web server: fetched, kept, replaced, and away."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import threading
import time
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import httpx
import pytest

from rag.errors import UpstreamError
from rag.gateway import key_source
from rag.gateway.key_source import MAX_BYTES, KeySource
from rag.gateway.signing_keys import SigningKeys
from tests.servers import wait_for
from tests.tokens import KEYS, TokenIssuer, jwks, new_key, public, token_issuer
from tests.web import Page

pytestmark = pytest.mark.anyio
NEW = new_key("EC", "P-256")


@pytest.fixture
def issuer() -> Iterator[TokenIssuer]:
    with token_issuer() as made:
        yield made


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient() as client:
        yield client


class Clock:
    """Time for `signing_keys`, which tests move."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._moved = 0.0
        monkeypatch.setattr(
            "rag.gateway.signing_keys.monotonic", lambda: time.monotonic() + self._moved
        )

    def later(self, seconds: float) -> None:
        self._moved += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
async def keys(issuer: TokenIssuer, http: httpx.AsyncClient) -> AsyncIterator[SigningKeys]:
    made = opened(issuer, http)
    yield made
    await made.close()


def opened(issuer: TokenIssuer, http: httpx.AsyncClient) -> SigningKeys:
    """Returns keys that are fetched again after 300 s, and end after 3,600 s."""
    source = KeySource(http, issuer=issuer.url, jwks_url=f"{issuer.url}/jwks")
    return SigningKeys(source, refresh_seconds=300, outage_seconds=3600)


async def has(keys: SigningKeys, kid: str) -> bool:
    return await keys.find(kid, "ES256") is not None


async def settled(keys: SigningKeys) -> None:
    """Waits for the fetch that is under way, if one is."""
    if keys._fetching:
        await keys._fetching


# Caching and rotation


async def test_keys_are_fetched_once(keys: SigningKeys, issuer: TokenIssuer) -> None:
    assert issuer.fetches == 0
    assert all([await has(keys, "es256") for _ in range(5)])
    assert await keys.find("es256", "RS256") is None
    assert issuer.fetches == 1


async def test_those_who_ask_at_once_share_one_fetch(
    keys: SigningKeys, issuer: TokenIssuer
) -> None:
    assert all(await asyncio.gather(*(has(keys, "es256") for _ in range(50))))
    assert issuer.fetches == 1


async def test_an_unknown_key_is_fetched(
    keys: SigningKeys, issuer: TokenIssuer, clock: Clock
) -> None:
    assert await has(keys, "es256")
    issuer.publish(public(NEW, "new"))
    assert not await has(keys, "new")  # just fetched
    clock.later(11)
    assert await has(keys, "new")
    assert not await has(keys, "es256")  # no longer published
    assert issuer.fetches == 2


async def test_invented_keys_cause_one_fetch_in_ten_seconds(
    keys: SigningKeys, issuer: TokenIssuer, clock: Clock
) -> None:
    for _ in range(3):
        clock.later(11)
        assert not any(await asyncio.gather(*(has(keys, f"no-{n}") for n in range(200))))
    assert issuer.fetches == 3


async def test_old_keys_are_used_while_new_ones_are_fetched(
    keys: SigningKeys, issuer: TokenIssuer, clock: Clock
) -> None:
    assert await has(keys, "es256")
    issuer.publish(public(NEW, "new"))
    clock.later(301)
    assert await has(keys, "es256")
    await settled(keys)
    assert not await has(keys, "es256")
    assert await has(keys, "new")
    assert issuer.fetches == 2


async def test_whoever_hangs_up_does_not_end_the_fetch_of_the_others(
    keys: SigningKeys, issuer: TokenIssuer
) -> None:
    go_on = slow(issuer)
    first, second = (asyncio.create_task(has(keys, "es256")) for _ in range(2))
    await asyncio.to_thread(wait_for, lambda: issuer.fetches)
    first.cancel()
    go_on.set()
    assert await second
    assert first.cancelled()
    assert issuer.fetches == 1


# An issuer that is away


def slow(issuer: TokenIssuer) -> threading.Event:
    """Makes the issuer wait for the event before it sends its keys."""
    go_on = threading.Event()
    body = issuer.server.pages["/jwks"].body

    def write(request: BaseHTTPRequestHandler) -> None:
        go_on.wait(60)
        request.wfile.write(body)

    issuer.server.pages["/jwks"] = Page(write=write)
    return go_on


async def test_keys_outlive_an_outage_of_their_issuer_for_a_bounded_time(
    keys: SigningKeys, issuer: TokenIssuer, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    assert await has(keys, "es256")
    issuer.server.pages["/jwks"] = Page(b"", 500)
    for _ in range(5):
        clock.later(700)
        assert await has(keys, "es256")
        await settled(keys)
    assert "/jwks answers 500" in caplog.text
    clock.later(200)
    for _ in range(3):
        with pytest.raises(UpstreamError) as caught:
            await has(keys, "es256")
        assert (caught.value.code, caught.value.retry_after) == ("issuer_unavailable", 10)
        assert issuer.url not in str(caught.value)
    assert issuer.fetches == 7
    issuer.publish(public(NEW, "new"))
    clock.later(11)
    assert await has(keys, "new")


async def test_an_unknown_key_is_not_called_wrong_while_its_issuer_is_away(
    keys: SigningKeys, issuer: TokenIssuer, clock: Clock
) -> None:
    assert await has(keys, "es256")
    published = issuer.server.pages["/jwks"]
    issuer.server.pages["/jwks"] = Page(b"", 503)
    clock.later(11)
    with pytest.raises(UpstreamError):
        await has(keys, "new")
    assert await has(keys, "es256")
    issuer.server.pages["/jwks"] = published
    clock.later(11)
    assert not await has(keys, "new")


async def test_nothing_else_waits_for_a_slow_issuer(
    keys: SigningKeys, issuer: TokenIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_source, "TIMEOUT_SECONDS", 0.3)
    go_on = slow(issuer)
    asking = asyncio.create_task(has(keys, "es256"))
    turns = 0
    while not asking.done():
        await asyncio.sleep(0.001)
        turns += 1
    go_on.set()
    assert turns > 3
    with pytest.raises(UpstreamError):
        await asking


BIG = {"keys": [public(KEYS["ES256"], "es256")], "more": "x" * MAX_BYTES}
ENDLESS = "an endless document"


@pytest.mark.parametrize(
    "case",
    [
        (Page(b"", 404), "/jwks answers 404"),
        (Page(b"", 302, {"Location": "/elsewhere"}), "/jwks answers 302"),
        (Page(b""), "it is not JSON"),
        (Page(b"<html>Sign in</html>"), "it is not JSON"),
        (Page(b'{"keys": []}'), "none of its 0 keys can check a token"),
        (Page(json.dumps(BIG).encode()), "/jwks has more than 524,288 bytes"),
        (Page(gzip.compress(b"[" * 10_000_000), 200, {"Content-Encoding": "gzip"}), "not JSON"),
        (jwks(*({"kty": "EC", "kid": str(n)} for n in range(101))), "more than 100"),
        (ENDLESS, "/jwks has more than 524,288 bytes"),
    ],
    ids=lambda case: case[1],
)
async def test_known_keys_stay_whatever_the_issuer_answers(
    keys: SigningKeys,
    issuer: TokenIssuer,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
    case: tuple[Any, str],
) -> None:
    page, says = case
    assert await has(keys, "es256")
    issuer.server.pages["/elsewhere"] = issuer.server.pages["/jwks"]
    issuer.server.pages["/jwks"] = Page(write=endless) if page is ENDLESS else page
    clock.later(301)
    with caplog.at_level(logging.WARNING):
        assert await has(keys, "es256")
        await settled(keys)
    assert says in caplog.text
    assert await has(keys, "es256")
    assert "/elsewhere" not in [path for path, _ in issuer.server.requests]


def endless(request: BaseHTTPRequestHandler) -> None:
    while True:  # until the client closes the connection
        request.wfile.write(b'{"keys": [' + b" " * 65_536)


async def test_keys_may_grow_until_there_are_too_many(
    keys: SigningKeys, issuer: TokenIssuer, clock: Clock
) -> None:
    listed = [public(KEYS["ES256"], "es256")]
    for size in (1, 50, 100, 101, 200):
        listed += [listed[0] | {"kid": f"{n}"} for n in range(len(listed), size)]
        issuer.publish(*listed)
        clock.later(301)
        assert await has(keys, "es256")
        await settled(keys)
        assert len(keys._keys) == min(size, 100)


async def test_nobody_listens_at_the_address(http: httpx.AsyncClient) -> None:
    with token_issuer() as gone:
        pass
    keys = opened(gone, http)
    with pytest.raises(UpstreamError):
        await has(keys, "es256")


# Discovery


async def discovered(http: httpx.AsyncClient, issuer: TokenIssuer, url: str = "") -> list[str]:
    """Returns the key ids of an issuer, found by discovery."""
    source = KeySource(http, issuer=url or issuer.url, jwks_url=None)
    return sorted(await source.fetch())


def configure(issuer: TokenIssuer, path: str = "", /, **changes: Any) -> None:
    found = {"issuer": issuer.url, "jwks_uri": f"{issuer.url}/jwks"} | changes
    page = Page(json.dumps(found).encode())
    issuer.server.pages[f"{path}/.well-known/openid-configuration"] = page


async def test_the_issuers_configuration_names_its_keys(
    http: httpx.AsyncClient, issuer: TokenIssuer
) -> None:
    configure(issuer)
    assert await discovered(http, issuer) == ["eddsa", "es256", "ps256", "rs256"]
    realm = f"{issuer.url}/realms/acme/"
    configure(issuer, "/realms/acme", issuer=realm)
    assert await discovered(http, issuer, realm) == ["eddsa", "es256", "ps256", "rs256"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"issuer": "https://elsewhere.example"}, "names another issuer"),
        ({"issuer": None}, "names another issuer"),
        ({"jwks_uri": None}, "no https address of keys"),
        ({"jwks_uri": ["https://a.example"]}, "no https address of keys"),
        ({"jwks_uri": "http://keys.example/jwks"}, "no https address of keys"),
        ({"jwks_uri": "http://10.0.0.1/jwks"}, "no https address of keys"),
        ({"jwks_uri": "file:///etc/passwd"}, "no https address of keys"),
        ({"jwks_uri": "https://user:word@keys.example/jwks"}, "no https address of keys"),
        ({"jwks_uri": "https://[::1"}, "no https address of keys"),
    ],
)
async def test_a_configuration_that_does_not_fit_is_refused(
    http: httpx.AsyncClient, issuer: TokenIssuer, changes: dict[str, Any], says: str
) -> None:
    configure(issuer, **changes)
    with pytest.raises(UpstreamError) as caught:
        await discovered(http, issuer)
    assert says in caught.value.detail
    assert issuer.fetches == 0
