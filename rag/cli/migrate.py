"""`rag migrate`: brings the tables of the catalog to this version's."""

from __future__ import annotations

import argparse
from typing import Any

from rag.build.storage import open_beside
from rag.catalog.database import HEAD
from rag.cli import output
from rag.settings.tree import Settings


async def migrate(args: argparse.Namespace, settings: Settings) -> int:
    """Migrates, and prints the number of the tables' version.

    Raises:
        ConfigError: The tables are newer than this version.
    """
    async with open_beside(settings):
        output.show({"tables": HEAD}, _lines, as_json=args.json)
    return 0


def _lines(body: dict[str, Any]) -> output.Lines:
    yield f"The catalog's tables are at {body['tables']}."
