"""`rag index`: compares catalog and index of a collection, and measures the recall of search."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict

from ingest.index_check import IndexCheck, Report
from rag.build.ingest import open_ingesting
from rag.cli import output
from rag.cli.own_folder import own_folder, refuse_server
from rag.cli.progress import activity, progress_bar
from rag.cli.scope import scope_of
from rag.settings.tree import Settings
from rag.types import Scope
from retrieval.recall import Recall, measure


async def check(args: argparse.Namespace, settings: Settings) -> int:
    """Compares, repairs with --repair, and measures recall; returns 0 if all is well then, else 1.

    Raises:
        InputError: RAG_URL names a server.
        ConfigError: Another process owns the data folder.
    """
    refuse_server("rag index check")
    scope = scope_of(args)
    with own_folder("rag index check", settings):
        async with open_ingesting(settings) as opened:
            looking = IndexCheck(pipeline=opened.ingest, index=opened.index, catalog=opened.catalog)
            with progress_bar("Comparing", None, quiet=args.json) as bar:
                report = await looking.run(
                    scope,
                    repair=args.repair,
                    progress=lambda done: bar.update(bar.task_ids[0], completed=done),
                )
            with activity("Measuring recall", quiet=args.json):
                if args.repair:
                    await opened.index.maintain(scope)
                recalls = await measure(opened.index, scope)
    output.show(_body(scope, report, recalls), output.checked, as_json=args.json)
    return 0 if report.agrees and all(recall.enough for recall in recalls) else 1


def _body(scope: Scope, report: Report, recalls: Sequence[Recall]) -> output.Json:
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
