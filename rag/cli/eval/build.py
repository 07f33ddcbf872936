"""`rag eval build`: builds a set from one's own documents."""

from __future__ import annotations

import argparse
from functools import partial

from eval.datasets.building import build_set, check_empty
from rag.build.service import open_service
from rag.cli import output
from rag.cli.own_folder import own_folder
from rag.cli.progress import progress_bar
from rag.cli.scope import scope_of
from rag.settings.tree import Settings


async def build(args: argparse.Namespace, settings: Settings) -> int:
    """Writes a set of questions about a collection's documents.

    Raises:
        InputError: The folder is not empty, or no question can be made.
        ConfigError: Another process owns the data folder.
        UpstreamError: The language model fails.
    """
    check_empty(args.out)  # before a model is loaded
    scope = scope_of(args)
    with own_folder("rag eval build", settings):
        async with open_service(settings) as service:
            with progress_bar("Asking", args.questions, quiet=args.json) as bar:
                move = partial(bar.update, bar.task_ids[0])
                built = await build_set(
                    service,
                    scope,
                    args.out,
                    questions=args.questions,
                    seed=args.seed,
                    progress=lambda done: move(completed=done),
                )
    output.show(built, output.built, as_json=args.json)
    return 0
