"""`rag reindex`: indexes all documents of a collection again, or rolls back."""

from __future__ import annotations

import argparse
import time
from functools import partial

from ingest.reindex import Reindexer
from rag.build.ingest import open_ingesting
from rag.cli import output
from rag.cli.own_folder import own_folder, refuse_server
from rag.cli.progress import progress_bar
from rag.cli.scope import scope_of
from rag.settings.tree import Settings


async def reindex(args: argparse.Namespace, settings: Settings) -> int:
    """Reindexes a collection of the data folder, or rolls back.

    Raises:
        InputError: RAG_URL names a server.
        ConfigError: Another process owns the data folder.
    """
    refuse_server("rag reindex")
    with own_folder("rag reindex", settings):
        summary = await _reindex(args, settings)
    output.show(summary, output.reindexed, as_json=args.json)
    return 0


async def _reindex(args: argparse.Namespace, settings: Settings) -> output.Json:
    started = time.perf_counter()
    scope = scope_of(args)
    async with open_ingesting(settings) as opened:
        await opened.warm()
        reindexer = Reindexer(
            pipeline=opened.ingest,
            embedder=opened.embedder,
            index=opened.index,
            catalog=opened.catalog,
        )
        run = reindexer.roll_back if args.rollback else reindexer.reindex
        with progress_bar("Indexing", None, quiet=args.json) as bar:
            move = partial(bar.update, bar.task_ids[0])
            cuts = await run(scope, progress=lambda done, of: move(completed=done, total=of))
        record = await opened.catalog.collections.get(scope)
    return {
        "collection": record.name,
        "embedder": record.embedder,
        "documents": len(cuts),
        "chunks": sum(cut.chunks for cut in cuts.values()),
        "seconds": round(time.perf_counter() - started, 3),
    }
