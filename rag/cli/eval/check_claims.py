"""`rag eval claims`: checks true and false claims about one's own documents."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from functools import partial

from eval.offline.claims_check import check_claims, check_new
from rag.build.service import open_service
from rag.cli import output
from rag.cli.own_folder import own_folder
from rag.cli.progress import progress_bar
from rag.cli.scope import scope_of
from rag.settings.tree import Settings


async def claims(args: argparse.Namespace, settings: Settings) -> int:
    """Checks claims made of a collection's documents, and writes them with their verdicts.

    Raises:
        InputError: The file exists, its folder does not, or no claim can be made.
        ConfigError: Another process owns the data folder.
        StorageError: The file cannot be written.
    """
    check_new(args.out)  # before a model is loaded
    with own_folder("rag eval claims", settings):
        async with open_service(settings) as service:
            with progress_bar("Checking", args.questions, quiet=args.json) as bar:
                move = partial(bar.update, bar.task_ids[0])
                body = await check_claims(
                    service,
                    scope_of(args),
                    args.out,
                    statements=args.questions,
                    seed=args.seed,
                    progress=lambda done: move(completed=done),
                )
    output.show(body, _lines, as_json=args.json)
    return 0


def _lines(body: output.Json) -> Iterator[str]:
    """Yields, for each kind of claim, the number, and the share that was judged wrongly."""
    for supported, title in ((True, "supported: removed"), (False, "unsupported: shown")):
        yield f"{title:<28} {'claims':>6} {'wrong':>6}   share   95 % interval"
        for row in (row for row in body["kinds"] if row["supported"] is supported):
            share, low, high = (f"{100 * row[name]:.1f}" for name in ("share", "low", "high"))
            counts = f"{row['claims']:>6,} {row['wrong']:>6,}"
            yield f"  {row['kind']:<26} {counts} {share:>5} %   {low} to {high} %"
    made = f"{body['statements']:,} sentences and rows (documents: {body['documents']:,})"
    yield f"The claims, made of {made}, are in {body['file']}."
