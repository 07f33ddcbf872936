"""The commands of `rag` that use the API, after their arguments are read."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from rag.cli import output
from rag.client.http import Client, Json, all_documents, connect
from rag.errors import InputError, NotFoundError
from rag.settings.tree import COLLECTION, Settings, printable

if TYPE_CHECKING:
    from rag.build.storage import Storage

_CONDITION = re.compile(r"([A-Za-z0-9_.-]+)\s*(>=|<=|=|>|<)\s*(.+)", re.DOTALL)
_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?")
_OPS = {"=": "eq", ">": "gt", ">=": "gte", "<": "lt", "<=": "lte"}


async def run(args: argparse.Namespace, settings: Settings) -> int:
    """Runs a command that needs the API; returns its exit code."""
    if not re.fullmatch(COLLECTION, args.collection):  # it names a folder
        raise InputError(f"--collection {args.collection!r} does not match {COLLECTION}.")
    if args.command == "ingest":
        from rag.cli.ingest import ingest

        return await ingest(args, settings)
    if args.command in ("reindex", "index"):
        return await _run_in_process(args, settings)
    command = _COMMANDS[args.command]
    async with _client(args, settings, command) as client:
        return await command.run(args, client)


async def _run_in_process(args: argparse.Namespace, settings: Settings) -> int:
    if args.command == "reindex":
        from rag.cli.reindex import reindex

        return await reindex(args, settings)
    from rag.cli.index import check

    return await check(args, settings)


async def query(args: argparse.Namespace, client: Client) -> int:
    """Answers a question."""
    answer = await client.post("/v1/query", json=_question(args))
    output.show(answer, output.answer, as_json=args.json)
    return 0


async def search(args: argparse.Namespace, client: Client) -> int:
    """Finds passages."""
    found = await client.post("/v1/search", json=_question(args))
    output.show(found, output.hits, as_json=args.json)
    return 0


async def status(args: argparse.Namespace, client: Client) -> int:
    """Shows collections and documents, or one document."""
    if args.document:
        _, document = await _find(client, args.collection, args.document)
        output.show(document, output.document, as_json=args.json)
        return 0
    collections = (await client.get("/v1/collections"))["collections"]
    documents: list[Json] = []
    if any(c["name"] == args.collection for c in collections):
        only = {"state": "failed"} if args.failed else {}
        documents = [each async for each in all_documents(client, args.collection, **only)]
    body = {"collections": collections, "collection": args.collection, "documents": documents}
    output.show(body, output.status, as_json=args.json)
    return 0


async def delete(args: argparse.Namespace, client: Client) -> int:
    """Removes documents; all of them are looked up before the first is removed."""
    found = [(await _find(client, args.collection, name))[0] for name in args.documents]
    for path in found:
        await client.delete(path, collection=args.collection)
    output.show(
        {"deleted": [_text(name) for name in args.documents]}, output.deleted, as_json=args.json
    )
    return 0


def config(settings: Settings, *, as_json: bool) -> int:
    """Prints the settings in force."""
    output.show(printable(settings), output.toml, as_json=as_json)
    return 0


@dataclass(frozen=True, slots=True)
class _Command:
    """A command that uses the API, and what it opens if there is no server."""

    run: Callable[[argparse.Namespace, Client], Awaitable[int]]
    opened: Callable[[Settings], AbstractAsyncContextManager[Storage]]


def _storage(settings: Settings) -> AbstractAsyncContextManager[Storage]:
    from rag.build.storage import open_storage

    return open_storage(settings)


def _ingesting(settings: Settings) -> AbstractAsyncContextManager[Storage]:
    from rag.build.ingest import open_ingesting

    return open_ingesting(settings)


@contextlib.asynccontextmanager
async def _searching(settings: Settings) -> AsyncIterator[Storage]:
    from rag.build.embedding import loading_embedder

    async with loading_embedder(settings.embedder) as embedder:  # while modules are imported
        from rag.build.retrieval import open_searching
        from rag.cli import in_process  # noqa: F401 - its import takes half as long as the model

        async with open_searching(settings, embedder=embedder) as opened:
            yield opened


@contextlib.asynccontextmanager
async def _service(settings: Settings) -> AsyncIterator[Storage]:
    from rag.build.embedding import loading_embedder

    async with loading_embedder(settings.embedder) as embedder:  # while modules are imported
        from rag.build.service import open_service
        from rag.cli import in_process  # noqa: F401 - its import takes half as long as the model

        async with open_service(settings, embedder=embedder) as opened:
            yield opened


_COMMANDS = {
    "query": _Command(query, _service),
    "search": _Command(search, _searching),
    "status": _Command(status, _storage),
    "delete": _Command(delete, _ingesting),
}


@contextlib.asynccontextmanager
async def _client(
    args: argparse.Namespace, settings: Settings, command: _Command
) -> AsyncIterator[Client]:
    if args.url:
        async with connect(args.url) as client:
            yield client
        return
    async with command.opened(settings) as opened:
        from rag.cli.in_process import client_of

        async with client_of(opened) as client:
            yield client


async def _find(client: Client, collection: str, name: str) -> tuple[str, Json]:
    """Returns the route and record of a document, by its id, its uri or the path of its file."""
    from ingest.readers.registry import document_id
    from ingest.sources.files import file_uri

    ids = dict.fromkeys((name, document_id(_text(name)), document_id(file_uri(name))))
    for each in ids:
        path = f"/v1/documents/{quote(each, errors='replace')}"
        try:
            return path, await client.get(path, collection=collection)
        except InputError as error:
            if error.code != "unknown_document":
                raise
    raise NotFoundError(
        f"There is no document {name!r} in collection {collection!r}; `rag status` lists them.",
        code="unknown_document",
    )


def _question(args: argparse.Namespace) -> Json:
    return {
        "query": _text(" ".join(args.question)),
        "collection": args.collection,
        "top_k": args.top_k,
        "filters": [_filter(_text(text)) for text in args.filter],
    }


def _text(argument: str) -> str:
    """Returns an argument that can be sent and shown: bytes that are not UTF-8 are replaced."""
    return os.fsencode(argument).decode(errors="replace")


def _filter(text: str) -> Json:
    match = _CONDITION.fullmatch(text)
    if match is None:
        raise InputError(f"--filter {text!r}: write FIELD=VALUE, or >=, >, <=, < instead of =.")
    field, sign, value = match.groups()
    if sign != "=":
        number = float(value) if _NUMBER.fullmatch(value) else value
        return {"field": field, "op": _OPS[sign], "value": number}
    # On the command line 8 may mean the number or the word: both are tried.
    values = [each for word in value.split(",") for each in _readings(word.strip())]
    return {"field": field, "op": "in", "value": values}


def _readings(word: str) -> list[Any]:
    if word in ("true", "false"):
        return [word, word == "true"]
    return [word, float(word)] if _NUMBER.fullmatch(word) else [word]
