"""The endpoints of documents."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Literal

import httpx

from .call import Call, Form, Progress, given, nothing, read_as, segment
from .requests import File, NewDocument, Readers, file_of
from .responses import Accepted, Acl, ChunkPage, Document, DocumentPage, State


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """The bytes of a document, or its text in UTF-8; `name` is one to save them by, or empty."""

    data: bytes
    media_type: str
    name: str

    @property
    def text(self) -> str:
        """The bytes as UTF-8."""
        return self.data.decode()


def submit_documents(
    documents: Sequence[NewDocument],
    *,
    collection: str | None = None,
    expires_in: float | None = None,
) -> Call[Accepted]:
    """Sends documents; a job ingests them.

    With `expires_in`, those that have not begun within that many seconds fail.
    """
    return Call(
        method="POST",
        path="/v1/documents",
        params={"expires_in": expires_in},
        body=given(documents=documents, collection=collection),
        read=read_as(Accepted),
    )


def upload_files(
    files: Sequence[File | Path | str],
    *,
    collection: str | None = None,
    acl: Readers | None = None,
    expires_in: float | None = None,
    on_progress: Progress | None = None,
) -> Call[Accepted]:
    """Sends files, of which paths stand for those there; a job ingests them.

    `acl` is that of all of them. `on_progress` is called with the bytes sent and with all.
    """
    sent = [file_of(each) for each in files]
    uris = [each.uri for each in sent if each.uri is not None]
    fields = given(
        collection=collection,
        uri=uris or None,
        acl=None if acl is None else json.dumps(acl, ensure_ascii=False),
    )
    return Call(
        method="POST",
        path="/v1/documents",
        params={"expires_in": expires_in},
        form=Form(fields=fields, files=sent, on_progress=on_progress),
        read=read_as(Accepted),
    )


def list_documents(
    *,
    collection: str | None = None,
    limit: int | None = None,
    cursor: str | None = None,
    uri_prefix: str | None = None,
    state: State | None = None,
) -> Call[DocumentPage]:
    """Lists documents in the order of their ids, each from the moment it was accepted.

    With `uri_prefix`, only those whose uri begins with it; with `state`, only those in that state.
    """
    params = {
        "collection": collection,
        "limit": limit,
        "cursor": cursor,
        "uri_prefix": uri_prefix,
        "state": state,
    }
    return Call(method="GET", path="/v1/documents", params=params, read=read_as(DocumentPage))


def list_chunks(
    document_id: str,
    *,
    collection: str | None = None,
    limit: int | None = None,
    cursor: str | None = None,
) -> Call[ChunkPage]:
    """Lists a document's chunks in the order of its text."""
    return Call(
        method="GET",
        path=f"{document_path(document_id)}/chunks",
        params={"collection": collection, "limit": limit, "cursor": cursor},
        read=read_as(ChunkPage),
    )


def get_document(document_id: str, *, collection: str | None = None) -> Call[Document]:
    """Returns one document and its state."""
    return Call(
        method="GET",
        path=document_path(document_id),
        params={"collection": collection},
        read=read_as(Document),
    )


def delete_document(document_id: str, *, collection: str | None = None) -> Call[None]:
    """Removes a document from index and catalog."""
    return Call(
        method="DELETE",
        path=document_path(document_id),
        params={"collection": collection},
        read=nothing,
    )


def get_content(
    document_id: str,
    *,
    collection: str | None = None,
    as_: Literal["text", "original"] | None = None,
) -> Call[Content]:
    """Returns the original file of a document; if none is kept of it, its text.

    With `as_="text"`, returns the text that was read from it: `start` and `end` of citations count
    its characters. With `as_="original"`, the file alone.
    """
    return Call(
        method="GET",
        path=f"{document_path(document_id)}/content",
        params={"collection": collection, "as": as_},
        read=_content,
    )


def get_acl(document_id: str, *, collection: str | None = None) -> Call[Acl]:
    """Returns who may read a document."""
    return Call(
        method="GET",
        path=f"{document_path(document_id)}/acl",
        params={"collection": collection},
        read=read_as(Acl),
    )


def put_acl(
    document_id: str,
    *,
    users: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
    public: bool | None = None,
    collection: str | None = None,
) -> Call[Acl]:
    """Replaces the readers of a document; they may read it from the next question on."""
    return Call(
        method="PUT",
        path=f"{document_path(document_id)}/acl",
        params={"collection": collection},
        body=given(users=users, groups=groups, public=public),
        read=read_as(Acl),
    )


def delete_acl(document_id: str, *, collection: str | None = None) -> Call[Acl]:
    """Removes the ACL of a document: it follows the default of its collection again."""
    return Call(
        method="DELETE",
        path=f"{document_path(document_id)}/acl",
        params={"collection": collection},
        read=read_as(Acl),
    )


def document_path(document_id: str) -> str:
    """Returns the route of a document, whatever its id is made of."""
    return f"/v1/documents/{segment(document_id)}"


def _content(response: httpx.Response) -> Content:
    headers = Message()
    headers["Content-Type"] = response.headers.get("content-type", "application/octet-stream")
    headers["Content-Disposition"] = response.headers.get("content-disposition", "inline")
    return Content(
        data=response.content,
        media_type=headers.get_content_type(),
        name=headers.get_filename(""),
    )
