"""A child process that makes a fresh shard from the points of another.

`python -m retrieval.indexes.edge_rebuild SOURCE TARGET MEAN_LENGTH GRAPH`, where SOURCE is a copy
that nobody else has open, TARGET an empty folder and GRAPH `graph` or `none`. Points are copied,
not files, so that deleted text, and the log that still holds it, stay behind. Qdrant Edge holds the
interpreter lock while it builds a graph, 15 s for 50,000 points: in the parent nothing else would
run.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

from rag.errors import RagError, StorageError
from retrieval.indexes.edge_points import DENSE
from retrieval.indexes.edge_shard import Shard

_GRAPH, _NONE = "graph", "none"


def rebuild(source: Path, target: Path, mean_length: float, *, graph: bool) -> None:
    """Copies every point, with weights for `mean_length`, then builds the graph, if one is asked.

    A small shard needs none, and to build it takes as long as to copy the points.
    """
    dim = json.loads((source / "edge_config.json").read_text())["vectors"][DENSE]["size"]
    old, new = Shard(source, dim=dim), Shard.create(target, dim=dim)
    new.fill_from(old, mean_length=mean_length)
    if graph:
        new.build_graph()
    old.close()
    new.close()


async def run_child(source: Path, target: Path, mean_length: float, *, graph: bool) -> None:
    """Runs `rebuild` in a child process, which ends with the caller.

    Raises:
        StorageError: The rebuild failed.
    """
    child = await asyncio.create_subprocess_exec(
        *(
            sys.executable,
            "-P",  # modules are not imported from the current folder
            "-m",
            "retrieval.indexes.edge_rebuild",
            str(source),
            str(target),
            repr(mean_length),
            _GRAPH if graph else _NONE,
        ),
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        _, stderr = await child.communicate()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode != 0:
        raise StorageError(
            "Rebuilding the index failed; the old one stays in use.",
            detail=f"It lies in {target.parent}: {stderr.decode(errors='replace').strip()[-500:]}",
        )


def main() -> None:
    """Rebuilds as the command line says; exits with a message if it fails."""
    os.nice(10)  # searches come first
    source, target, mean_length, graph = sys.argv[1:]
    try:
        rebuild(Path(source), Path(target), float(mean_length), graph=graph == _GRAPH)
    except RagError as error:
        sys.exit(error.in_full())


if __name__ == "__main__":
    main()
