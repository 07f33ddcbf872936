"""Turns the claims of a token into a principal, as the settings of its issuer say."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rag.types import TENANT, Permission, Principal

NAME_CHARS = 255
"""Characters of a subject, as OpenID Connect bounds it, and of a group."""


class ClaimError(Exception):
    """A claim is missing, or its value does not fit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimMapping:
    """Names of claims, which may be dotted paths, and what their values mean."""

    required: Mapping[str, Sequence[str]]
    """Claims with the values of which a token has at least one."""
    tenant: str
    tenant_claim: str | None
    subject_claim: str
    groups_claim: str
    scopes_claims: Sequence[str]
    scopes: Mapping[str, Sequence[Permission]]
    default_scopes: Sequence[Permission]

    def principal(self, claims: Mapping[str, Any]) -> Principal:
        """Returns the caller whose claims these are.

        Raises:
            ClaimError: The subject, the tenant or a required value is missing, or one does not fit.
        """
        for name, values in self.required.items():
            if set(values).isdisjoint(_texts(claims, name)):
                raise ClaimError(f"its claim {name!r} has none of the required values")
        scopes = set(self.default_scopes)
        for name in self.scopes_claims:
            for value in _texts(claims, name, splits=True):
                scopes.update(self.scopes.get(value, ()))
        return Principal(
            tenant=self._tenant(claims),
            subject=_name(self.subject_claim, value_of(claims, self.subject_claim)),
            groups=frozenset(
                _name(self.groups_claim, group) for group in _texts(claims, self.groups_claim)
            ),
            scopes=frozenset(scopes),
        )

    def _tenant(self, claims: Mapping[str, Any]) -> str:
        if self.tenant_claim is None:
            return self.tenant
        found = value_of(claims, self.tenant_claim)
        if not isinstance(found, str) or not re.fullmatch(TENANT, found):
            raise ClaimError(f"its claim {self.tenant_claim!r} is no name of a tenant")
        return found


def value_of(claims: Mapping[str, Any], path: str) -> Any:
    """Returns the value of a claim; None if there is none.

    A claim whose name has dots, such as `https://example.com/roles`, comes before a path.
    """
    if path in claims:
        return claims[path]
    for at in (found.start() for found in re.finditer(r"\.", path)):
        inner = claims.get(path[:at])
        if isinstance(inner, dict) and (value := value_of(inner, path[at + 1 :])) is not None:
            return value
    return None


def is_name(text: str) -> bool:
    """Returns True if logs and databases can have a text: it is printable and not too long."""
    return 0 < len(text) <= NAME_CHARS and text.isprintable()


def _texts(claims: Mapping[str, Any], path: str, *, splits: bool = False) -> list[str]:
    """Returns the texts of a claim, which is a list or one text; with `splits`, its words."""
    found = value_of(claims, path)
    if isinstance(found, str):
        return found.split() if splits else [found]
    if not isinstance(found, list | None) or any(not isinstance(each, str) for each in found or ()):
        raise ClaimError(f"its claim {path!r} is no list of texts")
    return found or []


def _name(path: str, value: Any) -> str:
    """Returns the name of a user or a group."""
    if not isinstance(value, str) or not is_name(value):
        raise ClaimError(f"its claim {path!r} has a value that is no name")
    return value
