"""A real OpenID provider as a process: the npm package oidc-provider, which is certified."""

from __future__ import annotations

import contextlib
import html
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from joserfc.jwk import Key

from tests.places import ROOT
from tests.ports import free_port
from tests.servers import NO_CERTIFICATES, PATIENCE, wait_for

PACKAGES = Path(sys.prefix) / "oidc-provider"
"""The folder into which `make oidc-provider` installs it."""
NODE = shutil.which("node")
needs_provider = pytest.mark.skipif(
    NODE is None or not (PACKAGES / "node_modules").is_dir(),
    reason="there is no OpenID provider: `make oidc-provider` installs one",
)
_CALLBACK = "https://app.example/done"
_VERIFIER, _CHALLENGE = (  # RFC 7636, appendix B
    "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
    "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
)


@dataclass(frozen=True, slots=True)
class Provider:
    """A running provider. Clients: `crawler`, a program; `browser`, for people, who sign in."""

    url: str

    def of_program(self) -> str:
        """Returns an access token by the client-credentials flow."""
        with self._client("crawler") as http:
            asked = {"grant_type": "client_credentials", "scope": "documents"}
            return str(_tokens(http, asked)["access_token"])

    def of_user(self, name: str) -> dict[str, Any]:
        """Returns access and ID token of a user, by the code flow with PKCE: signs in, consents."""
        query = {
            "client_id": "browser",
            "response_type": "code",
            "scope": "openid documents",
            "redirect_uri": _CALLBACK,
            "code_challenge": _CHALLENGE,
            "code_challenge_method": "S256",
        }
        with self._client(None) as http:
            page = http.get("/auth", params=query)
            while not (there := page.headers.get("location", "")).startswith(_CALLBACK):
                page = http.get(there) if there else _submitted(http, page, login=name)
        code = httpx.URL(there).params["code"]
        with self._client("browser") as http:
            asked = {"grant_type": "authorization_code", "code": code, "code_verifier": _VERIFIER}
            return _tokens(http, asked | {"redirect_uri": _CALLBACK})

    def _client(self, name: str | None) -> httpx.Client:
        auth = (name, f"secret of the {name}") if name else None
        return httpx.Client(base_url=self.url, auth=auth, timeout=PATIENCE, verify=NO_CERTIFICATES)


def _tokens(http: httpx.Client, asked: dict[str, str]) -> dict[str, Any]:
    response = http.post("/token", data=asked)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def _submitted(http: httpx.Client, page: httpx.Response, **fields: str) -> httpx.Response:
    """Submits the form of a page, with these values in its empty fields."""
    assert page.status_code == 200, page.text
    action = re.search(r'action="([^"]+)"', page.text)
    assert action, page.text
    hidden = dict(re.findall(r'name="(\w+)" value="([^"]*)"', page.text))
    return http.post(html.unescape(action[1]), data=fields | {"password": "any"} | hidden)


@contextlib.contextmanager
def oidc_provider(folder: Path, key: Key, kid: str, algorithm: str, url: str) -> Iterator[Provider]:
    """Runs a provider that signs with a key; the block begins once it answers."""
    assert NODE
    folder.mkdir(parents=True, exist_ok=True)
    keys, log = folder / "keys.json", folder / "provider.log"
    listed = key.as_dict(private=True) | {"kid": kid, "use": "sig", "alg": algorithm}
    keys.write_text(json.dumps({"keys": [listed]}))
    script = ROOT / "tests" / "oidc_provider.mjs"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [NODE, script, PACKAGES, url, keys, algorithm], stdout=output, stderr=output
        )

    def listens() -> bool:
        assert process.poll() is None, log.read_text()
        return "listening" in log.read_text()

    try:
        wait_for(listens)
        yield Provider(url)
    finally:
        process.terminate()
        process.wait(PATIENCE)


def free_url() -> str:
    return f"http://127.0.0.1:{free_port()}"
