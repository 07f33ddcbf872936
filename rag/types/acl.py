"""Access control lists of documents, as words that a document and a caller may share."""

from __future__ import annotations

from collections.abc import Iterable

Readers = frozenset[str]
"""Words such as `user:anna`, `group:sales` and `public`.

A caller who shares one with a document may read it.
"""
PUBLIC = "public"
"""The word of a document that every caller of the tenant may read."""
DEFAULT = "default"
"""The word of a document without an ACL of its own. A caller has it where the collection's default
ACL lets the caller read."""
USER, GROUP = "user:", "group:"
"""Beginnings of the words of users and groups."""
KEY = "key:"
"""Beginning of the word of a key that stands for no user; no document has one."""


def readers_of(*, subject: str = "", groups: Iterable[str] = (), key_id: str = "") -> Readers:
    """Returns the words of a caller."""
    own = f"{USER}{subject}" if subject else f"{KEY}{key_id}" if key_id else PUBLIC
    return frozenset({PUBLIC, own, *(f"{GROUP}{group}" for group in groups)})


def stored_acl(acl: Readers | None) -> Readers:
    """Returns the words that an index stores of a document; None: it has no ACL of its own."""
    return frozenset({DEFAULT}) if acl is None else acl
