"""The caller of a request, and what the caller may do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from rag.types.acl import Readers, readers_of

Permission = Literal["ask", "read", "write", "admin", "metrics"]
"""A permission, also called a scope of a key.

ask: questions, searches, embeddings, reranking, feedback; read: documents and collections; write:
adding and deleting documents, and jobs; admin: keys, collections, and every document; metrics: the
metrics of the whole service. None includes another.
"""
PERMISSIONS: tuple[Permission, ...] = get_args(Permission)
DEFAULT_TENANT = "default"
"""The tenant of everyone, unless the gateway is switched on."""
TENANT = r"^[a-z0-9][a-z0-9._-]{0,63}$"
"""Pattern of names of tenants, which are also names of folders."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """The caller: the tenant, the user with groups, and the permissions of the key or token.

    `collections` are those that the caller may name; None: all of the tenant. `key_id` is empty
    without a key. The default is the caller of a service that authenticates nobody.
    """

    tenant: str = DEFAULT_TENANT
    subject: str = ""
    groups: frozenset[str] = frozenset()
    scopes: frozenset[Permission] = frozenset(PERMISSIONS)
    collections: frozenset[str] | None = None
    key_id: str = ""

    @property
    def readers(self) -> Readers | None:
        """The words by which ACLs let the caller read; None with `admin`, who may read all."""
        if self.may("admin"):
            return None
        return readers_of(subject=self.subject, groups=self.groups, key_id=self.key_id)

    def may(self, permission: Permission) -> bool:
        """Returns True if the caller has the permission."""
        return permission in self.scopes

    def reaches(self, collection: str) -> bool:
        """Returns True if the caller may know that the collection exists."""
        return self.collections is None or collection in self.collections
