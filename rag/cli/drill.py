"""`rag restore --drill`: restores a backup aside, and compares it with the running service."""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from rag.build.backup_places import build_seal, build_store
from rag.build.restores import restore as put_back
from rag.cli import output
from rag.cli.backup import chosen, moment
from rag.cli.commands import SEARCHING, client_for
from rag.cli.connection import connect
from rag.cli.progress import activity
from rag.client import AsyncClient, errors
from rag.errors import InputError, UpstreamError
from rag.operations.backup.comparing import (
    ENOUGH,
    Asked,
    read_questions,
    sampled_questions,
)
from rag.process.folder_lock import owner_url
from rag.process.private_folder import CATALOG
from rag.settings.answer_cache import NoAnswerCacheSettings
from rag.settings.gateway import GatewaySettings
from rag.settings.operations import TraceSettings
from rag.settings.storage import EdgeSettings, LocalQueueSettings, SqliteSettings
from rag.settings.tree import Settings
from rag.types import PERMISSIONS, Principal

TOP_K = 10
_NO_ANSWER = (errors.ServerError, errors.UnreachableError, errors.RateLimitedError)


async def drill(args: argparse.Namespace, settings: Settings) -> int:
    """Compares the hits; returns 0 if they agree but for `ENOUGH`, else 1. It changes nothing.

    Raises:
        InputError: No service is running, or it refuses the key or a question.
        UpstreamError: The service fails or is busy for longer than the client waits.
        StorageError: The backup is damaged, or there is no room beside.
    """
    given = read_questions(args.questions) if args.questions else None
    url = args.url or os.environ.get("RAG_URL") or owner_url(settings.data_dir.resolve())
    if not url:
        raise InputError(
            "A drill compares with the running service, and none serves the data folder: start it,"
            " or name it with --url.",
            code="no_service",
        )
    caller = await _caller(url)
    store, seal = build_store(settings, args.place), build_seal(settings)
    manifest = await chosen(args.id, store, seal)
    with tempfile.TemporaryDirectory(prefix="plumbline-drill-") as folder:
        data = Path(folder) / "data"
        aside = _aside(settings, data)
        began = time.monotonic()
        with activity("Restoring aside", quiet=args.json):
            await put_back(aside, manifest, store, seal)
        restored = time.monotonic() - began
        questions = (
            [("default", question) for question in given]
            if given
            else await sampled_questions(data / CATALOG, caller.tenant)
        )
        questions = [each for each in questions if caller.reaches(each[0])]
        if not questions:
            raise InputError(
                f"The backup has no sentence of the tenant {caller.tenant!r} to ask: name a file"
                " with --questions, or another tenant by its key."
            )
        with activity("Asking", quiet=args.json):
            async with (
                connect(url) as running,
                client_for(None, aside, SEARCHING, caller) as other,
            ):
                asked, first = await _ask(questions, other, running)
    overlap = statistics.fmean(each.overlap for each in asked)
    body = {
        "id": manifest.id,
        "made_at": moment(manifest),
        "age_seconds": time.time() - manifest.made_at,
        "restore_seconds": restored,
        "answering_seconds": first - began,
        "tenant": caller.tenant,
        "questions": len(asked),
        "same": sum(each.restored == each.running for each in asked),
        "overlap": overlap,
        "agrees": overlap >= ENOUGH,
        "different": [
            {"collection": each.collection, "question": each.question, "overlap": each.overlap}
            for each in asked
            if each.overlap < 1
        ],
    }
    output.show(body, _lines, as_json=args.json)
    return 0 if body["agrees"] else 1


async def _caller(url: str) -> Principal:
    """Returns who the running service takes us for, by our key: the same asks the restored one."""
    async with connect(url) as running:
        with _answers("the drill's first request"):
            me = await running.get_me()
    return Principal(
        tenant=me.tenant,
        subject=me.subject,
        scopes=frozenset(scope for scope in PERMISSIONS if scope in me.scopes),
        collections=None if me.collections is None else frozenset(me.collections),
        key_id=me.key_id,
    )


@contextlib.contextmanager
def _answers(what: str) -> Iterator[None]:
    """Raises an error that says that nothing was changed, if the service does not answer."""
    try:
        yield
    except _NO_ANSWER as error:
        raise UpstreamError(
            f"The service did not answer {what}: {error} The drill was stopped, and nothing was"
            " changed: run it when the service is less busy.",
            code="drill_stopped",
        ) from error


async def _ask(
    questions: Sequence[tuple[str, str]], other: AsyncClient, running: AsyncClient
) -> tuple[list[Asked], float]:
    """Asks both sides each question; returns their hits, and when the restored one first had."""
    asked: list[Asked] = []
    first = 0.0
    for collection, question in questions:
        theirs = await _hits(other, collection, question)
        first = first or time.monotonic()
        with _answers(f"question {len(asked) + 1} of the drill"):
            ours = await _hits(running, collection, question)
        asked.append(Asked(collection, question, theirs, ours))
    return asked, first


async def _hits(client: AsyncClient, collection: str, question: str) -> list[str]:
    found = await client.search(question, collection=collection, top_k=TOP_K, priority="batch")
    return [hit.chunk_id for hit in found.hits]


def _aside(settings: Settings, data: Path) -> Settings:
    """Returns settings of a service on its own, which tells nobody of what it does."""
    return settings.model_copy(
        update={
            "data_dir": data,
            "index": EdgeSettings(),
            "catalog": SqliteSettings(),
            "queue": LocalQueueSettings(),
            "answer_cache": NoAnswerCacheSettings(),
            "gateway": GatewaySettings(),
            "traces": TraceSettings(),
            "webhooks": {},
        }
    )


def _lines(body: output.Json) -> output.Lines:
    yield (
        f"{body['id']} of {body['made_at']}: restored aside in {body['restore_seconds']:.1f} s, and"
        f" answering after {body['answering_seconds']:.1f} s."
    )
    yield (
        f"Of {body['questions']} questions of the tenant {body['tenant']} {body['same']} have the"
        f" same hits in the same order as the running service; {body['overlap']:.0%} of all hits"
        " are the same."
    )
    for each in body["different"]:
        yield f"  {each['overlap']:.0%}  {each['collection']}: {each['question']}"
    if not body["agrees"]:
        yield f"That is below {ENOUGH:.0%}: has much changed since, or is the backup incomplete?"
