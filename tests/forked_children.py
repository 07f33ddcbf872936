"""Forks processes that the product starts for models, parsers, traces and rebuilds of indexes.

In the fork, the `main` of their module runs as it does in a new interpreter.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any
from unittest import mock

from rag.process import child_process
from retrieval.indexes import edge_rebuild
from tests.fork_server import Forked

KINDS = {
    "embedder": "embedder",
    "parser": "parser",
    "reranker": "model",
    "entailment model": "model",
    "traces": "traces",
}
"""Kinds of processes by the names that the product gives them."""
STDERR = 2


@contextlib.contextmanager
def forked_children() -> Iterator[None]:
    """Lets this process fork the children of these names, and rebuilds."""
    children = SimpleNamespace(Popen=_start, DEVNULL=subprocess.DEVNULL)
    rebuilds = SimpleNamespace(create_subprocess_exec=_rebuild, subprocess=asyncio.subprocess)
    with (
        mock.patch.object(child_process, "subprocess", children),
        mock.patch.object(edge_rebuild, "asyncio", rebuilds),
    ):
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


class _Rebuild:
    """The part of `asyncio.subprocess.Process` that is used of a rebuild."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed at its end
        with Path(os.devnull).open("r+b") as nothing:
            streams = (nothing.fileno(), nothing.fileno(), self._stderr.fileno())
            self._process = Forked(
                "rebuild",
                _become_rebuild,
                *arguments,
                streams=streams,
                env=os.environ,
                cwd=Path.cwd(),
            )
        self.kill = self._process.kill

    @property
    def returncode(self) -> int | None:
        return self._process.poll()

    async def communicate(self) -> tuple[None, bytes]:
        await asyncio.to_thread(self._process.wait)
        with self._stderr:
            self._stderr.seek(0)
            return None, self._stderr.read()

    async def wait(self) -> None:
        """Waits for one that was killed, whose errors nobody reads."""
        with self._stderr:
            await asyncio.to_thread(self._process.wait)


async def _rebuild(*command: str, **_: object) -> _Rebuild:
    return _Rebuild(command[4:])


def _become_rebuild(*arguments: str) -> None:
    sys.argv = [edge_rebuild.__file__, *arguments]
    edge_rebuild.main()
