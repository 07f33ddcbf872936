"""`rag open`: opens the source of a passage that was last shown, at its page."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import webbrowser
from pathlib import Path
from urllib.parse import urldefrag, urlsplit

from ingest.readers.media_types import JPEG, PDF, PNG, TEXT
from ingest.sources.files import path_of
from rag.cli import output
from rag.cli.commands import INGESTING, client_for
from rag.cli.last_answer import LastAnswer, Place, last_answer
from rag.cli.printable import printable
from rag.cli.scope import caller
from rag.client import AsyncClient, Content, errors
from rag.errors import InputError, NotFoundError
from rag.settings.tree import Settings

SHOWN = {PDF: ".pdf", PNG: ".png", JPEG: ".jpg", TEXT: ".txt"}
"""Media types of copies that are opened as they are: a browser runs nothing that they hold."""


async def open_source(args: argparse.Namespace, settings: Settings) -> int:
    """Opens the source, or prints where it is; returns 0.

    A web page is opened where it is, and so is a file, unless the answer came from a server. Of any
    other source, the copy that the service keeps is written to a temporary file.

    Raises:
        InputError: No passage was shown with this number.
        NotFoundError: The source is gone, and no copy is kept.
    """
    last = last_answer()
    place = _place(last, args.number)
    uri = _address(last, place)
    if uri is None:
        says = f"{place.uri} is not opened in its place: this is the copy that is kept."
        print(printable(says), file=sys.stderr)  # noqa: T201
        uri = _at_page((await _copy(last, place, settings)).as_uri(), place.page)
    if not args.print and not await asyncio.to_thread(webbrowser.open, uri):
        raise NotFoundError(
            f"No browser can be opened here. The source is {uri}", code="no_browser"
        )
    output.show({"uri": uri}, lambda body: iter([body["uri"]]), as_json=args.json)
    return 0


def _place(last: LastAnswer, number: int) -> Place:
    """Returns the first place that was shown with this number."""
    for place in last.places:
        if place.number == number:
            return place
    numbers = ", ".join(map(str, dict.fromkeys(place.number for place in last.places)))
    raise InputError(
        f"The last answer has no passage [{number}]; it has {numbers or 'none'}.",
        code="no_citation",
    )


def _address(last: LastAnswer, place: Place) -> str | None:
    """Returns the address of a source that a browser can open where it is; None for others.

    Whoever sends a document to a server chooses its uri, which may name any file: it is not opened.
    """
    try:
        parts = urlsplit(place.uri)
    except ValueError:
        return None
    if parts.scheme in ("http", "https"):
        return _at_page(place.uri, place.page)
    is_own = parts.scheme == "file" and not parts.netloc and last.url is None
    if is_own and os.path.isfile(path_of(place.uri)):  # noqa: PTH113 - False where is_file() raises
        return _at_page(place.uri, place.page)
    return None


def _at_page(uri: str, page: int | None) -> str:
    """Returns an address with the page as PDF's viewers take it (RFC 8118)."""
    return uri if page is None or urldefrag(uri).fragment else f"{uri}#page={page}"


async def _copy(last: LastAnswer, place: Place, settings: Settings) -> Path:
    """Returns a temporary file with the copy of a source that the service keeps."""
    if last.url is None and last.folder != str(Path.cwd()):
        raise InputError(
            f"The last answer was given in {last.folder}: run `rag open` there.",
            code="elsewhere",
        )
    asking = caller(argparse.Namespace(url=last.url, tenant=last.tenant))
    async with client_for(last.url, settings, INGESTING, asking) as client:
        content = await _content(client, place.document_id, last.collection)
    folder = Path(tempfile.mkdtemp(prefix="plumbline-"))  # it stays: the browser reads it later
    file = folder / f"source{SHOWN[content.media_type]}"
    file.write_bytes(content.data)
    return file


async def _content(client: AsyncClient, document_id: str, collection: str) -> Content:
    """Returns the original of a document if a browser shows such safely; otherwise its text."""
    try:
        found = await client.get_content(document_id, collection=collection, as_="original")
    except errors.NotFoundError as error:
        if error.code != "no_original":
            raise
    else:
        if found.media_type in SHOWN:
            return found
    return await client.get_content(document_id, collection=collection, as_="text")
