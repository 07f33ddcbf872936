"""Reads the keys that an issuer publishes (JWKS, RFC 7517)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from jwt import PyJWK
from jwt.exceptions import PyJWTError

MAX_KEYS = 100
"""Keys of one issuer; real ones publish two to ten."""
_ALGORITHMS = {
    ("RSA", None): ("RS256", "PS256"),
    ("EC", "P-256"): ("ES256",),
    ("OKP", "Ed25519"): ("EdDSA",),
}
"""Algorithms by the type of a key and its curve."""
ALGORITHMS = frozenset(name for names in _ALGORITHMS.values() for name in names)
"""The algorithms of signatures that are accepted."""
Keys = Mapping[str, Mapping[str, PyJWK]]
"""Public keys by their `kid`, then by the algorithm that they verify."""


def keys_of(document: bytes) -> Keys:
    """Returns the public keys for signatures in a JWKS document, without those of other kinds.

    A `kid` of several keys names none of them: its keys are left out.

    Raises:
        ValueError: It is not JSON, not a JWKS, has no such key, or too many keys.
    """
    found = _listed(document)
    usable = [(jwk["kid"], keys) for jwk in found if (keys := _keys(jwk))]
    counts = Counter(kid for kid, _ in usable)
    unique = {kid: keys for kid, keys in usable if counts[kid] == 1}
    if not unique:
        raise ValueError(f"none of its {len(found)} keys can check a token")
    return unique


def object_of(document: bytes) -> dict[str, Any]:
    """Returns the JSON object of a document.

    Raises:
        ValueError: It is not one.
    """
    try:
        found = json.loads(document)
    except (ValueError, RecursionError):
        raise ValueError("it is not JSON") from None
    if not isinstance(found, dict):
        raise ValueError("it is not a JSON object")  # noqa: TRY004 - the text is of no Python type
    return found


def _listed(document: bytes) -> list[Any]:
    found = object_of(document).get("keys")
    if not isinstance(found, list):
        raise ValueError("it has no list of keys")  # noqa: TRY004 - the text is of no Python type
    if len(found) > MAX_KEYS:
        raise ValueError(f"it has {len(found):,} keys, more than {MAX_KEYS}")
    return found


def _keys(jwk: Any) -> dict[str, PyJWK]:
    """Returns a key by the algorithms that it verifies; {} if it is not for signatures."""
    if not isinstance(jwk, dict) or not _is_for_signatures(jwk):
        return {}
    curve = jwk.get("crv") if jwk["kty"] != "RSA" else None
    fitting = _ALGORITHMS.get((jwk["kty"], curve), ())
    try:
        return {name: PyJWK(jwk, name) for name in fitting if jwk.get("alg", name) == name}
    except (PyJWTError, ValueError, TypeError, KeyError):
        return {}  # damaged, or of a form that the library does not know


def _is_for_signatures(jwk: dict[str, Any]) -> bool:
    texts = [jwk.get("kty"), jwk.get("kid"), jwk.get("crv", "")]
    operations = jwk.get("key_ops", ["verify"])
    return (
        all(isinstance(text, str) for text in texts)
        and bool(jwk["kid"])
        and jwk.get("use", "sig") == "sig"
        and isinstance(operations, list)
        and "verify" in operations
        and "d" not in jwk  # a private key: whoever reads the document can sign with it
    )
