"""Processes that run the command `rag`, forked from a process that has imported it already.

To start the interpreter and to import what `rag serve` needs takes a second of computing, and the
tests start hundreds of commands. Each is a process of its own all the same, with its own arguments,
environment, current folder and standard streams.
"""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from tests.fork_server import Forked
from tests.forked_children import forked_children


class Process(Protocol):
    """The part of `subprocess.Popen` that tests use."""

    @property
    def pid(self) -> int: ...

    def poll(self) -> int | None: ...

    def wait(self, timeout: float | None = None) -> int: ...

    def send_signal(self, sig: int, /) -> None: ...

    def terminate(self) -> None: ...

    def kill(self) -> None: ...


class ForkedRag(Forked):
    """A running `rag`."""

    def __init__(
        self,
        arguments: Sequence[str | bytes | Path],
        *,
        cwd: Path,
        env: Mapping[str, str],
        stdin: Path | str = os.devnull,
        stdout: Path | str = os.devnull,
        stderr: Path | str = os.devnull,
        program: str = "",
    ) -> None:
        """Starts the process. Its standard streams are files, and output is appended.

        `program` is Python that runs in place of `rag`, with its arguments.
        """
        texts = [os.fsdecode(argument) for argument in arguments]
        with (
            Path(stdin).open("rb") as given,
            Path(stdout).open("ab") as out,
            Path(stderr).open("ab") as err,
        ):
            streams = [stream.fileno() for stream in (given, out, err)]
            super().__init__("rag", run_rag, texts, program, streams=streams, env=env, cwd=cwd)


def run_rag(arguments: Sequence[str], program: str = "") -> None:
    """Runs a command in a forked process, and exits with its exit code."""
    sys.argv = ["rag", *arguments]
    from rag.cli.main import main

    with forked_children():
        if program:
            exec(program, {"__name__": "__main__"})
        else:
            sys.exit(main(arguments))


def run_module(module: str, *arguments: str) -> None:
    """Runs a module in a forked process, as `python -m` in a new interpreter."""
    sys.argv = [module, *arguments]
    with forked_children():
        runpy.run_module(module, run_name="__main__", alter_sys=True)
