"""Stored refusals of tokens in both kinds of catalog."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rag.catalog import refused_tokens
from rag.catalog.catalog import Catalog
from rag.catalog.refused_tokens import RefusedTokens
from rag.errors import ConflictError, NotFoundError
from rag.records import Refusal

pytestmark = pytest.mark.anyio
NOW = 1_800_000_000.0
TOKEN = Refusal(
    tenant="acme", kind="token", value="ümlaut/1", refused_at=NOW - 2, expires_at=NOW + 60
)
SUBJECT = Refusal(
    tenant="acme", kind="subject", value="jo", refused_at=NOW - 1, expires_at=NOW + 60
)
ENDED = Refusal(tenant="acme", kind="token", value="ended", refused_at=NOW - 9, expires_at=NOW)


@pytest.fixture
async def stored(catalog: Catalog) -> RefusedTokens:
    for refusal in (SUBJECT, TOKEN, ENDED):
        await catalog.refused_tokens.add(refusal)
    return catalog.refused_tokens


async def refuses(stored: RefusedTokens, tenant: str = "acme", **asked: Any) -> bool:
    usual: dict[str, Any] = {"ids": ["1", "2"], "subject": "ann", "issued_at": NOW, "now": NOW}
    return await stored.refuses(tenant, **usual | asked)


async def test_a_token_is_found_by_its_id_or_by_its_subject_and_time(stored: RefusedTokens) -> None:
    assert not await refuses(stored)
    assert not await refuses(stored, ids=[])
    assert await refuses(stored, ids=["1", TOKEN.value])
    assert not await refuses(stored, ids=["jo", "ended"], subject=TOKEN.value, issued_at=0.0)
    for issued_at, refused in ((0.0, True), (NOW - 1, True), (NOW - 0.9, False)):
        assert await refuses(stored, subject="jo", issued_at=issued_at) == refused
    assert not await refuses(stored, "rival", ids=[TOKEN.value], subject="jo", issued_at=0.0)
    assert not await refuses(stored, ids=[TOKEN.value], now=NOW + 60)


async def test_a_refusal_is_listed_replaced_and_removed(stored: RefusedTokens) -> None:
    assert await stored.of("acme", now=NOW) == [TOKEN, SUBJECT]
    assert await stored.of("rival", now=NOW) == []
    again = replace(TOKEN, refused_at=NOW, expires_at=NOW + 9)
    await stored.add(again)
    assert await stored.of("acme", now=NOW) == [SUBJECT, again]
    for tenant, value in (("rival", TOKEN.value), ("acme", "ended"), ("acme", "jo")):
        with pytest.raises(NotFoundError, match=f"The token '{value}' is not refused") as caught:
            await stored.remove(tenant, "token", value, now=NOW)
        assert caught.value.code == "not_refused"
    assert await stored.remove("acme", "token", TOKEN.value, now=NOW) == again
    assert await stored.of("acme", now=NOW) == [SUBJECT]


async def test_those_that_have_ended_are_removed_of_all_tenants(stored: RefusedTokens) -> None:
    await stored.add(replace(ENDED, tenant="rival"))
    await stored.tidy(now=NOW)
    assert await stored.of("acme", now=0) == [TOKEN, SUBJECT]
    assert await stored.of("rival", now=0) == []


async def test_a_tenant_has_a_bounded_number(
    stored: RefusedTokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refused_tokens, "MOST", 2)
    third = replace(SUBJECT, value="ann", refused_at=NOW)
    with pytest.raises(ConflictError, match="2 tokens and subjects") as caught:
        await stored.add(third)
    assert caught.value.code == "too_many_refused"
    await stored.add(replace(TOKEN, refused_at=NOW))
    await stored.add(replace(third, tenant="rival"))
    await stored.remove("acme", "subject", "jo", now=NOW)
    await stored.add(third)
