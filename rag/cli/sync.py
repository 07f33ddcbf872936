"""`rag ingest --sync`: keeps a collection in step with folders."""

from __future__ import annotations

import stat
from collections.abc import Collection, Iterable, Sequence
from itertools import chain
from pathlib import Path

from ingest.sources.exclusion import NOTHING, Exclusion
from ingest.sources.files import file_uri, path_of, walk
from rag.cli.connection import PAGE
from rag.cli.ingest_target import Destination, Named
from rag.cli.output import Json
from rag.cli.progress import progress_bar
from rag.client import AsyncClient, Document, errors
from rag.errors import InputError


def folders_of(paths: Sequence[str]) -> list[Path]:
    """Returns the folders that paths name, absolute; links in them are not followed.

    Raises:
        InputError: A path names no folder.
    """
    for path in paths:
        if not Path(path).is_dir():
            raise InputError(
                f"{path}: there is no such folder, and --sync and --watch take nothing else."
                " Nothing was changed.",
                code="no_such_path",
            )
    return [path_of(file_uri(path)) for path in paths]


async def sync(
    destination: Destination, folders: Sequence[Path], exclude: Exclusion = NOTHING
) -> Json:
    """Ingests the files of folders, then removes documents whose files are gone; returns a summary.

    Files that `exclude` names count as gone.

    In this order a moved file hands its chunks over, and nothing is embedded.

    Raises:
        InputError: A folder cannot be listed; nothing was removed.
    """
    files = list(dict.fromkeys(chain.from_iterable(walk(each, exclude) for each in folders)))
    jobs = await destination.ingest(Named(files=files)) if files else []
    removed = await remove_gone(
        destination, folders, keep=set(map(file_uri, files)), exclude=exclude
    )
    return summed(jobs) | {"removed": removed}


async def remove_gone(
    destination: Destination,
    paths: Iterable[Path],
    *,
    keep: Collection[str] = (),
    exclude: Exclusion = NOTHING,
) -> int:
    """Removes the documents at or below paths whose files are gone; returns their number.

    Args:
        destination: Holds the documents.
        paths: Files or folders.
        keep: Uris that are known to exist.
        exclude: Names files below the paths that count as gone.

    Raises:
        InputError: It cannot be determined whether a file is gone; nothing was removed.
    """
    client, collection = destination.client, destination.collection
    gone: dict[str, None] = {}
    for path in paths:
        for document in await _listed(client, collection, path):
            file = path_of(document.uri)
            is_left_out = file != path and exclude.leaves_out(file.relative_to(path))
            if document.uri not in keep and (is_left_out or _is_gone(file)):
                gone[document.id] = None
    if gone:
        with progress_bar("Removing", len(gone), quiet=destination.quiet) as bar:
            for id_ in gone:
                await _delete(client, collection, id_)
                bar.advance(bar.task_ids[0])
    return len(gone)


async def _listed(client: AsyncClient, collection: str, path: Path) -> list[Document]:
    uri = file_uri(path)
    below = uri.rstrip("/") + "/"
    found = client.all_documents(collection=collection, uri_prefix=uri, limit=PAGE)
    try:
        return [
            each
            async for each in found
            if each.uri == uri or each.uri.startswith(below)  # /a/docs is not below /a/doc
        ]
    except errors.NotFoundError as error:
        if error.code == "unknown_collection":  # nothing was ever ingested
            return []
        raise


def _is_gone(path: Path) -> bool:
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError as error:
        raise InputError(
            f"{path}: cannot be checked: {error.strerror}. Nothing was removed. Correct its"
            " permissions.",
            code="unreadable_folder",
        ) from error


async def _delete(client: AsyncClient, collection: str, id_: str) -> None:
    try:
        await client.delete_document(id_, collection=collection)
    except errors.NotFoundError as error:
        if error.code != "unknown_document":  # somebody else deleted it first
            raise


def summed(jobs: Sequence[Json]) -> Json:
    """Returns several jobs summed up as one."""
    counts = dict.fromkeys(("total", "pending", "running", "succeeded", "failed", "cancelled"), 0)
    outcomes: dict[str, int] = {}
    for job in jobs:
        for total, part in ((counts, job["counts"]), (outcomes, job["outcomes"])):
            for key, n in part.items():
                total[key] = total.get(key, 0) + n
    return {
        "jobs": [job["id"] for job in jobs if job["id"]],
        "counts": counts,
        "outcomes": outcomes,
        "failures": [failure for job in jobs for failure in job["failures"]],
    }
