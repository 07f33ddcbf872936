"""An issuer of tokens. They are signed by joserfc, which is not the library that checks them."""

from __future__ import annotations

import base64
import json
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from joserfc.jwk import ECKey, JWKRegistry, Key, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from rag.build.gateway import open_tokens
from rag.catalog.catalog import Catalog
from rag.catalog.sqlite_database import SqliteDatabase
from rag.gateway.refusals import TokenRefusals
from rag.protocols import Authenticator
from rag.settings.gateway import GatewaySettings, IssuerSettings
from tests.fakes import in_memory
from tests.web import Page, Web, web

AUDIENCE = "plumbline"
KEYS: dict[str, RSAKey | ECKey | OKPKey] = {
    "RS256": RSAKey.generate_key(2048),
    "PS256": RSAKey.generate_key(2048),
    "ES256": ECKey.generate_key("P-256"),
    "EdDSA": OKPKey.generate_key("Ed25519"),
}
"""A key for each accepted algorithm; its `kid` is the algorithm in lower case."""
Claims = dict[str, Any]


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def assembled(header: Any, payload: Any, key: Key, algorithm: str) -> str:
    """Returns a token with this header and payload, signed whatever the header says."""
    parts = [each if isinstance(each, bytes) else json.dumps(each).encode() for each in
             (header, payload)]  # fmt: skip
    text = ".".join(map(b64, parts))
    return f"{text}.{b64(JWSRegistry.algorithms[algorithm].sign(text.encode(), key))}"


def new_key(kind: str, size: Any) -> Key:
    return JWKRegistry.generate_key(kind, size)


def public(key: Key, kid: str | None, **more: Any) -> dict[str, Any]:
    """Returns a public key as an issuer lists it; None leaves a field out."""
    listed = {**key.as_dict(private=False), "kid": kid, "use": "sig", **more}
    return {name: value for name, value in listed.items() if value is not None}


def jwks(*keys: dict[str, Any]) -> Page:
    return Page(json.dumps({"keys": keys}).encode())


class TokenIssuer:
    """An issuer with a web server for its keys."""

    def __init__(self, server: Web) -> None:
        self.url = server.url
        self.server = server
        self.publish(*(public(key, name.lower()) for name, key in KEYS.items()))

    def publish(self, *keys: dict[str, Any]) -> None:
        self.server.pages["/jwks"] = jwks(*keys)

    def claims(self, **changes: Any) -> Claims:
        """Returns valid claims with changes; None leaves a claim out."""
        now = int(time.time())
        valid = {"iss": self.url, "aud": AUDIENCE, "sub": "jo", "iat": now, "exp": now + 600}
        return {name: value for name, value in (valid | changes).items() if value is not None}

    def token(self, algorithm: str = "ES256", *, key: Key | None = None, **changes: Any) -> str:
        """Returns a token; the change `header` is of its header."""
        header = {"alg": algorithm, "kid": algorithm.lower(), "typ": "JWT"}
        header |= changes.pop("header", {})
        header = {name: value for name, value in header.items() if value is not None}
        return assembled(header, self.claims(**changes), key or KEYS[algorithm], algorithm)

    def settings(self, *, skew: int = 60, **issuer: Any) -> GatewaySettings:
        """Returns settings that accept its tokens."""
        mine = {"url": self.url, "jwks_url": f"{self.url}/jwks", "audiences": (AUDIENCE,)}
        return GatewaySettings(
            issuers=(IssuerSettings(**(mine | issuer)),), clock_skew_seconds=skew
        )

    @property
    def fetches(self) -> int:
        """Number of times that its keys were fetched."""
        return [path for path, _ in self.server.requests].count("/jwks")


@contextmanager
def token_issuer() -> Iterator[TokenIssuer]:
    with web({}) as server:
        yield TokenIssuer(server)


@asynccontextmanager
async def checking_tokens(settings: GatewaySettings) -> AsyncIterator[Authenticator]:
    """Yields what checks tokens, beside a catalog in which none is refused."""
    with tempfile.TemporaryDirectory(dir=in_memory()) as folder:
        catalog = Catalog(SqliteDatabase(Path(folder) / "catalog.db"))
        await catalog.open()
        try:
            async with open_tokens(settings, TokenRefusals(catalog.refused_tokens)) as tokens:
                yield tokens
        finally:
            await catalog.close()
