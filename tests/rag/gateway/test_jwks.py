"""Keys as issuers publish them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.gateway.jwks import ALGORITHMS, MAX_KEYS, keys_of
from tests.tokens import KEYS, new_key, public

EC = public(KEYS["ES256"], "ec")
RSA = public(KEYS["RS256"], "rsa")


def found(*keys: Any) -> dict[str, list[str]]:
    """Returns the algorithms by `kid`."""
    made = keys_of(json.dumps({"keys": keys}).encode())
    return {kid: sorted(by_algorithm) for kid, by_algorithm in made.items()}


def test_a_key_is_for_the_algorithms_of_its_type() -> None:
    keys = [public(KEYS[name], name.lower()) for name in ("RS256", "ES256", "EdDSA")]
    expected = {"rs256": ["PS256", "RS256"], "es256": ["ES256"], "eddsa": ["EdDSA"]}
    assert found(*keys) == expected
    assert {name for names in expected.values() for name in names} == set(ALGORITHMS)


def test_a_key_with_an_algorithm_is_for_no_other() -> None:
    assert found(RSA | {"alg": "PS256"}) == {"rsa": ["PS256"]}
    for alg in ("HS256", "RS512", "none", "ES256", "RSA-OAEP", "", 7, None):
        with pytest.raises(ValueError, match="none of its 1 keys"):
            found(RSA | {"alg": alg})


@pytest.mark.parametrize(
    "other",
    [
        RSA | {"use": "enc"},
        RSA | {"key_ops": ["encrypt"]},
        RSA | {"key_ops": "verify"},
        RSA | {"kid": ""},
        RSA | {"kid": 7},
        public(KEYS["RS256"], None),
        RSA | {"n": "!"},
        RSA | {"n": 7},
        {"kty": "RSA", "kid": "x"},
        EC | {"x": EC["y"]},  # not on the curve
        public(new_key("EC", "P-384"), "p384"),
        public(new_key("OKP", "X25519"), "x25519"),
        {"kty": "oct", "k": "c2VjcmV0", "kid": "x", "alg": "HS256"},
        {"kty": "AKP", "kid": "x", "alg": "ML-DSA-44", "pub": "AAAA"},
        KEYS["ES256"].as_dict(private=True) | {"kid": "private"},
        "no key",
        None,
        [],
        {},
    ],
)
def test_other_keys_are_left_out(other: Any) -> None:
    assert found(EC, other) == {"ec": ["ES256"]}


def test_a_kid_of_several_keys_names_none() -> None:
    twin = public(new_key("EC", "P-256"), "rsa")
    assert found(EC, RSA, twin) == {"ec": ["ES256"]}
    assert found(EC, RSA, twin | {"use": "enc"}) == {"ec": ["ES256"], "rsa": ["PS256", "RS256"]}
    with pytest.raises(ValueError, match="none of its 2 keys"):
        found(EC, EC)


@pytest.mark.parametrize(
    ("document", "says"),
    [
        (b"", "not JSON"),
        (b"<html>", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "not a JSON object"),
        (b"{}", "no list of keys"),
        (b'{"keys": {}}', "no list of keys"),
        (b'{"keys": []}', "none of its 0 keys"),
        (json.dumps({"keys": [EC] * (MAX_KEYS + 1)}).encode(), "101 keys, more than 100"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_document_without_keys_says_what_it_is(document: bytes, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        keys_of(document)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


@given(
    st.sampled_from([EC, RSA, public(KEYS["EdDSA"], "ed")]),
    st.dictionaries(
        st.sampled_from(["kty", "kid", "use", "alg", "crv", "key_ops", "n", "e", "x", "y"]),
        VALUES,
        min_size=1,
        max_size=3,
    ),
)
def test_any_values_in_a_key_leave_the_others(key: dict[str, Any], changes: dict[str, Any]) -> None:
    other = public(new_key("EC", "P-256"), "\N{KEY}")
    assert found(other, key | changes)["\N{KEY}"] == ["ES256"]
