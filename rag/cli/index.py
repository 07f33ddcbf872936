"""`rag index`: compares catalog and index of a collection, and measures the recall of search."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import asdict

from ingest.index_check import IndexCheck, Report
from rag.build.ingest import open_ingesting
from rag.cli import output
from rag.cli.progress import progress_bar
from rag.cli.scope import scope_of
from rag.client.http import Json
from rag.errors import ConfigError, InputError
from rag.settings.tree import Settings
from rag.types import Scope
from retrieval.recall import Recall, measure


async def check(args: argparse.Namespace, settings: Settings) -> int:
    """Compares, repairs with --repair, and measures recall; returns 0 if all is well then, else 1.

    Raises:
        InputError: RAG_URL names a server.
        ConfigError: Another process owns the data folder.
    """
    if url := os.environ.get("RAG_URL"):
        raise InputError(
            "`rag index check` works on the data folder itself, and RAG_URL names a server"
            f" ({url}): unset it, and stop the server if the folder is its own.",
            code="not_through_a_server",
        )
    scope = scope_of(args)
    try:
        async with open_ingesting(settings) as opened:
            looking = IndexCheck(pipeline=opened.ingest, index=opened.index, catalog=opened.catalog)
            with progress_bar("Comparing", None, quiet=args.json) as bar:
                report = await looking.run(
                    scope,
                    repair=args.repair,
                    progress=lambda done: bar.update(bar.task_ids[0], completed=done),
                )
            if args.repair:
                await opened.index.maintain(scope)
            recalls = await measure(opened.index, scope)
    except ConfigError as error:
        if error.code != "data_folder_in_use":
            raise
        raise ConfigError(
            f"`rag index check` needs the data folder {settings.data_dir} to itself, and another"
            " process works on it: end that one (`rag serve`, `rag ingest`) and run it again.",
            code=error.code,
        ) from None
    output.show(_body(scope, report, recalls), output.checked, as_json=args.json)
    return 0 if report.agrees and all(recall.enough for recall in recalls) else 1


def _body(scope: Scope, report: Report, recalls: Sequence[Recall]) -> Json:
    return {
        "collection": scope.collection,
        "documents": report.documents,
        "chunks": report.chunks,
        "agrees": report.agrees,
        "faults": dict(report.counts),
        "repaired": report.repaired,
        "under_way": report.under_way,
        "first_faults": [asdict(fault) for fault in report.faults],
        "recall": [asdict(recall) | {"enough": recall.enough} for recall in recalls],
    }
