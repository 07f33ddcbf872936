"""The library for tokens is loaded only where tokens are accepted."""

from __future__ import annotations

import subprocess
import sys

import pytest

from rag.errors import ConfigError
from rag.settings.gateway import GatewaySettings, IssuerSettings
from tests.tokens import checking_tokens

pytestmark = pytest.mark.anyio


def test_a_server_without_issuers_does_not_load_it() -> None:
    code = "import sys, rag.api.app, rag.build.gateway; sys.exit('jwt' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


async def test_without_it_the_start_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("jwks", "key_source", "signing_keys", "tokens"):
        monkeypatch.delitem(sys.modules, f"rag.gateway.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "jwt", None)
    issuer = IssuerSettings(url="https://sso.example.com", audiences=("plumbline",))
    with pytest.raises(ConfigError, match=r"pip install 'plumbline-rag\[oidc\]'"):
        async with checking_tokens(GatewaySettings(issuers=(issuer,))):
            pass
