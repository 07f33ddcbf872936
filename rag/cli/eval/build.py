"""`rag eval build`: builds a set from one's own documents."""

from __future__ import annotations

import argparse
from functools import partial

from eval.datasets.building import build_set, check_empty
from rag.build.service import open_service
from rag.cli import output
from rag.cli.progress import progress_bar
from rag.cli.scope import scope_of
from rag.errors import ConfigError
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
    try:
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
    except ConfigError as error:
        if error.code != "data_folder_in_use":
            raise
        raise ConfigError(
            f"`rag eval build` needs the data folder {settings.data_dir} to itself, and another"
            " process works on it: end that one (`rag serve`, `rag ingest`) and run it again.",
            code=error.code,
        ) from None
    output.show(built, output.built, as_json=args.json)
    return 0
