"""The endpoints of collections."""

from __future__ import annotations

from collections.abc import Sequence

from .call import Call, given, nothing, read_as, segment
from .responses import Acl, CollectionList


def list_collections() -> Call[CollectionList]:
    """Lists all collections, by name."""
    return Call(method="GET", path="/v1/collections", read=read_as(CollectionList))


def delete_collection(collection: str) -> Call[None]:
    """Removes a collection with its documents, its index and the answers made of it."""
    return Call(method="DELETE", path=_path(collection), read=nothing)


def get_default_acl(collection: str) -> Call[Acl]:
    """Returns who may read the documents of a collection that have no ACL of their own."""
    return Call(method="GET", path=f"{_path(collection)}/acl", read=read_as(Acl))


def put_default_acl(
    collection: str,
    *,
    users: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
    public: bool | None = None,
) -> Call[Acl]:
    """Replaces the default ACL of a collection, from the next question on; makes a new one."""
    return Call(
        method="PUT",
        path=f"{_path(collection)}/acl",
        body=given(users=users, groups=groups, public=public),
        read=read_as(Acl),
    )


def _path(collection: str) -> str:
    return f"/v1/collections/{segment(collection)}"
