"""A model of two tenants and their callers: who may read which document, and who made what."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

Json = dict[str, Any]
SECRET = re.compile(r"zq[0-9]{6}z|fx[a-z]{10}")
"""A word of one version of one document, which no question contains; or a name of a field."""
ID = re.compile(r"(?<![0-9a-f])(?:[0-9a-f]{32}|[0-9a-f]{12})(?![0-9a-f])")
"""The form of ids of jobs, answers, traces and keys."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """A key and what it stands for. With `collections`, it is bound to them."""

    name: str
    tenant: str
    subject: str
    groups: frozenset[str] = frozenset()
    admin: bool = False
    collections: frozenset[str] | None = None
    key: str = ""
    key_id: str = ""

    def reaches(self, collection: str) -> bool:
        return self.collections is None or collection in self.collections

    def reads_by(self, acl: Json) -> bool:
        """Returns True if an ACL of the caller's tenant names the caller."""
        named = self.subject in acl.get("users", []) or self.groups & set(acl.get("groups", []))
        return self.admin or bool(acl.get("public") or named)


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A document as a tenant has it; without an ACL, it follows the default of its collection.

    The text is empty until a version is stored.
    """

    tenant: str
    collection: str
    id: str
    text: str = ""
    title: str = ""
    uri: str = ""
    acl: Json | None = None
    fields: tuple[str, ...] = ()

    @property
    def place(self) -> tuple[str, str, str]:
        return self.tenant, self.collection, self.id

    @property
    def secrets(self) -> set[str]:
        return set(SECRET.findall(" ".join((self.text, self.title, self.uri, *self.fields))))


@dataclass(slots=True)
class World:
    """All that was stored, as far as calls may show it."""

    callers: list[Caller] = field(default_factory=list)
    documents: dict[tuple[str, str, str], Document] = field(default_factory=dict)
    defaults: dict[tuple[str, str], Json] = field(default_factory=dict)
    """Default ACLs, of all collections."""
    fields: dict[str, set[str]] = field(default_factory=dict)
    """Names of fields that documents of a tenant have had: an index keeps them for admins."""
    owners: dict[str, Caller] = field(default_factory=dict)
    """Those who made jobs, answers and traces, and who have the keys, by id."""

    def put(self, document: Document) -> None:
        self.documents[document.place] = document
        self.fields.setdefault(document.tenant, set()).update(document.fields)
        self.defaults.setdefault((document.tenant, document.collection), {"public": True})

    def change(self, document: Document, acl: Json | None) -> None:
        self.put(replace(document, acl=acl))

    def remove_collection(self, tenant: str, collection: str) -> None:
        self.defaults.pop((tenant, collection), None)
        for document in list(self.documents.values()):
            if (document.tenant, document.collection) == (tenant, collection):
                del self.documents[document.place]

    def collections(self, caller: Caller) -> set[str]:
        """Returns the collections that the caller may know of."""
        return {
            name
            for tenant, name in self.defaults
            if tenant == caller.tenant and caller.reaches(name)
        }

    def may_read(self, caller: Caller, document: Document) -> bool:
        default = self.defaults[document.tenant, document.collection]
        acl = default if document.acl is None else document.acl
        is_near = caller.tenant == document.tenant and caller.reaches(document.collection)
        return is_near and caller.reads_by(acl)

    def readable(self, caller: Caller, collection: str | None = None) -> list[Document]:
        """Returns the documents that the caller may read: all, or those of a collection."""
        return [
            document
            for document in self.documents.values()
            if collection in (None, document.collection) and self.may_read(caller, document)
        ]

    def hidden(self, caller: Caller, collection: str) -> list[Document]:
        """Returns documents of this collection's name that are hidden from the caller.

        They are those of the own tenant, and of the other one where the own has no such id.
        """
        return [
            document
            for document in self.documents.values()
            if document.collection == collection
            and not self.may_read(caller, document)
            and (
                document.tenant == caller.tenant
                or (caller.tenant, collection, document.id) not in self.documents
            )
        ]

    def secrets(self, caller: Caller) -> set[str]:
        """Returns the secrets that responses to the caller may contain."""
        kept = self.fields.get(caller.tenant, set()) if caller.admin else set()
        return {secret for each in self.readable(caller) for secret in each.secrets} | kept

    def may_know(self, caller: Caller, id_: str) -> bool:
        """Returns True if responses to the caller may contain the id of a job, an answer, …."""
        owner = self.owners.get(id_)
        if owner is None or owner.name == caller.name:
            return True
        return caller.admin and owner.tenant == caller.tenant

    def foreign(self, caller: Caller, ids: Iterable[str]) -> list[str]:
        """Returns those of the ids that the caller may not know."""
        return [id_ for id_ in ids if not self.may_know(caller, id_)]
