"""Runs a command on a server, or on what it opens in this process."""

from __future__ import annotations

import argparse
import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from rag.cli.delete import delete
from rag.cli.keys import keys
from rag.cli.questions import query, search
from rag.cli.scope import caller
from rag.cli.status import status
from rag.client.http import Client, connect
from rag.errors import InputError
from rag.process.imports import importing
from rag.settings.tree import COLLECTION, Settings

if TYPE_CHECKING:
    from fastapi import APIRouter

    from rag.build.storage import Storage
    from rag.types import Principal


async def run(args: argparse.Namespace, settings: Settings) -> int:
    """Runs a command that needs the API; returns its exit code."""
    if args.command in ("audit", "tenants"):
        return await _run_on_tenants(args, settings)
    asking = caller(args)
    if not re.fullmatch(COLLECTION, getattr(args, "collection", "default")):  # it names a folder
        raise InputError(f"--collection {args.collection!r} does not match {COLLECTION}.")
    if args.command == "ingest":
        from rag.cli.ingest import ingest

        return await ingest(args, settings)
    if args.command in ("reindex", "index"):
        return await _run_in_process(args, settings)
    if args.command == "mcp":
        from rag.cli.mcp import mcp

        return await mcp(args, settings)
    if args.command == "usage":
        from rag.cli.spending import usage

        return await usage(args, settings)
    command = COMMANDS[args.command]
    async with _client(args, settings, command, asking) as client:
        return await command.run(args, client)


async def _run_in_process(args: argparse.Namespace, settings: Settings) -> int:
    if args.command == "reindex":
        from rag.cli.reindex import reindex

        return await reindex(args, settings)
    from rag.cli.index import check

    return await check(args, settings)


async def _run_on_tenants(args: argparse.Namespace, settings: Settings) -> int:
    if args.command == "audit":
        from rag.cli.audit import audit

        return await audit(args, settings)
    from rag.cli.tenants import tenants

    return await tenants(args, settings)


@dataclass(frozen=True, slots=True)
class Command:
    """A command that uses the API, and what it opens if there is no server."""

    run: Callable[[argparse.Namespace, Client], Awaitable[int]]
    opened: Callable[[Settings], AbstractAsyncContextManager[Storage]]
    routers: Callable[[], Sequence[APIRouter] | None] = lambda: None
    """Imports the routers of the routes that it uses; None: all."""


def _storage(settings: Settings) -> AbstractAsyncContextManager[Storage]:
    with importing():
        from rag.build.storage import open_storage
        from rag.cli import in_process  # noqa: F401 - `_client` needs it next

    return open_storage(settings)


def _beside(settings: Settings) -> AbstractAsyncContextManager[Storage]:
    with importing():
        from rag.build.storage import open_beside
        from rag.cli import in_process  # noqa: F401 - `_client` needs it next

    return open_beside(settings)


def _ingesting(settings: Settings) -> AbstractAsyncContextManager[Storage]:
    with importing():
        from rag.build.ingest import open_ingesting
        from rag.cli import in_process  # noqa: F401 - `_client` needs it next

    return open_ingesting(settings)


@contextlib.asynccontextmanager
async def _with_model(settings: Settings, *, answers: bool) -> AsyncIterator[Storage]:
    """Opens what searches, or with `answers` the whole service."""
    from rag.build.embedding import loading_embedder

    async with loading_embedder(settings.embedder) as embedder:  # while modules are imported
        with importing():
            from rag.build.retrieval import open_searching
            from rag.build.service import open_service
            from rag.cli import in_process  # noqa: F401 - its import takes half as long as the model

            _questions()

        opening = open_service if answers else open_searching
        async with opening(settings, embedder=embedder) as opened:
            yield opened


def _questions() -> Sequence[APIRouter]:
    """Returns the router of questions: all others together take as long to import."""
    from rag.api.routes import questions

    return [questions.router]


COMMANDS = {
    "query": Command(query, partial(_with_model, answers=True), _questions),
    "search": Command(search, partial(_with_model, answers=False), _questions),
    "status": Command(status, _storage),
    "delete": Command(delete, _ingesting),
    "keys": Command(keys, _beside),
}


@contextlib.asynccontextmanager
async def _client(
    args: argparse.Namespace, settings: Settings, command: Command, asking: Principal
) -> AsyncIterator[Client]:
    if args.url:
        async with connect(args.url) as client:
            yield client
        return
    async with command.opened(settings) as opened:
        from rag.cli.in_process import client_of

        # The first keys are made before the gateway is switched on.
        audits = args.command == "keys"
        async with client_of(
            opened, caller=asking, audits=audits, routers=command.routers()
        ) as client:
            yield client
