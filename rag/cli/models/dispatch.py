"""Runs a task of `rag models`; what a task needs is imported then."""

from __future__ import annotations

import argparse
import asyncio

from rag.settings.tree import Settings


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Runs the task; returns its exit code."""
    if args.task == "convert":
        from rag.cli.models.convert import models

        return models(args, settings)
    if args.task == "warm":
        from rag.cli.models.warm import warm

        return asyncio.run(warm(args, settings))
    if args.task == "compare":
        from rag.cli.models.quantization import compare

        return asyncio.run(compare(args, settings))
    from rag.cli.models.registry_tasks import TASKS

    return TASKS[args.task](args, settings)
