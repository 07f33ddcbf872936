"""Authenticators: each returns the callers that it knows, and one error for all others."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from rag.build.gateway import open_tokens
from rag.catalog.catalog import Catalog
from rag.errors import UnauthenticatedError
from rag.gateway.api_keys import ApiKeys, Grant
from rag.gateway.credentials import KeysAndTokens
from rag.gateway.key_authenticator import KeyAuthenticator
from rag.gateway.refusals import TokenRefusals
from rag.protocols import Authenticator
from rag.types import Principal
from tests.tokens import token_issuer

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["keys", "tokens", "keys beside tokens", "tokens beside keys"])
async def known(
    request: pytest.FixtureRequest, catalog: Catalog
) -> AsyncIterator[tuple[Authenticator, str, Principal]]:
    """An authenticator, a credential that it knows, and whose that is."""
    manager = ApiKeys(catalog.keys, changed=lambda _: None)
    record, key = await manager.create(Principal(tenant="acme"), Grant(name="n", scopes=["ask"]))
    keys = KeyAuthenticator(catalog.keys)
    with token_issuer() as issuer:
        settings = issuer.settings(tenant="acme", default_scopes=("ask",))
        async with open_tokens(settings, TokenRefusals(catalog.refused_tokens)) as tokens:
            both = KeysAndTokens(keys=keys, tokens=tokens)
            by_key = (key, record.principal())
            user = Principal(tenant="acme", subject="jo", scopes=frozenset({"ask"}))
            by_token = (issuer.token("RS256"), user)
            cases: dict[str, tuple[Authenticator, str, Principal]] = {
                "keys": (keys, *by_key),
                "tokens": (tokens, *by_token),
                "keys beside tokens": (both, *by_key),
                "tokens beside keys": (both, *by_token),
            }
            yield cases[request.param]


async def test_a_known_credential_is_its_callers_each_time(
    known: tuple[Authenticator, str, Principal],
) -> None:
    authenticator, credential, principal = known
    assert await authenticator.authenticate(credential) == principal
    assert await authenticator.authenticate(credential) == principal


async def test_any_other_text_is_refused_with_one_message(
    known: tuple[Authenticator, str, Principal],
) -> None:
    authenticator, credential, principal = known
    changed = credential[:-1] + ("0" if credential[-1] != "0" else "1")
    wrong = [
        *("", "x", "pl_", "pl__", "none", "Bearer", "\0", "é", "\N{FULLWIDTH DIGIT ONE}", "." * 3),
        *(changed, credential + "0", credential + "\n", " " + credential, credential[:-1]),
        *(credential.upper(), credential * 200, f"pl_{'0' * 12}_{'0' * 64}", "e30.e30."),
    ]  # fmt: skip
    messages = set()
    for text in wrong:
        with pytest.raises(UnauthenticatedError) as caught:
            await authenticator.authenticate(text)
        messages.add((str(caught.value), caught.value.detail, caught.value.code))
    assert len(messages) == 1
    assert await authenticator.authenticate(credential) == principal
