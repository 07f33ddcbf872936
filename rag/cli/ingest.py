"""`rag ingest`: ingests paths once, keeps a collection in step with folders, or follows them."""

from __future__ import annotations

import argparse
import sys
import time

from ingest.sources.exclusion import Exclusion
from ingest.sources.files import find
from ingest.sources.web import is_url, parse_url
from rag.cli import output
from rag.cli.ingest_target import STDIN, Named, opened
from rag.cli.sync import folders_of, summed, sync
from rag.settings.tree import Settings


async def ingest(args: argparse.Namespace, settings: Settings) -> int:
    """Ingests the named paths; exit code 1 if a document failed, 2 if a path is wrong."""
    if args.watch:
        from rag.cli.watch import watch

        return await watch(args, settings)
    started = time.perf_counter()
    exclude = Exclusion(args.exclude)
    if args.sync:
        folders = folders_of(args.paths)
        async with opened(args, settings) as destination:
            summary = await sync(destination, folders, exclude)
    else:
        named = _named(args.paths, exclude)
        async with opened(args, settings) as destination:
            summary = summed(await destination.ingest(named))
    summary["seconds"] = round(time.perf_counter() - started, 3)
    output.show(summary, output.ingested, as_json=args.json)
    return 1 if summary["counts"]["failed"] or summary["counts"]["cancelled"] else 0


def _named(paths: list[str], exclude: Exclusion) -> Named:
    urls = list(dict.fromkeys(filter(is_url, paths)))
    for url in urls:
        parse_url(url)
    return Named(
        files=list(find([p for p in paths if p != STDIN and not is_url(p)], exclude)),
        urls=urls,
        piped=sys.stdin.buffer.read() if STDIN in paths else None,
    )
