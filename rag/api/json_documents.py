"""Turns the bytes of a JSON request into documents on disk and their submissions.

A small body is read in a thread. A large one is written to disk as it arrives and read in a
separate process: the JSON parser holds the interpreter's lock from the first byte to the last, and
its use of memory depends on the content.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import re
import resource
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from pydantic_core import from_json

from ingest.sources.files import TenantSpool, storage_errors
from ingest.sources.web import submission_of_url
from rag.api.schemas import DocumentIn, DocumentsRequest
from rag.errors import ConflictError, TooLargeError, UpstreamError
from rag.process.child_process import ChildProcess
from rag.records import Submission
from rag.settings.operations import LimitSettings
from rag.text.validation_errors import faults_of, shortened

SMALL_BYTES = 2 << 20
"""Largest body for a thread: it takes some tens of milliseconds, a process longer to start."""
SECONDS = 120.0
"""Seconds that reading one body may take, without the wait for the bodies before it."""
_NICE = 10
_SPACE_BYTES = 1 << 30
"""Address space of a process with its libraries, in bytes."""
_SPACE_FACTOR = 16
"""Bytes of memory for each byte of a body: four per character, and several copies of a text."""
PARTS = 1_000_000
"""Most strings, lists, objects and commas in a large body; each takes some 100 bytes of memory."""
_PART = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[{,]', re.DOTALL)
"""Matches one part. An unterminated string matches to the end of the body: it is scanned once."""


@dataclass(frozen=True, slots=True)
class Sent:
    """The documents of a request: their collection and their submissions."""

    collection: str
    submissions: list[Submission]


class InvalidError(Exception):
    """The body is not a valid request for documents; the faults are those of pydantic."""

    def __init__(self, faults: list[dict[str, Any]]) -> None:
        super().__init__(faults)
        self.faults = faults


async def take_json(
    request: Request, spool: TenantSpool, limits: LimitSettings, *, turn: asyncio.Lock
) -> Sent:
    """Stores the documents of a request, or none on an error. Large requests wait for their `turn`.

    Raises:
        RequestValidationError: The body is not a valid request for documents.
        InputError: A document cannot be ingested.
        StorageError: The disk is full.
        ClientDisconnect: The client hung up before the whole body arrived.
    """
    head = bytearray()
    coming = request.stream()
    try:
        async for part in coming:
            head += part
            if len(head) > SMALL_BYTES:
                return await _take_large(head, coming, spool.part(), limits, turn)
        return await asyncio.to_thread(read, bytes(head), spool, limits)
    except InvalidError as error:
        raise RequestValidationError(
            [{**fault, "loc": ("body", *fault["loc"])} for fault in error.faults]
        ) from None


async def _take_large(
    head: bytearray,
    rest: AsyncIterator[bytes],
    own: TenantSpool,
    limits: LimitSettings,
    turn: asyncio.Lock,
) -> Sent:
    """Stores a body and its documents in a part of the spool; at the end only the documents stay.

    Files that a killed reader process left are removed as well.
    """
    kept: set[str] = set()
    try:
        with own.incoming() as file:
            path = Path(file.name)
            with storage_errors(path.parent):
                await asyncio.to_thread(file.write, head)
                async for part in rest:
                    await asyncio.to_thread(file.write, part)
                await asyncio.to_thread(file.flush)
            async with turn:
                sent = await _read_in_process(path, own, limits)
        kept = {submission.source["spool"] for submission in sent.submissions}
        return sent
    finally:
        await asyncio.to_thread(lambda: own.sweep(own.keys(older_than=0) - kept))


async def _read_in_process(path: Path, spool: TenantSpool, limits: LimitSettings) -> Sent:
    size = (await asyncio.to_thread(path.stat)).st_size
    process: ChildProcess[Path, Sent] = await ChildProcess.started(
        partial(_reader, spool, limits, memory=_SPACE_BYTES + _SPACE_FACTOR * size),
        name="reader of JSON",
        lanes=1,
        seconds=SECONDS,
    )
    try:
        return await process.call(path)
    except TimeoutError:
        raise TooLargeError(
            f"Reading the JSON took more than {SECONDS:g} s. Send fewer documents at once."
        ) from None
    except UpstreamError as error:
        if error.code != "process_died":
            raise
        raise _too_complex() from error
    finally:
        await asyncio.to_thread(process.close)


def _reader(spool: TenantSpool, limits: LimitSettings, *, memory: int) -> Callable[[Path], Sent]:
    """Limits this process in address space and priority, and returns the reader of files."""
    os.nice(_NICE)
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    space = memory if hard == resource.RLIM_INFINITY else min(memory, hard)
    resource.setrlimit(resource.RLIMIT_AS, (space, space))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    gc.disable()  # JSON has no cycles, and looking for them takes longer than reading it

    def read_file(path: Path) -> Sent:
        try:
            body = path.read_bytes()
            if next(islice(_PART.finditer(body), PARTS, None), None):
                raise _too_complex()
            return read(body, spool, limits)
        except MemoryError:
            raise _too_complex() from None

    return read_file


def _too_complex() -> TooLargeError:
    return TooLargeError(
        f"The JSON has more than {PARTS:,} parts, or takes more than {_SPACE_FACTOR} times its own"
        " size of memory. Send fewer documents at once."
    )


def read(body: bytes, spool: TenantSpool, limits: LimitSettings) -> Sent:
    """Stores the documents of a body, or none on an error.

    Raises:
        InvalidError: The body is not a valid request for documents.
        InputError: A document cannot be ingested.
        StorageError: The disk is full.
    """
    try:
        sent = from_json(body, cache_strings="keys")
    except ValueError as error:
        fault = {"type": "json_invalid", "loc": (), "msg": "", "ctx": {"error": str(error)}}
        raise InvalidError([fault]) from None
    if isinstance(sent, dict) and isinstance(documents := sent.get("documents"), list):
        _check_count(len(documents), limits)
    try:
        request = DocumentsRequest.model_validate(sent)
    except ValidationError as error:
        raise InvalidError([dict(fault) for fault in faults_of(error)]) from None
    return Sent(request.collection, _keep(request.documents, spool, limits))


def _keep(
    documents: Sequence[DocumentIn], spool: TenantSpool, limits: LimitSettings
) -> list[Submission]:
    uris = [_uri_of(document) for document in documents]
    check_unique([d.id or uri for d, uri in zip(documents, uris, strict=True)])
    keep = []
    for document, uri in zip(documents, uris, strict=True):
        if document.text is not None:
            data = _bytes_of(document)
            check_size(len(data), document.id or document.uri or "the document", limits)
            names = {"uri": uri, "document_id_": document.id, "title": document.title or ""}
            keep.append((data, names))
    kept = iter(spool.put_all(keep))
    submissions = [
        submission_of_url(uri, spool.new_key(), own_id=document.id)
        if document.text is None
        else next(kept)
        for document, uri in zip(documents, uris, strict=True)
    ]
    return [
        replace(submission, acl=None if document.acl is None else document.acl.words())
        for submission, document in zip(submissions, documents, strict=True)
    ]


def check_size(size: int, name: str, limits: LimitSettings) -> None:
    """Checks the size of one document, in bytes.

    Raises:
        TooLargeError: It is over the limit.
    """
    if size > limits.file_mb << 20:
        raise TooLargeError(
            f"{name} is over the limit of {limits.file_mb} MiB for one document. Split it, or raise"
            " the setting limits.file_mb."
        )


def check_unique(ids: Sequence[str], *, hint: str = "") -> None:
    """Checks that every document has a different id; `hint` ends the error's message.

    Raises:
        ConflictError: Two documents have the same id.
    """
    if twice := [i for i, n in Counter(ids).items() if n > 1]:
        listed = ", ".join(shortened(each) for each in twice[:5])
        message = f"Sent twice in one request: {listed}. {hint}"
        raise ConflictError(message.rstrip(), code="duplicate_id")


def _check_count(count: int, limits: LimitSettings) -> None:
    limit = limits.upload_documents
    if count > limit:
        raise TooLargeError(
            f"{count} documents came at once, and the limit (limits.upload_documents) is {limit}."
        )


def _uri_of(document: DocumentIn) -> str:
    if named := document.uri or document.id:
        return named
    return f"sha256:{sha256((document.text or '').encode()).hexdigest()}"


def _bytes_of(document: DocumentIn) -> bytes:
    """Returns canonical bytes: equal documents have equal bytes and an equal version."""
    fields = {"title": document.title, "text": document.text, "meta": document.meta}
    return json.dumps(fields, ensure_ascii=False, sort_keys=True).encode()
