"""Fetches the keys of an issuer, with bounds on time and size."""

from __future__ import annotations

import asyncio

import httpx

from rag.errors import UpstreamError
from rag.gateway.jwks import Keys, keys_of, object_of
from rag.settings.addresses import is_secure

TIMEOUT_SECONDS = 5.0
"""Seconds for everything that one fetch takes."""
MAX_BYTES = 512 * 1024
"""Bytes of a document; those of real issuers, with certificates, have 2 to 20 kB."""
_DISCOVERY = "/.well-known/openid-configuration"
_HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity"}


class KeySource:
    """The place where an issuer publishes its keys.

    The addresses are the operator's, and what the issuer itself says: they may be private ones, as
    an identity provider in the same cluster has. Redirects are not followed: they could lead to an
    address that neither of them named.
    """

    def __init__(self, http: httpx.AsyncClient, *, issuer: str, jwks_url: str | None) -> None:
        """Takes the address of the keys; with None, the issuer's configuration has it."""
        self._http = http
        self._issuer = issuer
        self._jwks_url = jwks_url

    async def fetch(self) -> Keys:
        """Returns the keys that the issuer publishes now.

        Raises:
            UpstreamError: It does not answer in time, or not with keys.
        """
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                return keys_of(await self._get(self._jwks_url or await self._discovered()))
        except TimeoutError:
            raise self._failed(f"no answer within {TIMEOUT_SECONDS:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._failed(f"{type(error).__name__}: {error}") from None
        except ValueError as error:
            raise self._failed(str(error)) from None

    async def _discovered(self) -> str:
        found = object_of(await self._get(self._issuer.rstrip("/") + _DISCOVERY))
        if found.get("issuer") != self._issuer:
            raise ValueError("its configuration names another issuer")
        url = found.get("jwks_uri")
        if not isinstance(url, str) or not is_secure(url):
            raise ValueError("its configuration has no https address of keys (jwks_uri)")
        return url

    async def _get(self, url: str) -> bytes:
        found = bytearray()
        async with self._http.stream(
            "GET", url, headers=_HEADERS, follow_redirects=False
        ) as response:
            if response.status_code != httpx.codes.OK:
                raise ValueError(f"{response.url.path} answers {response.status_code}")
            async for part in response.aiter_raw():  # as sent: nothing is unpacked
                found += part
                if len(found) > MAX_BYTES:
                    raise ValueError(f"{response.url.path} has more than {MAX_BYTES:,} bytes")
        return bytes(found)

    def _failed(self, reason: str) -> UpstreamError:
        return UpstreamError(
            "The keys of the token's issuer cannot be fetched now.",
            code="issuer_unavailable",
            detail=f"{self._issuer}: {reason}.",
        )
