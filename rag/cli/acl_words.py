"""The ACL that `--acl` gives to documents."""

from __future__ import annotations

from collections.abc import Sequence

from rag.client import Readers as AclBody
from rag.errors import InputError
from rag.types import GROUP, PUBLIC, USER, Readers


def acl_of(given: Sequence[str]) -> Readers | None:
    """Returns the words of the readers that `--acl` names; None if it was not given.

    Raises:
        InputError: One is neither `public` nor a user nor a group.
    """
    for word in given:
        name = word.partition(":")[2]
        is_name = word.startswith((USER, GROUP)) and name.strip() and name.isprintable()
        if word != PUBLIC and not is_name:
            raise InputError(f"--acl {word!r}: it is user:NAME, group:NAME or public.")
    return frozenset(given) or None


def acl_body(acl: Readers) -> AclBody:
    """Returns an ACL as the API takes it."""
    return {
        "users": sorted(word.removeprefix(USER) for word in acl if word.startswith(USER)),
        "groups": sorted(word.removeprefix(GROUP) for word in acl if word.startswith(GROUP)),
        "public": PUBLIC in acl,
    }
