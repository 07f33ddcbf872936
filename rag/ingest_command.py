"""`rag ingest`: files to a job, and a bar that follows it."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from ingest.readers import document_id
from ingest.sources import file_uri, find, submission_of
from rag import output
from rag.build import TENANT
from rag.carry import carry
from rag.client import Client, Json, connect, wait_until_done
from rag.errors import ReadError
from rag.settings import Settings
from rag.types import Scope

if TYPE_CHECKING:
    from rich.progress import Progress

File = tuple[str, str, bytes]
"""A file to send: its uri, name and bytes."""
STDIN = "-"
UPLOAD_FILES = 64
UPLOAD_BYTES = 16 << 20


async def ingest(args: argparse.Namespace, settings: Settings) -> int:
    """Ingests what the paths name; 1 if a document failed, 2 if a path is wrong."""
    paths = list(find([p for p in args.paths if p != STDIN]))
    text = sys.stdin.buffer.read() if STDIN in args.paths else None
    started = time.perf_counter()
    if args.url:
        jobs = await _upload(args, settings, paths, text)
    else:
        jobs = [await _embedded(args, settings, paths, text)]
    summary = _sum(jobs) | {"seconds": round(time.perf_counter() - started, 3)}
    output.show(summary, output.ingested, as_json=args.json)
    return 1 if summary["counts"]["failed"] or summary["counts"]["cancelled"] else 0


async def _embedded(
    args: argparse.Namespace, settings: Settings, paths: Sequence[Path], text: bytes | None
) -> Json:
    async with carry(settings) as (client, service, queue):
        scope = Scope(tenant=TENANT, collection=args.collection)
        await service.ingest.check_collection(scope)
        piped = (
            [] if text is None else [service.spool.put(text, uri="stdin:", name=STDIN, title=STDIN)]
        )
        job_id = await service.catalog.submit(scope, chain(map(submission_of, paths), piped))
        with _bar(len(paths) + len(piped), quiet=args.json) as bar:
            working = asyncio.create_task(queue.drain())
            following = asyncio.create_task(_follow(client, job_id, bar))
            done, left = await asyncio.wait(
                (working, following), return_when=asyncio.FIRST_EXCEPTION
            )
        for task in left:
            task.cancel()
        for task in done:
            task.result()
        return following.result()


async def _upload(
    args: argparse.Namespace, settings: Settings, paths: Sequence[Path], text: bytes | None
) -> list[Json]:
    jobs: list[Json] = []
    refused: list[Json] = []
    async with connect(args.url) as client:
        with _bar(len(paths) + (text is not None), quiet=args.json) as bar:
            files_ = _files(paths, text, refused, max_bytes=settings.limits.file_mb << 20)
            for files in _batches(files_):
                sent = await client.post(
                    "/v1/documents",
                    data={"collection": args.collection, "uri": [uri for uri, _, _ in files]},
                    files=[("files", (name, data)) for _, name, data in files],
                )
                jobs.append(await _follow(client, sent["job_id"], bar))
    return [*jobs, _refusal(refused)]


async def _follow(client: Client, job_id: str, bar: Progress) -> Json:
    """Moves the bar until the job has ended; the job then."""
    before = 0
    async for job in wait_until_done(client, job_id):
        counts = job["counts"]
        done = counts["total"] - counts["pending"] - counts["running"]
        bar.advance(bar.task_ids[0], done - before)
        before = done
    return job


def _batches(files: Iterable[File]) -> Iterator[list[File]]:
    """Files, as many as go into one request."""
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


def _files(
    paths: Sequence[Path], text: bytes | None, refused: list[Json], *, max_bytes: int
) -> Iterator[File]:
    """What can be sent; the server refuses a request whole, so what it would refuse stays here."""
    sources: list[tuple[str, Path | None]] = [(file_uri(path), path) for path in paths]
    if text is not None:
        sources.append(("stdin:", None))
    for uri, path in sources:
        name = os.fsencode(path.name).decode(errors="replace") if path else STDIN
        try:
            data = _read(path, name, max_bytes + 1) if path else text or b""
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
    """Files that were not sent, told as a job is."""
    n = len(failures)
    counts = {"total": n, "pending": 0, "running": 0, "succeeded": 0, "failed": n, "cancelled": 0}
    return {"id": None, "counts": counts, "outcomes": {}, "failures": failures}


@contextlib.contextmanager
def _bar(total: int, *, quiet: bool) -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=quiet or not console.is_terminal) as bar:
        bar.add_task("Ingesting", total=total)
        yield bar


def _sum(jobs: Sequence[Json]) -> Json:
    """Several jobs as one."""
    total: Json = {
        "jobs": [job["id"] for job in jobs if job["id"]],
        "counts": {},
        "outcomes": {},
        "failures": [],
    }
    for job in jobs:
        for part in ("counts", "outcomes"):
            for key, n in job[part].items():
                total[part][key] = total[part].get(key, 0) + n
        total["failures"] += job["failures"]
    return total
