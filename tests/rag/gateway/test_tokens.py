"""Tokens that another library has signed: good ones, forged ones, and damaged ones."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import logging
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from joserfc import jwe

from rag.errors import TokenExpiredError, UnauthenticatedError, UpstreamError
from rag.gateway.jwks import ALGORITHMS
from rag.protocols import Authenticator
from rag.types import Principal
from tests.tokens import (
    AUDIENCE,
    KEYS,
    TokenIssuer,
    assembled,
    b64,
    checking_tokens,
    new_key,
    public,
    token_issuer,
)
from tests.web import Page


class Checking:
    """An authenticator, as the settings build it, on an event loop of its own."""

    def __init__(self, runner: asyncio.Runner, authenticator: Authenticator) -> None:
        self._runner = runner
        self._authenticator = authenticator

    def __call__(self, token: str) -> Principal:
        return self._runner.run(self._authenticator.authenticate(token))

    def refuses(self, token: str) -> None:
        with pytest.raises(UnauthenticatedError) as caught:
            self(token)
        assert type(caught.value) is UnauthenticatedError
        assert str(caught.value) == str(UnauthenticatedError())
        assert caught.value.detail == ""


@contextlib.contextmanager
def checking(issuer: TokenIssuer, **settings: Any) -> Iterator[Checking]:
    """Checks the tokens of an issuer; its keys are known already."""
    with asyncio.Runner() as runner:
        opened = checking_tokens(issuer.settings(**settings))
        authenticator = runner.run(opened.__aenter__())
        yield Checking(runner, authenticator)
        runner.run(opened.__aexit__(None, None, None))


@pytest.fixture(scope="module")
def issuer() -> Iterator[TokenIssuer]:
    with token_issuer() as made:
        yield made


@pytest.fixture(scope="module")
def check(issuer: TokenIssuer) -> Iterator[Checking]:
    with checking(issuer) as made:
        yield made


# Signatures


@pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))
def test_a_token_is_its_subjects(check: Checking, issuer: TokenIssuer, algorithm: str) -> None:
    assert check(issuer.token(algorithm)) == Principal(subject="jo", scopes=frozenset())


def test_a_key_may_be_for_both_algorithms_of_rsa(check: Checking, issuer: TokenIssuer) -> None:
    header = {"alg": "PS256"}
    both = assembled(
        {"alg": "PS256", "kid": "rs256"}, issuer.claims(), KEYS["RS256"], "PS256"
    )  # fmt: skip
    assert check(both).subject == "jo"
    check.refuses(issuer.token("RS256", header=header))  # signed by the other one


@pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))
def test_the_key_of_another_is_refused(
    check: Checking, issuer: TokenIssuer, algorithm: str
) -> None:
    kinds: dict[str, tuple[str, Any]] = {
        "RS256": ("RSA", 2048), "PS256": ("RSA", 2048),
        "ES256": ("EC", "P-256"), "EdDSA": ("OKP", "Ed25519"),
    }  # fmt: skip
    check.refuses(issuer.token(algorithm, key=new_key(*kinds[algorithm])))


@pytest.mark.parametrize("name", sorted(KEYS))
@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_a_public_key_is_no_secret(
    check: Checking, issuer: TokenIssuer, name: str, algorithm: str
) -> None:
    listed = public(KEYS[name], name.lower())
    pem = KEYS[name].as_pem(private=False)
    secrets = [pem, pem.strip(), KEYS[name].as_der(private=False), json.dumps(listed).encode(), b""]
    secrets += [str(listed[part]).encode() for part in ("n", "x") if part in listed]
    digest = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}[algorithm]
    for secret in secrets:
        header = {"alg": algorithm, "kid": name.lower(), "typ": "JWT"}
        text = ".".join(b64(json.dumps(part).encode()) for part in (header, issuer.claims()))
        check.refuses(f"{text}.{b64(hmac.digest(secret, text.encode(), digest))}")


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", "", None, 7, [], "EdDSA "])
@pytest.mark.parametrize("signature", ["", "AA", b64(b"\0" * 64)])
def test_without_an_algorithm_nothing_is_accepted(
    check: Checking, issuer: TokenIssuer, algorithm: Any, signature: str
) -> None:
    for kid in ("es256", "rs256", None):
        header = {"alg": algorithm, "kid": kid}
        text = ".".join(b64(json.dumps(part).encode()) for part in (header, issuer.claims()))
        check.refuses(f"{text}.{signature}")


@pytest.mark.parametrize(
    "header",
    [
        {"kid": None},
        {"kid": ""},
        {"kid": 7},
        {"kid": ["es256"]},
        {"kid": "unknown"},
        {"kid": "rs256"},
        {"kid": "../../dev/null"},
        {"alg": "ES384"},
        {"alg": "RS256"},
        {"alg": "EdDSA"},
        {"alg": "es256"},
        {"typ": "logout+jwt"},
        {"typ": "secevent+jwt"},
        {"typ": "dpop+jwt"},
        {"typ": ""},
        {"typ": 7},
        {"crit": ["exp"], "exp": 1},
        {"crit": ["b64"], "b64": True},
        {"crit": ["b64"], "b64": False},
        {"crit": []},
        {"crit": "kid"},
        {"b64": False},
        {"b64": True},
    ],
    ids=str,
)
def test_a_header_that_is_not_understood_is_refused(
    check: Checking, issuer: TokenIssuer, header: dict[str, Any]
) -> None:
    assert check(issuer.token())
    check.refuses(issuer.token(header=header))


@pytest.mark.parametrize(
    "typ", ["JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt", None]
)  # fmt: skip
def test_access_tokens_and_id_tokens_are_accepted(
    check: Checking, issuer: TokenIssuer, typ: str | None
) -> None:
    assert check(issuer.token(header={"typ": typ})).subject == "jo"


def test_a_header_cannot_bring_its_key(check: Checking, issuer: TokenIssuer) -> None:
    own = new_key("EC", "P-256")
    jwk = public(own, "es256")
    for more in ({"jwk": jwk}, {"jku": f"{issuer.url}/own"}, {"x5u": f"{issuer.url}/own"}):
        issuer.server.pages["/own"] = Page(json.dumps({"keys": [jwk]}).encode())
        check.refuses(issuer.token(key=own, header=more))
        assert check(issuer.token(header=more))  # ignored, as unknown parameters are
    assert "/own" not in [path for path, _ in issuer.server.requests]


def test_encrypted_tokens_are_refused(check: Checking, issuer: TokenIssuer) -> None:
    key = new_key("RSA", 2048)
    header = {"alg": "RSA-OAEP", "enc": "A256GCM", "kid": "rs256"}
    for payload in (json.dumps(issuer.claims()), issuer.token()):
        check.refuses(jwe.encrypt_compact(header, payload, key))


@pytest.mark.filterwarnings("ignore:Key size should be")
def test_a_short_key_is_refused() -> None:
    short = new_key("RSA", 1024)
    with token_issuer() as other, checking(other) as check:
        other.publish(public(short, "rs256"))
        check.refuses(other.token("RS256", key=short))
        assert other.fetches == 1


def test_a_kid_of_two_keys_is_refused() -> None:
    with token_issuer() as other, checking(other) as check:
        other.publish(
            public(KEYS["ES256"], "es256"),
            public(new_key("EC", "P-256"), "es256"),
            public(KEYS["RS256"], "rs256"),
        )
        check.refuses(other.token("ES256"))
        assert check(other.token("RS256"))


# Claims


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": None},
        {"aud": ""},
        {"aud": []},
        {"aud": "other"},
        {"aud": "PLUMBLINE"},
        {"aud": ["other", "another"]},
        {"aud": [[AUDIENCE]]},
        {"aud": [AUDIENCE, 7]},
        {"aud": {AUDIENCE: 1}},
        {"iss": None},
        {"iss": ""},
        {"iss": "https://other.example"},
        {"iss": ["https://other.example"]},
        {"iss": {}},
        {"exp": None},
        {"exp": "soon"},
        {"exp": []},
        {"exp": float("nan")},
        {"exp": float("inf")},
        {"nbf": "soon"},
        {"nbf": float("nan")},
        {"nbf": 1e300},
        {"iat": "soon"},
        {"iat": 1e300},
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
        {"cnf": {"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}},
    ],
    ids=str,
)
def test_claims_that_do_not_fit_are_refused(
    check: Checking, issuer: TokenIssuer, claims: dict[str, Any]
) -> None:
    check.refuses(issuer.token(**claims))


def test_the_issuer_is_compared_exactly(check: Checking, issuer: TokenIssuer) -> None:
    for name in (f"{issuer.url}/", issuer.url.upper(), f"{issuer.url}?", f" {issuer.url}"):
        check.refuses(issuer.token(iss=name))


def test_one_of_several_audiences_is_enough(issuer: TokenIssuer) -> None:
    with checking(issuer, audiences=("plumbline", "api://plumbline")) as check:
        for aud in ("api://plumbline", ["account", "plumbline"]):
            assert check(issuer.token(aud=aud))
        check.refuses(issuer.token(aud="api://plumbline/other"))


@pytest.mark.parametrize("skew", [0, 60])
def test_times_are_checked_within_the_skew_of_clocks(issuer: TokenIssuer, skew: int) -> None:
    now = int(time.time())
    with checking(issuer, skew=skew) as check:
        for claim in ("nbf", "iat"):
            good: dict[str, Any] = {claim: now + skew - 30 if skew else now}
            assert check(issuer.token(**good))
            late: dict[str, Any] = {claim: now + skew + 300}
            check.refuses(issuer.token(**late))
        assert check(issuer.token(exp=now - skew + 300))
        with pytest.raises(TokenExpiredError) as caught:
            check(issuer.token(exp=now - skew - 30))
        assert caught.value.code == "token_expired"


def test_only_a_token_of_the_issuer_is_called_expired(check: Checking, issuer: TokenIssuer) -> None:
    check.refuses(issuer.token(exp=1, key=new_key("EC", "P-256")))
    check.refuses(issuer.token(exp=1, header={"kid": "unknown"}))
    check.refuses(issuer.token(exp=1, iss="https://other.example"))
    with pytest.raises(TokenExpiredError):
        check(issuer.token(exp=1))


def test_claims_are_mapped_by_settings(issuer: TokenIssuer) -> None:
    settings: dict[str, Any] = {
        "tenant_claim": "org.tenant",
        "scopes_claims": ("realm_access.roles",),
        "scopes": {"rag-editor": ("read", "write")},
        "default_scopes": ("ask",),
    }
    claims: dict[str, Any] = {"groups": ["g"], "realm_access": {"roles": ["rag-editor"]}}
    with checking(issuer, **settings) as check:
        assert check(issuer.token(org={"tenant": "acme"}, **claims)) == Principal(
            tenant="acme",
            subject="jo",
            groups=frozenset({"g"}),
            scopes=frozenset({"ask", "read", "write"}),
        )
        check.refuses(issuer.token(org={"tenant": "../rival"}, **claims))
        check.refuses(issuer.token(**claims))


def test_each_issuer_has_its_keys_and_its_claims(issuer: TokenIssuer) -> None:
    with token_issuer() as other, asyncio.Runner() as runner:
        own = new_key("EC", "P-256")
        other.publish(public(own, "es256"))
        both = issuer.settings(tenant="acme")
        rival = other.settings(tenant="rival").issuers
        opened = checking_tokens(both.model_copy(update={"issuers": both.issuers + rival}))
        check = Checking(runner, runner.run(opened.__aenter__()))
        assert check(issuer.token()).tenant == "acme"
        assert check(other.token(key=own)).tenant == "rival"
        check.refuses(other.token())
        check.refuses(issuer.token(key=own))
        check.refuses(issuer.token(iss=other.url))
        runner.run(opened.__aexit__(None, None, None))


def test_while_an_issuer_is_away_its_tokens_are_not_called_wrong() -> None:
    with token_issuer() as other, checking(other) as check:
        other.server.pages["/jwks"] = Page(b"", 503)
        for _ in range(3):
            with pytest.raises(UpstreamError) as caught:
                check(other.token())
            assert caught.value.code == "issuer_unavailable"
        assert other.fetches == 1


def test_the_log_says_why_and_quotes_nothing(
    check: Checking, issuer: TokenIssuer, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        for wrong in (
            issuer.token(aud="secret-audience"),
            issuer.token(iss="https://secret.example"),
            issuer.token(header={"kid": "secret-kid"}),
            issuer.token(header={"crit": ["secret-crit"], "secret-crit": 1}),
            "secret.secret.secret",
        ):
            check.refuses(wrong)
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("rag")]
    assert lines[:3] == [
        "A token was refused: InvalidAudienceError.",
        "A token was refused: its issuer is none of gateway.issuers.",
        "A token was refused: its issuer has no such key for such signatures.",
    ]
    assert "secret" not in caplog.text
    assert len(lines) == 5


# Damage

VALID = st.sampled_from(sorted(ALGORITHMS))
TEXT = st.text(
    alphabet=st.sampled_from("ABCxyz019-_.=+/ \n\0é"), min_size=1, max_size=4
)  # fmt: skip


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(algorithm=VALID, data=st.data())
def test_a_token_with_any_damage_is_refused(
    check: Checking, issuer: TokenIssuer, algorithm: str, data: st.DataObject
) -> None:
    token = issuer.token(algorithm)
    start = data.draw(st.integers(0, len(token)), label="start")
    end = data.draw(st.integers(start, min(len(token), start + 50)), label="end")
    damaged = token[:start] + data.draw(TEXT | st.just(""), label="put in") + token[end:]
    if damaged == token:
        assert check(damaged).subject == "jo"
    else:
        check.refuses(damaged)


@settings(max_examples=200, deadline=None)
@given(first=VALID, second=VALID, parts=st.tuples(*[st.integers(0, 1)] * 3))
def test_parts_of_two_tokens_make_none(
    check: Checking, issuer: TokenIssuer, first: str, second: str, parts: tuple[int, ...]
) -> None:
    both = (issuer.token(first).split("."), issuer.token(second, sub="eve").split("."))
    mixed = ".".join(both[which][at] for at, which in enumerate(parts))
    if mixed in map(".".join, both):
        assert check(mixed).subject == ("eve" if parts[1] else "jo")
    else:
        check.refuses(mixed)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
HEADERS = st.dictionaries(
    st.sampled_from(["alg", "kid", "typ", "crit", "b64", "cty", "jwk", "x5c", "zip", "enc"]), JSON
)
CLAIMS = st.dictionaries(
    st.sampled_from(["iss", "aud", "exp", "nbf", "iat", "sub", "groups", "scope", "jti", "cnf"]),
    JSON,
)


@settings(max_examples=400, deadline=None)
@given(header=HEADERS, claims=CLAIMS)
def test_any_signed_values_give_a_principal_or_a_refusal(
    check: Checking, issuer: TokenIssuer, header: dict[str, Any], claims: dict[str, Any]
) -> None:
    whole = {"alg": "ES256", "kid": "es256"} | header
    token = assembled(whole, issuer.claims() | claims, KEYS["ES256"], "ES256")
    with contextlib.suppress(UnauthenticatedError):
        found = check(token)
        assert found.tenant == "default"
        assert found.scopes == frozenset()
        assert found.subject.isprintable()


@pytest.mark.parametrize("payload", [b"", b"[]", b"7", b"null", b'"x"', b"{", b"\xff", b"[" * 9000])
def test_a_payload_that_is_no_object_is_refused(check: Checking, payload: bytes) -> None:
    header = {"alg": "ES256", "kid": "es256"}
    check.refuses(assembled(header, payload, KEYS["ES256"], "ES256"))
    check.refuses(assembled(payload, {"iss": "x"}, KEYS["ES256"], "ES256"))
