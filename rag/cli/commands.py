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

from rag.cli.connection import connect
from rag.cli.delete import delete
from rag.cli.keys import keys
from rag.cli.questions import query, search
from rag.cli.refuse_tokens import tokens
from rag.cli.rollouts import rollout
from rag.cli.scope import caller
from rag.cli.status import status
from rag.client import AsyncClient
from rag.errors import InputError
from rag.process.imports import importing_for_command
from rag.settings.tree import COLLECTION, Settings

if TYPE_CHECKING:
    from fastapi import APIRouter

    from rag.build.storage import Storage
    from rag.types import Principal


OF_ALL_TENANTS = (
    "audit",
    "backup",
    "chaos",
    "migrate",
    "open",
    "restore",
    "slo",
    "synthetic",
    "tenants",
)
"""Commands that check their tenants themselves, have none, or work on the data of all."""


async def run(args: argparse.Namespace, settings: Settings) -> int:
    """Runs a command that needs the API, or what is behind it; returns its exit code."""
    if args.command not in OF_ALL_TENANTS:
        caller(args)
        check_collection(args)
    own = _with_own_opening(args.command)
    if own is not None:
        return await own(args, settings)
    command, opening = COMMANDS[args.command]
    async with client_for(args.url, settings, opening, caller(args)) as client:
        return await command(args, client)


def _with_own_opening(  # noqa: PLR0912 - one for each command
    command: str,
) -> Callable[..., Awaitable[int]] | None:
    """Imports a command that finds its server, or opens what it needs, by itself; None: another."""
    match command:
        case "audit":
            from rag.cli.audit import audit as own
        case "backup":
            from rag.cli.backup import backup as own
        case "cache":
            from rag.cli.calibrate_cache import cache as own
        case "chaos":
            from rag.cli.chaos import chaos as own
        case "index":
            from rag.cli.index import check as own
        case "ingest":
            from rag.cli.ingest import ingest as own
        case "mcp":
            from rag.cli.mcp import mcp as own
        case "migrate":
            from rag.cli.migrate import migrate as own
        case "open":
            from rag.cli.source import open_source as own
        case "reindex":
            from rag.cli.reindex import reindex as own
        case "restore":
            from rag.cli.restore import restore as own
        case "slo":
            from rag.cli.slo import slo as own
        case "synthetic":
            from rag.cli.run_synthetic import synthetic as own
        case "tenants":
            from rag.cli.tenants import tenants as own
        case "usage":
            from rag.cli.spending import usage as own
        case _:
            return None
    return own


def check_collection(args: argparse.Namespace) -> None:
    """Checks the name of `--collection`, which names a folder.

    Raises:
        InputError: It is not valid.
    """
    if not re.fullmatch(COLLECTION, getattr(args, "collection", "default")):
        raise InputError(f"--collection {args.collection!r} does not match {COLLECTION}.")


@dataclass(frozen=True, slots=True)
class Opening:
    """The part of the service that a command opens if there is no server."""

    opened: Callable[[Settings], AbstractAsyncContextManager[Storage]]
    routers: Callable[[], Sequence[APIRouter] | None] = lambda: None
    """Imports the routers of the routes that it uses; None: all."""
    audits: bool = False
    """True if what it does is in the audit log before the gateway is switched on."""


def _storage(settings: Settings) -> AbstractAsyncContextManager[Storage]:
    with importing_for_command():
        from rag.build.storage import open_storage
        from rag.cli import in_process  # noqa: F401 - `client_for` needs it next

    return open_storage(settings)


def _beside(settings: Settings) -> AbstractAsyncContextManager[Storage]:
    with importing_for_command():
        from rag.build.storage import open_beside
        from rag.cli import in_process  # noqa: F401 - `client_for` needs it next

    return open_beside(settings)


def _ingesting(settings: Settings) -> AbstractAsyncContextManager[Storage]:
    with importing_for_command():
        from rag.build.ingest import open_ingesting
        from rag.cli import in_process  # noqa: F401 - `client_for` needs it next

    return open_ingesting(settings)


@contextlib.asynccontextmanager
async def _with_model(settings: Settings, *, answers: bool) -> AsyncIterator[Storage]:
    """Opens what searches, or with `answers` the whole service."""
    from rag.build.embedding import loading_embedder
    from rag.build.model_folders import with_model_folders

    settings = with_model_folders(settings)
    async with loading_embedder(settings.embedder) as embedder:  # while modules are imported
        with importing_for_command():
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


def _documents() -> Sequence[APIRouter]:
    """Returns the routers of documents and collections."""
    from rag.api.routes import collections, documents

    return [documents.router, collections.router]


def _keys() -> Sequence[APIRouter]:
    """Returns the router of keys."""
    from rag.api.routes import keys as routes

    return [routes.router]


def _tokens() -> Sequence[APIRouter]:
    """Returns the router of refused tokens."""
    from rag.api.routes import token_refusals

    return [token_refusals.router]


def _rollouts() -> Sequence[APIRouter]:
    """Returns the router of rollouts."""
    from rag.api.routes import rollouts

    return [rollouts.router]


Command = Callable[[argparse.Namespace, AsyncClient], Awaitable[int]]
ANSWERING = Opening(partial(_with_model, answers=True), _questions)
SEARCHING = Opening(partial(_with_model, answers=False), _questions)
INGESTING = Opening(_ingesting, _documents)
COMMANDS: dict[str, tuple[Command, Opening]] = {
    "query": (query, ANSWERING),
    "search": (search, SEARCHING),
    "status": (status, Opening(_storage, _documents)),
    "delete": (delete, INGESTING),
    "keys": (
        keys,
        Opening(_beside, _keys, audits=True),
    ),  # the first ones are made without a gateway
    "tokens": (tokens, Opening(_beside, _tokens, audits=True)),
    "rollout": (rollout, Opening(_beside, _rollouts, audits=True)),
}


@contextlib.asynccontextmanager
async def client_for(
    url: str | None, settings: Settings, opening: Opening, asking: Principal
) -> AsyncIterator[AsyncClient]:
    """Yields a client of the server at `url`, or of what this process opens if there is none.

    Its errors are raised as those of the commands.
    """
    if url:
        async with connect(url) as client:
            yield client
        return
    async with opening.opened(settings) as opened:
        with importing_for_command():
            from rag.cli.in_process import client_of

            routers = opening.routers()
        async with client_of(
            opened, caller=asking, audits=opening.audits, routers=routers
        ) as client:
            yield client
