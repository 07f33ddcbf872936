"""The destinations of `rag ingest`: the data folder itself, or a server."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ingest.sources.files import file_uri, submission_of
from ingest.sources.web import submission_of_url
from rag.build.embedding import loading_embedder
from rag.build.model_folders import with_model_folders
from rag.build.queue_backends import queue_backend
from rag.cli.acl_words import acl_body, acl_of
from rag.cli.connection import connect
from rag.cli.output import Json, json_of
from rag.cli.progress import progress_bar
from rag.cli.scope import caller, scope_of
from rag.client import AsyncClient, Job, NewDocument
from rag.client import File as Upload
from rag.errors import ReadError
from rag.process.imports import importing
from rag.protocols import Queue
from rag.settings.tree import Settings
from rag.telemetry.trace import trace_of
from rag.text.uris import document_id
from rag.types import Readers, Scope

if TYPE_CHECKING:
    from rich.progress import Progress

    from rag.build.ingest import Ingesting

File = tuple[str, str, bytes]
"""A file to send: its uri, name and bytes."""
STDIN = "-"
UPLOAD_FILES = 64
UPLOAD_BYTES = 16 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """The inputs to ingest; `piped` is the content of standard input."""

    files: Sequence[Path] = ()
    urls: Sequence[str] = ()
    piped: bytes | None = None

    def __len__(self) -> int:
        return len(self.files) + len(self.urls) + (self.piped is not None)


class Destination(Protocol):
    """Ingests documents into a collection."""

    @property
    def client(self) -> AsyncClient:
        """The client of the API that serves the collection."""

    @property
    def collection(self) -> str:
        """The collection's name."""

    @property
    def quiet(self) -> bool:
        """True if no progress is shown."""

    async def ingest(self, named: Named) -> list[Json]:
        """Ingests documents; returns the jobs, which have ended."""


@contextlib.asynccontextmanager
async def opened(args: argparse.Namespace, settings: Settings) -> AsyncIterator[Destination]:
    """Opens the server at `--url`, or the data folder if there is none."""
    acl = acl_of(args.acl)
    if args.url:
        max_bytes = settings.limits.file_mb << 20
        async with connect(args.url) as client:
            yield _Server(client, args.collection, max_bytes=max_bytes, quiet=args.json, acl=acl)
    else:
        settings = with_model_folders(settings)
        async with loading_embedder(settings.embedder) as embedder:
            with importing():
                from rag.build.ingest import open_ingesting
                from rag.cli.in_process import client_of

            async with open_ingesting(settings, embedder) as opened:
                await opened.warm()
                queue = queue_backend(settings).queue(opened)
                async with client_of(opened, queue, caller=caller(args)) as client:
                    scope = scope_of(args)
                    yield _DataFolder(client, scope, opened, queue, quiet=args.json, acl=acl)


@dataclass(frozen=True, slots=True)
class _DataFolder:
    client: AsyncClient
    scope: Scope
    opened: Ingesting
    queue: Queue
    quiet: bool
    acl: Readers | None = None

    @property
    def collection(self) -> str:
        return self.scope.collection

    async def ingest(self, named: Named) -> list[Json]:
        spool = self.opened.spool.of(self.scope.tenant)
        piped = (
            []
            if named.piped is None
            else [spool.put(named.piped, uri="stdin:", name=STDIN, title=STDIN)]
        )
        sent = [
            *map(submission_of, named.files),
            *(submission_of_url(url, spool.new_key()) for url in named.urls),
            *piped,
        ]
        submissions = [replace(submission, acl=self.acl) for submission in sent]
        trace = trace_of(None, rate=self.opened.settings.traces.rate)
        job_id = await self.opened.ingest.accept(self.scope, submissions, trace)
        with progress_bar("Ingesting", len(named), quiet=self.quiet) as bar:
            return [await self._work(job_id, bar)]

    async def _work(self, job_id: str, bar: Progress) -> Json:
        working = asyncio.create_task(self.queue.drain())
        following = asyncio.create_task(_follow(self.client, job_id, bar))
        try:
            done, _ = await asyncio.wait((working, following), return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
            return following.result()
        finally:
            working.cancel()
            following.cancel()
            await asyncio.gather(working, following, return_exceptions=True)


@dataclass(frozen=True, slots=True)
class _Server:
    client: AsyncClient
    collection: str
    max_bytes: int
    quiet: bool
    acl: Readers | None = None

    async def ingest(self, named: Named) -> list[Json]:
        jobs: list[Json] = []
        refused: list[Json] = []
        with progress_bar("Ingesting", len(named), quiet=self.quiet) as bar:
            for i in range(0, len(named.urls), UPLOAD_FILES):
                sent = await self.client.submit_documents(
                    [self._document(url) for url in named.urls[i : i + UPLOAD_FILES]],
                    collection=self.collection,
                )
                jobs.append(await _follow(self.client, sent.id, bar))
            for files in _batches(_files(named, refused, max_bytes=self.max_bytes)):
                sent = await self.client.upload_files(
                    [Upload(name=name, content=data, uri=uri) for uri, name, data in files],
                    collection=self.collection,
                    acl=None if self.acl is None else acl_body(self.acl),
                )
                jobs.append(await _follow(self.client, sent.id, bar))
        return [*jobs, _refusal(refused)]

    def _document(self, url: str) -> NewDocument:
        return {"uri": url} if self.acl is None else {"uri": url, "acl": acl_body(self.acl)}


async def _follow(client: AsyncClient, job_id: str, bar: Progress) -> Json:
    """Moves the bar until the job has ended; returns the job."""
    before = 0

    def move(job: Job) -> None:
        nonlocal before
        done = job.counts["total"] - job.counts["pending"] - job.counts["running"]
        bar.advance(bar.task_ids[0], done - before)
        before = done

    return json_of(await client.wait_for_job(job_id, on_progress=move))


def _batches(files: Iterable[File]) -> Iterator[list[File]]:
    """Yields files in batches, each as many as go into one request."""
    batch: list[File] = []
    size = 0
    for uri, name, data in files:
        if batch and (size + len(data) > UPLOAD_BYTES or len(batch) == UPLOAD_FILES):
            yield batch
            batch, size = [], 0
        batch.append((uri, name, data))
        size += len(data)
    if batch:
        yield batch


def _files(named: Named, refused: list[Json], *, max_bytes: int) -> Iterator[File]:
    """Yields files that the server accepts: for a single bad one it refuses the whole request."""
    sources: list[tuple[str, Path | None]] = [(file_uri(path), path) for path in named.files]
    if named.piped is not None:
        sources.append(("stdin:", None))
    for uri, path in sources:
        name = os.fsencode(path.name).decode(errors="replace") if path else STDIN
        try:
            data = _read(path, name, max_bytes + 1) if path else named.piped or b""
            _check(data, name, max_bytes)
        except ReadError as error:
            refused.append({"document_id": document_id(uri), "uri": uri, "error": str(error)})
        else:
            yield uri, name, data


def _read(path: Path, name: str, most: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(most)
    except OSError as error:
        raise ReadError(f"{name}: cannot be read: {error.strerror}.") from error


def _check(data: bytes, name: str, max_bytes: int) -> None:
    if not data:
        raise ReadError(f"{name}: the document holds no text.")
    if len(data) > max_bytes:
        raise ReadError(
            f"{name}: over the limit of {max_bytes >> 20} MiB for one document. Split it, or raise"
            " the setting limits.file_mb."
        )


def _refusal(failures: Sequence[Json]) -> Json:
    """Returns the files that were not sent in the form of a job."""
    n = len(failures)
    counts = {"total": n, "pending": 0, "running": 0, "succeeded": 0, "failed": n, "cancelled": 0}
    return {"id": None, "counts": counts, "outcomes": {}, "failures": failures}
