"""Authenticators: each returns the callers that it knows, and one error for all others."""

from __future__ import annotations

import pytest

from rag.catalog.catalog import Catalog
from rag.errors import UnauthenticatedError
from rag.gateway.api_keys import ApiKeys, Grant
from rag.gateway.key_authenticator import KeyAuthenticator
from rag.protocols import Authenticator
from rag.types import Principal

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["keys"])
async def known(
    request: pytest.FixtureRequest, catalog: Catalog
) -> tuple[Authenticator, str, Principal]:
    """An authenticator, a credential that it knows, and whose that is."""
    assert request.param == "keys"
    keys = ApiKeys(catalog.keys, changed=lambda _: None)
    record, key = await keys.create(Principal(tenant="acme"), Grant(name="n", scopes=["ask"]))
    return KeyAuthenticator(catalog.keys), key, record.principal()


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
