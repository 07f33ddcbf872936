"""Tokens that administrators refuse before they expire: checked, looked up, remembered."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rag.build.gateway import open_tokens
from rag.catalog.refused_tokens import RefusedTokens
from rag.catalog.sqlite_database import SqliteDatabase
from rag.errors import NotFoundError, UnauthenticatedError, UpstreamError
from rag.gateway import credential_cache
from rag.gateway.refusals import TokenRefusals
from rag.protocols import Authenticator
from rag.records import Refusal, RefusalKind
from rag.types import Principal
from tests.tokens import TokenIssuer, token_issuer
from tests.waiting import until

pytestmark = pytest.mark.anyio
SKEW = 60
ADMIN, RIVAL = Principal(tenant="acme"), Principal(tenant="rival")


class Counting(RefusedTokens):
    """Refused tokens that count how often one is looked up, and may fail."""

    looked_up = 0
    away = False

    async def refuses(self, tenant: str, **asked: Any) -> bool:
        self.looked_up += 1
        if self.away:
            raise UpstreamError("PostgreSQL does not answer.")
        return await super().refuses(tenant, **asked)


@dataclass
class Setup:
    issuer: TokenIssuer
    stored: Counting
    refusals: TokenRefusals
    tokens: Authenticator

    async def accepts(self, token: str) -> bool:
        try:
            return (await self.tokens.authenticate(token)).tenant == "acme"
        except UnauthenticatedError:
            return False

    async def refuse(self, kind: RefusalKind, value: str, *, before: float = 0) -> None:
        """Refuses something, as if so many seconds ago."""
        at = time.time() - before
        refusal = Refusal(
            tenant="acme", kind=kind, value=value, refused_at=at, expires_at=at + 3600
        )
        await self.stored.add(refusal)


@pytest.fixture(scope="module")
def issuer() -> Iterator[TokenIssuer]:
    with token_issuer() as made:
        yield made


@pytest.fixture
async def here(issuer: TokenIssuer, folder: Path) -> AsyncIterator[Setup]:
    database = SqliteDatabase(folder / "catalog.db")
    await database.open()
    stored = Counting(database)
    refusals = TokenRefusals(stored)
    async with open_tokens(issuer.settings(tenant="acme", skew=SKEW), refusals) as tokens:
        yield Setup(issuer, stored, refusals, tokens)
    await database.close()


async def test_one_token_is_refused_by_its_id_until_it_is_allowed(here: Setup) -> None:
    lost, other = here.issuer.token(jti="a/1"), here.issuer.token(jti="a/2")
    assert [await here.accepts(each) for each in (lost, other)] == [True, True]
    refusal = await here.refusals.refuse(ADMIN, "token", "a/1", seconds=60)
    assert [await here.accepts(each) for each in (lost, other)] == [False, True]
    assert await here.refusals.of(ADMIN) == [refusal]
    assert await here.refusals.allow(ADMIN, "token", "a/1") == refusal
    assert [await here.accepts(each) for each in (lost, other)] == [True, True]
    with pytest.raises(NotFoundError) as caught:
        await here.refusals.allow(ADMIN, "token", "a/1")
    assert caught.value.code == "not_refused"


async def test_the_id_may_be_that_of_entra_id(here: Setup) -> None:
    await here.refusals.refuse(ADMIN, "token", "AbC-1", seconds=60)
    assert not await here.accepts(here.issuer.token(uti="AbC-1"))
    assert not await here.accepts(here.issuer.token(jti="x", uti="AbC-1"))
    assert await here.accepts(here.issuer.token(sub="AbC-1"))


async def test_tokens_of_a_subject_are_refused_that_were_issued_before(here: Setup) -> None:
    now = int(time.time())
    await here.refuse("subject", "jo", before=100)
    assert not await here.accepts(here.issuer.token(iat=now - 500))
    assert not await here.accepts(here.issuer.token(iat=now - 100 + SKEW - 2))  # clocks differ
    assert await here.accepts(here.issuer.token(iat=now - 100 + SKEW + 2))
    assert await here.accepts(here.issuer.token(iat=now - 500, sub="ann"))
    await here.refuse("subject", "jo")  # once more
    assert not await here.accepts(here.issuer.token(iat=now - 1))


@pytest.mark.parametrize("iat", [None, -(10**400)])
async def test_a_token_that_may_be_older_is_refused(here: Setup, iat: int | None) -> None:
    token = here.issuer.token(iat=iat)
    assert await here.accepts(token)
    await here.refusals.refuse(ADMIN, "subject", "jo", seconds=60)
    assert not await here.accepts(token)


async def test_an_id_that_no_database_takes_is_not_looked_for(here: Setup) -> None:
    for id_ in ("\0", "\ud800", "x" * 256, ""):
        assert await here.accepts(here.issuer.token(jti=id_))


async def test_tenants_refuse_their_own_tokens_alone(here: Setup) -> None:
    token = here.issuer.token(jti="1")
    theirs = await here.refusals.refuse(RIVAL, "token", "1", seconds=60)
    await here.refusals.refuse(RIVAL, "subject", "jo", seconds=60)
    assert await here.accepts(token)
    assert await here.refusals.of(ADMIN) == []
    with pytest.raises(NotFoundError):
        await here.refusals.allow(ADMIN, "token", "1")
    assert theirs in await here.refusals.of(RIVAL)


async def test_another_process_refuses_a_token_when_its_cache_ends(
    here: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = here.issuer.token(jti="1")
    assert all([await here.accepts(token) for _ in range(3)])
    assert here.stored.looked_up == 1
    await TokenRefusals(here.stored).refuse(ADMIN, "token", "1", seconds=60)
    assert await here.accepts(token)  # still warm
    soon = time.monotonic() + credential_cache.CACHE_SECONDS
    monkeypatch.setattr(time, "monotonic", lambda: soon + 0.001)
    assert not any([await here.accepts(token) for _ in range(3)])
    assert here.stored.looked_up == 2
    assert token not in repr(vars(here.refusals._known))


async def test_a_token_that_is_not_valid_is_not_looked_up(here: Setup) -> None:
    for token in (here.issuer.token(aud="other"), here.issuer.token(jti=7), "x.y.z"):
        assert not await here.accepts(token)
    assert here.stored.looked_up == 0


async def test_without_the_catalog_no_token_is_accepted_and_none_is_called_wrong(
    here: Setup,
) -> None:
    here.stored.away = True
    with pytest.raises(UpstreamError):
        await here.tokens.authenticate(here.issuer.token())
    here.stored.away = False
    assert await here.accepts(here.issuer.token())


async def test_refusals_that_have_ended_are_removed_beside_the_service(here: Setup) -> None:
    now = time.time()
    ended = Refusal(tenant="acme", kind="token", value="1", refused_at=now - 9, expires_at=now - 1)
    await here.stored.add(ended)

    async def is_gone() -> bool:
        return not await here.stored.of("acme", now=now - 5)

    assert not await is_gone()
    async with here.refusals.tidying():
        await until(is_gone)
