"""Several processes that serve one address; one that dies is started again."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

from rag.errors import ConfigError, RagError
from rag.operations.notices.looking import watching
from rag.settings.generation import VllmModelSettings
from rag.settings.operations import ServerSettings
from rag.settings.tree import Settings
from rag.telemetry import metrics

Serve = Callable[[socket.socket, bool], None]
"""Serves on a listener until stopped. True: it takes connections once its models are loaded, not
before. It is picklable."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
"""Seconds before a process that died is started again; each pause is twice the one before."""
LASTING_SECONDS = 60.0
"""After this time a process has lasted: the next pause is the first again."""
LOOK_SECONDS = 0.5
_NOTICE = b"\0"
"""What stands among the numbers of signals for a notice: no signal has this number."""
_spawn = multiprocessing.get_context("spawn")
_log = logging.getLogger(__name__)


def check_shareable(settings: Settings) -> None:
    """Checks that several processes may serve with these settings.

    Raises:
        ConfigError: They cannot: index or catalog belong to one process, or an engine would be
            loaded once for each.
    """
    if (settings.index.kind, settings.catalog.kind) != ("qdrant", "postgres"):
        raise ConfigError(
            f"server.processes is {settings.server.processes}, and one process owns the data folder"
            f" with index.kind = {settings.index.kind!r} and catalog.kind ="
            f" {settings.catalog.kind!r}. Set them to 'qdrant' and 'postgres', or server.processes"
            " to 1."
        )
    routed = (route.generator for route in settings.routes)
    parts = (settings.generator, *settings.fallbacks, *routed, settings.online.judge)
    if any(isinstance(part, VllmModelSettings) for part in parts):
        raise ConfigError(
            f"server.processes is {settings.server.processes}, and each process would load the"
            " model of the kind 'vllm'. Run `vllm serve` and set the kind 'openai', or"
            " server.processes to 1."
        )


@dataclass(slots=True)
class _Child:
    process: SpawnProcess
    line: Connection
    """Its other end closes when this process ends, however it does: the child then ends, too. It
    carries the error for which a child cannot start."""
    started: float
    pause: float
    is_first: bool


class ServerProcesses:
    """Runs processes that accept connections from one listener, until a signal or a notice.

    At the first, they end what they have begun. Each signal to stop is passed on, and so is a
    notice; the signal that follows a notice says the same, and is not.
    """

    def __init__(self, serve: Serve, listener: socket.socket, settings: ServerSettings) -> None:
        self._serve = serve
        self._listener = listener
        self._settings = settings
        self._children: list[_Child] = []
        self._due: list[tuple[float, float]] = []
        """When a process is started in the place of one that died, and the pause before."""
        self._stopping = self._noticed = False
        self._failure: RagError | None = None

    def run(self) -> None:
        """Returns after a signal, once all have ended.

        Raises:
            RagError: They cannot start.
        """
        with (
            tempfile.TemporaryDirectory(prefix="plumbline-metrics-") as folder,
            _signals() as (signals, sending),
            watching(self._settings, partial(sending.send, _NOTICE)),
        ):
            os.environ[metrics.FOLDER_VARIABLE] = folder
            count = self._settings.processes
            self._children = [self._start(FIRST_PAUSE, is_first=True) for _ in range(count)]
            while self._children or not self._stopping:
                by_sentinel = {child.process.sentinel: child for child in self._children}
                for ready in wait([signals, *by_sentinel], LOOK_SECONDS if self._due else None):
                    if ready is signals:
                        for number in signals.recv(64):
                            self._told_to_stop(by_notice=number == _NOTICE[0])
                    elif isinstance(ready, int):
                        self._bury(by_sentinel[ready])
                self._replace()
        if self._failure is not None:
            raise self._failure

    def _start(self, pause: float, *, is_first: bool) -> _Child:
        line, other = _spawn.Pipe()
        args = (self._serve, self._listener, other, not is_first)
        process = _spawn.Process(target=_run, args=args)
        process.start()
        other.close()
        return _Child(process, line, time.monotonic(), pause, is_first)

    def _bury(self, child: _Child) -> None:
        child.process.join()
        self._children.remove(child)
        with child.line:
            failure = _failure_of(child)
        metrics.process_ended(child.process.pid)
        if self._stopping:
            return
        if child.is_first and failure is not None:  # the others would fail as it did
            self._failure = failure
            self._stop()
            return
        lasted = time.monotonic() - child.started >= LASTING_SECONDS
        pause = FIRST_PAUSE if lasted else child.pause
        why = f"exit code {child.process.exitcode}" if failure is None else failure.in_full()
        _log.error("A process of the server ended (%s). Another starts in %g s.", why, pause)
        self._due.append((time.monotonic() + pause, min(2 * pause, LONGEST_PAUSE)))

    def _replace(self) -> None:
        now = time.monotonic()
        due = [each for each in self._due if each[0] <= now]
        if self._stopping or not due:
            return
        self._due = [each for each in self._due if each not in due]
        self._children += [self._start(pause, is_first=False) for _, pause in due]

    def _told_to_stop(self, *, by_notice: bool) -> None:
        if by_notice and self._stopping:
            return
        if self._noticed:
            self._noticed = False
            return
        self._noticed = by_notice
        self._stop()

    def _stop(self) -> None:
        self._stopping = True
        for child in self._children:
            child.process.terminate()


@contextlib.contextmanager
def _signals() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Yields a socket that has a byte for each signal to stop, its number, and the other end."""
    reading, writing = socket.socketpair()
    with reading, writing:
        writing.setblocking(False)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda _number, _frame: None)
        before = signal.set_wakeup_fd(writing.fileno())
        try:
            yield reading, writing
        finally:
            signal.set_wakeup_fd(before)


def _failure_of(child: _Child) -> RagError | None:
    try:
        return child.line.recv() if child.line.poll() else None
    except EOFError:  # it ended without a word
        return None


def _run(serve: Serve, listener: socket.socket, line: Connection, waits: bool) -> None:
    """Serves in a process of its own, which ends when its parent has ended."""
    os.setpgid(0, 0)  # Ctrl-C reaches the parent alone, which passes it on
    threading.Thread(target=_follow, args=(line,), daemon=True).start()
    try:
        serve(listener, waits)
    except RagError as error:
        line.send(error)
        sys.exit(1)


def _follow(line: Connection) -> None:
    """Ends this process when the other end is closed."""
    with contextlib.suppress(EOFError, OSError):
        line.recv_bytes()
    os.kill(os.getpid(), signal.SIGTERM)
