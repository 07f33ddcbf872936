"""Processes that use vLLM, forked from one that has imported it.

To import vLLM takes eight seconds of computing, and an engine is two processes besides the one that
starts it. Each is a process of its own all the same, with the environment, current folder and
output of the process that starts it.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import forkserver, popen_forkserver, reduction
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from tests.forked import run_rag

server = forkserver.ForkServer()
"""Forks; in the processes that it has forked, `tests.forked_vllm_imports` names it."""
server.set_forkserver_preload(["tests.forked_vllm_imports"])


class VllmProcess(ForkServerProcess):
    """A process that has imported vLLM."""

    def __init__(
        self,
        *,
        target: Callable[..., object],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
        name: str | None = None,
        daemon: bool | None = None,
    ) -> None:
        given = (_Surroundings(), target, args, kwargs or {})
        super().__init__(target=_call, args=given, name=name, daemon=daemon)

    @staticmethod
    def _Popen(process_obj: Any) -> popen_forkserver.Popen:  # noqa: N802 - `multiprocessing` calls it
        connect = server.connect_to_new_process
        with mock.patch.object(forkserver, "connect_to_new_process", connect):
            return popen_forkserver.Popen(process_obj)


class VllmRag:
    """A running `rag` that has imported vLLM: as `tests.forked.ForkedRag`."""

    def __init__(
        self, arguments: Sequence[str], *, cwd: Path, env: Mapping[str, str], log: Path
    ) -> None:
        """Starts the process, whose output is appended to `log`."""
        started = (arguments, str(cwd), dict(env), str(log))
        self._process = VllmProcess(target=_run_rag, args=started, daemon=False)
        self._process.start()

    @property
    def pid(self) -> int:
        pid = self._process.pid
        assert pid is not None
        return pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
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


def _run_rag(arguments: Sequence[str], cwd: str, env: Mapping[str, str], log: str) -> None:
    with Path(log).open("ab") as output:
        for stream in (1, 2):
            os.dup2(output.fileno(), stream)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - `multiprocessing` has closed it
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    try:
        run_rag(arguments)
    finally:
        atexit._run_exitfuncs()  # `multiprocessing` leaves without them


class VllmContext(ForkServerContext):
    """Starts the processes of engines, in the place of vLLM's own context."""

    Process = VllmProcess


def fork_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets this process fork the engines that it starts."""
    server.ensure_running()  # now: an engine's start changes the environment for its processes
    monkeypatch.setattr("vllm.v1.engine.utils.get_mp_context", VllmContext)


class _Surroundings:
    """Those of this process as it is pickled, which the process that unpickles it takes over."""

    def __reduce__(self) -> tuple[Callable[..., None], tuple[Any, ...]]:
        return _take_over, (dict(os.environ), str(Path.cwd()), *map(reduction.DupFd, (1, 2)))


def _take_over(env: Mapping[str, str], cwd: str, *outputs: Any) -> None:
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    tempfile.tempdir = None  # it is read from the environment again
    for number, output in enumerate(outputs, 1):
        opened = output.detach()
        os.dup2(opened, number)
        os.close(opened)


def _call(
    _: None, target: Callable[..., object], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> None:
    target(*args, **kwargs)
