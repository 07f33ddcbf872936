"""Forks processes that the product starts for embedders, parsers and other models.

In the fork, the `main` of `rag.process.child_process` runs as it does in a new interpreter.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from rag.process import child_process
from tests.fork_server import Forked

KINDS = {
    "embedder": "embedder",
    "parser": "parser",
    "reranker": "model",
    "entailment model": "model",
}
"""Kinds of processes by the names that the product gives them."""
STDERR = 2


@contextlib.contextmanager
def forked_children() -> Iterator[None]:
    """Lets `ChildProcess` fork processes of these names."""
    forking = SimpleNamespace(Popen=_start, DEVNULL=subprocess.DEVNULL)
    with mock.patch.object(child_process, "subprocess", forking):
        yield


def _start(command: Sequence[str], **options: Any) -> object:
    module, name = command[3:5]
    if module != child_process.__name__ or name not in KINDS:
        return subprocess.Popen(command, **options)
    with Path(os.devnull).open("r+b") as nothing:
        return Forked(
            KINDS[name],
            _become_child,
            name,
            streams=(nothing.fileno(), nothing.fileno(), STDERR),
            files=options["pass_fds"],
            env=options["env"],
            cwd=Path.cwd(),
        )


def _become_child(name: str, *lanes: int) -> None:
    os.setsid()
    sys.argv = [child_process.__file__, name, *map(str, lanes)]
    child_process.main()
