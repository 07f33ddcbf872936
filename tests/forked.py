"""Processes that run the command `rag`, forked from a process that has imported it already.

To start the interpreter and to import what `rag serve` needs takes a second of computing, and the
tests start hundreds of commands. Each is a process of its own all the same, with its own arguments,
environment, current folder and standard streams.
"""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Protocol

from tests.forked_children import forked_children, forking_servers
from tests.forked_vllm import VllmContext

IMPORTED = "tests.forked_imports"


class Process(Protocol):
    """The part of `subprocess.Popen` that tests use."""

    @property
    def pid(self) -> int: ...

    def poll(self) -> int | None: ...

    def wait(self, timeout: float | None = None) -> int: ...

    def send_signal(self, sig: int, /) -> None: ...

    def terminate(self) -> None: ...

    def kill(self) -> None: ...


class ForkedRag:
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
        vllm: bool = False,
    ) -> None:
        """Starts the process. Its standard streams are files, and output is appended.

        `program` is Python that runs in place of `rag`, with its arguments. With `vllm`, the
        process has imported vLLM, too.
        """
        assert env.get("PYTHONPATH") == os.environ.get("PYTHONPATH"), "imported already: use RAG"
        texts = [os.fsdecode(argument) for argument in arguments]
        for output in (stdout, stderr):
            Path(output).touch()
        streams = (str(stdin), str(stdout), str(stderr))
        self._process: ForkServerProcess = (VllmContext() if vllm else _context()).Process(
            target=_run,
            args=(texts, str(cwd), dict(env), streams),
            kwargs={"program": program, "forking": forking_servers()},
            daemon=not vllm,
        )
        self._process.start()

    @property
    def pid(self) -> int:
        pid = self._process.pid
        assert pid is not None
        return pid

    def poll(self) -> int | None:
        """Returns the exit code, negative for a signal; None while the process runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Waits for the process to end; returns its exit code."""
        self._process.join(timeout)
        if (code := self.poll()) is None:
            raise subprocess.TimeoutExpired("rag", timeout or 0)
        return code

    def send_signal(self, sig: int, /) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, sig)

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        self._process.kill()


@cache
def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([IMPORTED])
    return context


def _run(
    arguments: Sequence[str],
    cwd: str,
    env: Mapping[str, str],
    streams: tuple[str, str, str],
    *,
    program: str,
    forking: Mapping[str, str],
) -> None:
    """Runs a command in the forked process, and exits with its exit code."""
    flags = (os.O_RDONLY, *2 * (os.O_WRONLY | os.O_APPEND | os.O_CREAT,))
    for number, (stream, flag) in enumerate(zip(streams, flags, strict=True)):
        opened = os.open(stream, flag, 0o644)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - `multiprocessing` has closed it
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    tempfile.tempdir = None  # it is read from the environment again
    sys.argv = ["rag", *arguments]
    from rag.cli.main import main

    try:
        with forked_children(forking.__getitem__):
            if program:
                exec(program, {"__name__": "__main__"})
            else:
                sys.exit(main(arguments))
    finally:
        atexit._run_exitfuncs()  # `multiprocessing` leaves without them
