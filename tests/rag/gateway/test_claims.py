"""Claims as real providers issue them, and as no provider should."""

from __future__ import annotations

from typing import Any

import pytest

from rag.gateway.claims import ClaimError, ClaimMapping, value_of
from rag.types import Principal

PLAIN: dict[str, Any] = {
    "required": {},
    "tenant": "default",
    "tenant_claim": None,
    "subject_claim": "sub",
    "groups_claim": "groups",
    "scopes_claims": ("scope",),
    "scopes": {"reader": ("ask", "read"), "editor": ("read", "write")},
    "default_scopes": (),
}


def principal(claims: dict[str, Any], **settings: Any) -> Principal:
    return ClaimMapping(**(PLAIN | settings)).principal(claims)


def test_claims_of_keycloak() -> None:
    claims = {
        "sub": "f3a0", "preferred_username": "jo", "azp": "app", "scope": "email profile",
        "realm_access": {"roles": ["offline_access", "reader"]},
        "resource_access": {"plumbline": {"roles": ["editor"]}},
        "groups": ["/team/search", "/staff"],
    }  # fmt: skip
    assert principal(
        claims,
        tenant="acme",
        subject_claim="preferred_username",
        scopes_claims=("realm_access.roles", "resource_access.plumbline.roles"),
    ) == Principal(
        tenant="acme",
        subject="jo",
        groups=frozenset({"/team/search", "/staff"}),
        scopes=frozenset({"ask", "read", "write"}),
    )


def test_claims_of_entra_id() -> None:
    tid = "72f988bf-86f1-41af-91ab-2d7cd011db47"
    of_user = {"sub": "AbC-1_", "oid": "00aa", "tid": tid, "scp": "reader other", "groups": ["g1"]}
    of_application = {"sub": "00bb", "oid": "00bb", "tid": tid, "roles": ["editor"]}
    settings = {"tenant_claim": "tid", "subject_claim": "oid", "scopes_claims": ("roles", "scp")}
    assert principal(of_user, **settings) == Principal(
        tenant=tid, subject="00aa", groups=frozenset({"g1"}), scopes=frozenset({"ask", "read"})
    )
    assert principal(of_application, **settings) == Principal(
        tenant=tid, subject="00bb", scopes=frozenset({"read", "write"})
    )


def test_claims_of_google() -> None:
    claims = {"sub": "110169484474386276334", "hd": "example.com", "email": "jo@example.com"}
    assert principal(
        claims, tenant_claim="hd", subject_claim="email", default_scopes=("ask",)
    ) == Principal(
        tenant="example.com", subject="jo@example.com", scopes=frozenset({"ask"})
    )  # fmt: skip


def test_a_required_claim_has_one_of_its_values() -> None:
    required = {"hd": ("example.com", "example.org"), "amr": ("mfa",)}
    for good in ("example.com", "example.org", ["example.org", "other"]):
        assert principal({"sub": "jo", "hd": good, "amr": ["pwd", "mfa"]}, required=required)
    for wrong in (None, "", "example.net", "EXAMPLE.com", "example.com example.org", [], [7], 7):
        with pytest.raises(ClaimError, match="hd"):
            principal({"sub": "jo", "hd": wrong, "amr": ["mfa"]}, required=required)
    with pytest.raises(ClaimError, match="amr"):
        principal({"sub": "jo", "hd": "example.com"}, required=required)


def test_without_a_role_that_is_mapped_nothing_is_permitted() -> None:
    for scope in ("", "admin write", ["admin"], [], None):
        claims = {"sub": "jo"} | ({} if scope is None else {"scope": scope})
        assert principal(claims) == Principal(subject="jo", scopes=frozenset())


@pytest.mark.parametrize(
    "tenant",
    ["", "Acme", "../acme", "acme/x", "acme\n", "a" * 65, ".acme", "é", None, 7, True, ["x"], {}],
)
def test_a_tenant_that_is_no_name_of_one_is_refused(tenant: Any) -> None:
    with pytest.raises(ClaimError, match=r"org\.id"):
        principal({"sub": "jo", "org": {"id": tenant}}, tenant_claim="org.id")
    with pytest.raises(ClaimError, match=r"org\.id"):
        principal({"sub": "jo"}, tenant_claim="org.id")


@pytest.mark.parametrize(
    "name", ["", "x" * 256, "a\nb", "\0", "\ud800", "\u202eoj", 7, True, [], {}, ["jo"]]
)
def test_a_subject_or_group_that_is_no_name_is_refused(name: Any) -> None:
    with pytest.raises(ClaimError, match="sub"):
        principal({"sub": name})
    with pytest.raises(ClaimError, match="groups"):
        principal({"sub": "jo", "groups": ["staff", name]})


@pytest.mark.parametrize("value", [7, True, {"a": "b"}, [1], ["a", None]])
def test_a_claim_that_is_no_list_of_texts_is_refused(value: Any) -> None:
    for name in ("groups", "scope"):
        with pytest.raises(ClaimError, match=name):
            principal({"sub": "jo", name: value})


def test_a_group_is_one_text_with_its_spaces_and_a_scope_is_words() -> None:
    found = principal({"sub": "jo", "groups": "all staff", "scope": "reader  editor"})
    assert found.groups == {"all staff"}
    assert found.scopes == {"ask", "read", "write"}


def test_a_name_with_dots_comes_before_a_path() -> None:
    claims = {
        "https://example.com/roles": ["a"],
        "realm_access": {"roles": ["b"]},
        "x": {"y.z": "c", "y": {"z": "d"}},
        "a": {"b": 1},
        "a.b": {"c": 2},
    }
    assert value_of(claims, "https://example.com/roles") == ["a"]
    assert value_of(claims, "realm_access.roles") == ["b"]
    assert value_of(claims, "x.y.z") == "c"
    assert value_of(claims, "a.b.c") == 2
    for missing in ("roles", "realm_access.roles.b", "realm_access.", ".roles", "x.y.z.w", ""):
        assert value_of(claims, missing) is None
