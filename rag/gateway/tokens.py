"""Recognizes callers by tokens (JWT, RFC 7519) that issuers have signed."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import jwt
from jwt.exceptions import ExpiredSignatureError, PyJWTError

from rag.errors import TokenExpiredError, UnauthenticatedError
from rag.gateway.claims import ClaimError, ClaimMapping, is_name
from rag.gateway.jwks import ALGORITHMS
from rag.gateway.refusals import TokenRefusals
from rag.gateway.signing_keys import SigningKeys
from rag.types import Principal

TYPES = ("jwt", "at+jwt", "application/at+jwt")
"""Values of `typ`: others are of tokens for another use, such as `logout+jwt`."""
_FORM = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
"""A signed token. An encrypted one has five parts; one without a signature ends in a dot."""
_IDS = ("jti", "uti")
"""Claims with the id of a token: that of RFC 7519, and that of Entra ID."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    """An issuer whose tokens are accepted."""

    name: str
    """`iss` of its tokens."""
    audiences: tuple[str, ...]
    keys: SigningKeys
    claims: ClaimMapping


class TokenAuthenticator:
    """Checks tokens: signature, issuer, audience, times, and that no administrator refuses them.

    Of a checked token is remembered only whether it is refused: to check the rest again is cheap,
    and it may have expired.
    """

    def __init__(
        self, issuers: Iterable[Issuer], *, refusals: TokenRefusals, clock_skew: float
    ) -> None:
        """Takes the seconds by which the clocks of issuers may differ from this one."""
        self._issuers = {issuer.name: issuer for issuer in issuers}
        self._refusals = refusals
        self._clock_skew = clock_skew

    async def authenticate(self, credential: str) -> Principal:
        """Returns the caller whose token it is.

        The log says why a token was refused, and nothing of what it has.

        Raises:
            TokenExpiredError: An issuer has signed it, and it has expired.
            UnauthenticatedError: It is not valid.
            UpstreamError: Its issuer does not answer, and its key is not known.
            UpstreamError, StorageError: The catalog does not answer.
        """
        try:
            return await self._identify(credential)
        except ExpiredSignatureError:
            raise TokenExpiredError from None
        except ClaimError as error:
            _log.info("A token was refused: %s.", error)
        except PyJWTError as error:  # its message may quote the token
            _log.info("A token was refused: %s.", type(error).__name__)
        raise UnauthenticatedError

    async def _identify(self, token: str) -> Principal:
        if not _FORM.fullmatch(token):
            raise ClaimError("it is no signed token")
        found = jwt.decode_complete(token, options={"verify_signature": False})
        issuer = self._issuer(found["payload"])
        kid, algorithm = _names_of_key(found["header"])
        key = await issuer.keys.find(kid, algorithm)
        if key is None:
            raise ClaimError("its issuer has no such key for such signatures")
        claims = jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            audience=issuer.audiences,
            issuer=issuer.name,
            leeway=self._clock_skew,
            options={"require": ["iss", "aud", "exp"], "enforce_minimum_key_length": True},
        )
        if "cnf" in claims:  # RFC 7800; accepting it would be a downgrade to a bearer token
            raise ClaimError("it is bound to a key of its holder, which is not checked here")
        caller = issuer.claims.principal(claims)
        issued_at = _issued_at(claims) - self._clock_skew
        if await self._refusals.refuses(token, caller, ids=_ids(claims), issued_at=issued_at):
            raise ClaimError("an administrator refuses it, or all of its subject so far")
        return caller

    def _issuer(self, claims: dict[str, Any]) -> Issuer:
        name = claims.get("iss")
        issuer = self._issuers.get(name) if isinstance(name, str) else None
        if issuer is None:
            raise ClaimError("its issuer is none of gateway.issuers")
        return issuer


def _names_of_key(header: dict[str, Any]) -> tuple[str, str]:
    """Returns `kid` and `alg` of a header that is understood as a whole."""
    kid, algorithm, type_ = header.get("kid"), header.get("alg"), header.get("typ", "JWT")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise ClaimError(f"its algorithm is none of {', '.join(sorted(ALGORITHMS))}")
    if not isinstance(kid, str) or not kid:
        raise ClaimError("it does not name its key (kid)")
    if not isinstance(type_, str) or type_.lower() not in TYPES:
        raise ClaimError(f"its type (typ) is none of {', '.join(TYPES)}")
    if "crit" in header or "b64" in header:
        raise ClaimError("it has extensions (crit, b64), and none is known here")
    return kid, algorithm


def _ids(claims: Mapping[str, Any]) -> list[str]:
    """Returns the ids of a token, without those that no refusal can have."""
    found = (claims.get(name) for name in _IDS)
    return [id_ for id_ in found if isinstance(id_, str) and is_name(id_)]


def _issued_at(claims: Mapping[str, Any]) -> float:
    """Returns when a token was issued; 0 if it does not say so: no refusal is older then."""
    found = claims.get("iat")
    return max(found, 0.0) if isinstance(found, int | float) else 0.0
