"""The endpoints of API keys. A caller manages the keys of the own tenant."""

from __future__ import annotations

from collections.abc import Sequence

from .call import Call, given, read_as, segment
from .responses import Key, KeyList, NewKey, Scope


def create_key(
    name: str,
    scopes: Sequence[Scope],
    *,
    collections: Sequence[str] | None = None,
    subject: str | None = None,
    groups: Sequence[str] | None = None,
    expires_in: float | None = None,
) -> Call[NewKey]:
    """Makes a key. The response is the only one that has it: only its hash is stored.

    It reaches `collections`, or all; it stands for the user `subject`, who is in `groups`; it
    expires in `expires_in` seconds, or does not.
    """
    body = given(
        name=name,
        scopes=scopes,
        collections=collections,
        subject=subject,
        groups=groups,
        expires_in=expires_in,
    )
    return Call(method="POST", path="/v1/keys", body=body, read=read_as(NewKey), repeatable=False)


def list_keys() -> Call[KeyList]:
    """Lists the tenant's keys, oldest first; revoked and expired ones, too."""
    return Call(method="GET", path="/v1/keys", read=read_as(KeyList))


def rotate_key(key_id: str, *, overlap: float | None = None) -> Call[NewKey]:
    """Replaces a key by a new one with the same id; the old one works `overlap` seconds longer."""
    return Call(
        method="POST",
        path=f"/v1/keys/{segment(key_id)}/rotate",
        params={"overlap": overlap},
        read=read_as(NewKey),
        repeatable=False,
    )


def revoke_key(key_id: str) -> Call[Key]:
    """Revokes a key: at once in the process that answers, within five seconds in all others."""
    return Call(method="DELETE", path=f"/v1/keys/{segment(key_id)}", read=read_as(Key))
