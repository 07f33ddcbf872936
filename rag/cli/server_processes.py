"""Several processes that serve one address; one that dies is started again."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import select
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from rag.errors import ConfigError, RagError
from rag.operations.notices.looking import watching
from rag.process import shared_process
from rag.settings.generation import VllmModelSettings
from rag.settings.operations import ServerSettings
from rag.settings.tree import Settings
from rag.telemetry import instruments, metrics

Serve = Callable[..., None]
"""Serves the connections that arrive on a line until stopped. If it `waits`, it takes them once its
models are loaded, not before. It is picklable."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
"""Seconds before a process that died is started again; each pause is twice the one before."""
LASTING_SECONDS = 60.0
"""After this time a process has lasted: the next pause is the first again."""
LOOK_SECONDS = 0.5
_NOTICE = b"\0"
"""What stands among the numbers of signals for a notice: no signal has this number."""
TAKES = b"\1"
"""Sent by a process once it takes connections."""
_ACCEPTED_AT_ONCE = 64
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
    connections: socket.socket
    """Connections are handed to the child on it, once the child has said that it takes them."""
    started: float
    pause: float
    is_first: bool
    takes: bool | None = None
    """True: it takes connections; None: not yet; False: no more."""

    def has_room(self) -> bool:
        """True if a connection can be handed over without waiting, or the child has ended."""
        looking = select.poll()
        looking.register(self.connections, select.POLLOUT)
        return bool(looking.poll(0))


class ServerProcesses:
    """Runs processes that serve the connections to one listener, until a signal or a notice.

    This process accepts the connections, and hands them to the others by turns: if each accepted
    for itself, whichever runs first would have most of those that come together.

    At the first signal or notice, they end what they have begun. Each signal to stop is passed on,
    and so is a notice; the signal that follows a notice says the same, and is not.
    """

    def __init__(self, serve: Serve, listener: socket.socket, settings: ServerSettings) -> None:
        self._serve = serve
        self._listener = listener
        listener.setblocking(False)
        self._settings = settings
        self._children: list[_Child] = []
        """The one that was last handed a connection is the last."""
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
            _shared_folder(self._settings.processes),
            _signals() as (signals, sending),
            watching(
                self._settings,
                partial(sending.send, _NOTICE),
                failed=metrics.of_children(instruments.notice_failures),
            ),
        ):
            count = self._settings.processes
            self._children = [self._start(FIRST_PAUSE, is_first=True) for _ in range(count)]
            while self._children or not self._stopping:
                watched = self._watched(signals)
                looks = self._due or self._listener not in watched
                for ready in wait(list(watched), LOOK_SECONDS if looks else None):
                    watched[ready]()
                self._replace()
        if self._failure is not None:
            raise self._failure

    def _watched(self, signals: socket.socket) -> Mapping[Any, Callable[[], None]]:
        """Returns what is waited for, and what is then done."""
        watched: dict[Any, Callable[[], None]] = {signals: partial(self._pass_on, signals)}
        for child in self._children:
            watched[child.process.sentinel] = partial(self._bury, child)
            if child.takes is None:
                watched[child.connections] = partial(self._hear, child)
        if self._next() is not None:
            watched[self._listener] = self._accept
        return watched

    def _pass_on(self, signals: socket.socket) -> None:
        for number in signals.recv(64):
            self._told_to_stop(by_notice=number == _NOTICE[0])

    def _hear(self, child: _Child) -> None:
        """Learns that a child takes connections, or never will."""
        if child in self._children:  # it did not end in the same moment
            with contextlib.suppress(OSError):  # it ends
                child.takes = child.connections.recv(1) == TAKES

    def _next(self) -> _Child | None:
        """Returns the child whose turn it is of those that have room for a connection."""
        return next((each for each in self._children if each.takes and each.has_room()), None)

    def _accept(self) -> None:
        """Hands over the connections that wait; some of very many, for signals come between.

        While no child has room they wait at the listener.
        """
        for _ in range(_ACCEPTED_AT_ONCE):
            if (child := self._next()) is None:
                return
            try:
                connection, _ = self._listener.accept()
            except (BlockingIOError, ConnectionAbortedError):  # the client has gone
                return
            except OSError as error:
                _log.error("No connection can be accepted (%s).", error.strerror)
                time.sleep(LOOK_SECONDS)
                return
            with connection:
                self._hand_over(connection, child)

    def _hand_over(self, connection: socket.socket, child: _Child) -> None:
        self._children.remove(child)
        self._children.append(child)
        try:
            hand(child.connections, connection)
        except (BrokenPipeError, ConnectionResetError):  # it ends
            child.takes = False
            if (other := self._next()) is not None:
                self._hand_over(connection, other)
                return
            _log.error("A connection was closed: no process takes it.")
        except OSError as error:
            _log.error("A connection was closed: it cannot be handed over (%s).", error.strerror)

    def _start(self, pause: float, *, is_first: bool) -> _Child:
        line, other = _spawn.Pipe()
        connections, handed = socket.socketpair()
        connections.setblocking(False)
        args = (self._serve, handed, other, not is_first)
        process = _spawn.Process(target=_run, args=args)
        with other, handed:
            try:
                process.start()
            except OSError:
                line.close()
                connections.close()
                raise
        return _Child(process, line, connections, time.monotonic(), pause, is_first)

    def _bury(self, child: _Child) -> None:
        child.process.join()
        self._children.remove(child)
        with child.line, child.connections:
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
        for _, pause in due:
            try:
                self._children.append(self._start(pause, is_first=False))
            except OSError as error:
                _log.error("No process can be started (%s): again in %g s.", error.strerror, pause)
                self._due.append((now + pause, min(2 * pause, LONGEST_PAUSE)))

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


def hand(line: socket.socket, connection: socket.socket) -> None:
    """Hands a connection to the process at the other end of a line.

    Raises:
        OSError: It takes none; BlockingIOError: it has not taken those that it was handed before.
    """
    socket.send_fds(line, [b"\0"], [connection.fileno()])


@contextlib.contextmanager
def _shared_folder(count: int) -> Iterator[None]:
    """Has a folder for what `count` processes share, which they find by their environment.

    Raises:
        ConfigError: Its name is too long for the sockets in it.
    """
    with tempfile.TemporaryDirectory(prefix="plumbline-") as folder:
        if len(os.fsencode(folder)) > shared_process.LONGEST_FOLDER:
            raise ConfigError(
                f"The temporary folder {Path(folder).parent} has too long a name for the sockets of"
                " server.processes: set TMPDIR to a shorter one."
            )
        variables = {
            metrics.FOLDER_VARIABLE: folder,
            shared_process.FOLDER_VARIABLE: folder,
            shared_process.COUNT_VARIABLE: str(count),
        }
        os.environ.update(variables)
        try:
            yield
        finally:
            for name in variables:
                os.environ.pop(name, None)


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


def _run(serve: Serve, handed: socket.socket, line: Connection, waits: bool) -> None:
    """Serves in a process of its own, which ends when its parent has ended."""
    os.setpgid(0, 0)  # Ctrl-C reaches the parent alone, which passes it on
    threading.Thread(target=_follow, args=(line,), daemon=True).start()
    try:
        serve(handed, waits=waits)
    except RagError as error:
        line.send(error)
        sys.exit(1)


def _follow(line: Connection) -> None:
    """Ends this process when the other end is closed."""
    with contextlib.suppress(EOFError, OSError):
        line.recv_bytes()
    os.kill(os.getpid(), signal.SIGTERM)
