"""Forks processes from ones that have imported what they need.

To start an interpreter and to import takes most of the time of a small process, and the tests start
hundreds. There is one server for all processes of a run of tests: `pytest` starts it, and the
processes of pytest-xdist, like the commands `rag` that are under test, find its sockets by a
variable of the environment. Each kind of processes has a socket, and is imported as the first of
its kind is asked for.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import os
import pickle
import select
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NoReturn, cast

from rag.process.imports import importing

IMPORTED = {
    "rag": ("tests.forked_imports",),
    "embedder": ("tests.forked_embedder",),
    "model": ("FlagEmbedding", "sentence_transformers", "rag.inference.pair_model"),
    "parser": ("ingest.reader_process",),
    "rebuild": ("retrieval.indexes.edge_rebuild",),
    "traces": ("rag.telemetry.exporters",),
}
"""What the processes of a kind import."""
VARIABLE = "TESTS_FORK_SERVER"
"""The variable with the folder of the sockets."""
MAX_REQUEST = 1 << 20
MAX_FILES = 16
STREAMS = 3


@contextlib.contextmanager
def fork_server() -> Iterator[None]:
    """Runs the server in a block; in the block of another process, its server is used."""
    if VARIABLE in os.environ:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="plumbline-fork-") as folder:
        listeners = [_listener(Path(folder, kind)) for kind in IMPORTED]
        numbers = [listener.fileno() for listener in listeners]
        command = [sys.executable, "-m", "tests.fork_server", *map(str, numbers)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=numbers)
        for listener in listeners:
            listener.close()
        os.environ[VARIABLE] = folder
        try:
            yield
        finally:
            del os.environ[VARIABLE]
            process.communicate()  # it ends when its standard input is closed


def _listener(path: Path) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    made.bind(str(path))
    made.listen()
    return made


class Forked:
    """A process that the server has forked: the part of `subprocess.Popen` that is used."""

    def __init__(
        self,
        kind: str,
        target: Callable[..., object],
        *args: object,
        streams: Sequence[int],
        files: Sequence[int] = (),
        env: Mapping[str, str],
        cwd: Path,
    ) -> None:
        """Calls `target` in a new process with our umask; it exits as an interpreter does.

        Args:
            kind: a key of `IMPORTED`.
            target: picklable; is called with `args`, and the numbers that `files` have there.
            args: picklable.
            streams: its standard input, output and error.
            files: further open files that it gets.
            env: its environment.
            cwd: its current folder.
        """
        assert env.get("PYTHONPATH") == os.environ.get("PYTHONPATH"), "it is imported already"
        self.returncode: int | None = None
        self._taking = threading.Lock()
        self._connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._connection.connect(str(Path(os.environ[VARIABLE], kind)))
        request = pickle.dumps((dict(env), str(cwd), _umask(), pickle.dumps((target, args))))
        socket.send_fds(self._connection, [request], [*streams, *files])
        self.pid = self._told()

    def poll(self) -> int | None:
        """Returns the exit code, negative for a signal; None while the process runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Waits for the process to end, in any thread; returns its exit code."""
        if self.returncode is None:
            looking = select.poll()  # `select` refuses descriptors from 1,024
            looking.register(self._connection, select.POLLIN)
            if not looking.poll(None if timeout is None else 1000 * timeout):
                raise subprocess.TimeoutExpired("forked", timeout or 0)
            with self._taking:
                if self.returncode is None:
                    self.returncode = self._told()
                    self._connection.close()
        return self.returncode

    def _told(self) -> int:
        answer = self._connection.recv(MAX_REQUEST)
        assert answer, "the server of forks has ended"
        return int(answer)

    def send_signal(self, sig: int, /) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, sig)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _umask() -> int:
    """Returns that of this process; `os.umask` would change it for a moment."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("Umask:")[1].split()[0], 8)


def run_forked(
    kind: str,
    target: Callable[..., object],
    *args: object,
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float | None = None,
) -> subprocess.CompletedProcess[str]:
    """Calls `target` in a new process, as `Forked`, and waits; returns its output as text."""
    with (
        tempfile.TemporaryFile() as given,
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as err,
    ):
        given.write(stdin)
        given.seek(0)
        streams = [stream.fileno() for stream in (given, out, err)]
        process = Forked(
            kind,
            target,
            *args,
            streams=streams,
            env=env or os.environ,
            cwd=cwd or Path.cwd(),
        )
        try:
            code = process.wait(timeout)
        finally:
            process.kill()
        told = []
        for stream in (out, err):
            stream.seek(0)
            told.append(stream.read().decode())
        return subprocess.CompletedProcess(kind, code, *told)


class _Server:
    """Forks the processes of one kind, until the tests have ended."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._waiting: dict[int, tuple[int, socket.socket]] = {}
        """By a descriptor that can be read once it has ended: a process, and who started it."""

    def serve(self) -> None:
        with selectors.DefaultSelector() as looking:
            for source in (self._listener, sys.stdin):
                looking.register(source, selectors.EVENT_READ)
            while True:
                ready = [key.fileobj for key, _ in looking.select()]
                if sys.stdin in ready:  # the tests have ended
                    break
                for source in ready:
                    if source is self._listener:
                        if (started := self._fork()) is not None:
                            looking.register(started, selectors.EVENT_READ)
                    else:
                        looking.unregister(source)
                        self._end(cast("int", source))
        for pid, _ in self._waiting.values():
            os.kill(pid, signal.SIGKILL)

    def _fork(self) -> int | None:
        """Forks for who connects; returns a descriptor for its end, or None if nobody asks."""
        connection, _ = self._listener.accept()
        request, files, _, _ = socket.recv_fds(connection, MAX_REQUEST, MAX_FILES)
        if not request:  # who connected was killed before it could ask
            connection.close()
            return None
        if (pid := os.fork()) == 0:
            self._leave(connection)
            _become(request, files)
        for file in files:
            os.close(file)
        with contextlib.suppress(OSError):  # it may be killed, as tests kill many
            connection.send(str(pid).encode())
        ended = os.pidfd_open(pid)
        self._waiting[ended] = pid, connection
        return ended

    def _leave(self, connection: socket.socket) -> None:
        """Closes in a new process what is the server's."""
        self._listener.close()
        connection.close()
        for ended, (_, starter) in self._waiting.items():
            os.close(ended)
            starter.close()

    def _end(self, ended: int) -> None:
        pid, starter = self._waiting.pop(ended)
        os.close(ended)
        _, status = os.waitpid(pid, 0)
        with starter, contextlib.suppress(OSError):  # the starter may be gone
            starter.send(str(os.waitstatus_to_exitcode(status)).encode())


def _become(request: bytes, files: Sequence[int]) -> NoReturn:
    """Becomes the process that a request asks for."""
    code: object = 1
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        env, cwd, umask, call = pickle.loads(request)
        for ours, theirs in enumerate(files[:STREAMS]):
            os.dup2(theirs, ours)
            os.close(theirs)
        os.umask(umask)
        os.chdir(cwd)
        os.environ.clear()
        os.environ.update(env)
        target, args = pickle.loads(call)
        target(*args, *files[STREAMS:])
        code = None
    except SystemExit as leaving:
        code = leaving.code
    except BaseException:  # noqa: BLE001 - it is told, and the process ends
        traceback.print_exc()
    finally:
        _exit(code)


def _exit(code: object) -> NoReturn:
    """Exits as an interpreter does, but does not free what it has imported."""
    if code is not None and not isinstance(code, int):
        print(code, file=sys.stderr)
        code = 1
    try:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    finally:
        os._exit(code or 0)


def _import_and_serve(kind: str, listener: socket.socket) -> None:
    with importing():
        for module in (*IMPORTED[kind], "tests.forked_children"):
            importlib.import_module(module)
    _Server(listener).serve()


def main() -> None:
    """Starts the server of a kind as a process of that kind is asked for.

    The arguments are the numbers of the listeners, in the order of `IMPORTED`.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the tests
    numbers = map(int, sys.argv[1:])
    kinds = {socket.socket(fileno=n): kind for n, kind in zip(numbers, IMPORTED, strict=True)}
    servers = []
    while sys.stdin not in (ready := select.select([sys.stdin, *kinds], [], [])[0]):
        for listener in kinds.keys() & ready:
            kind = kinds.pop(listener)
            if (pid := os.fork()) == 0:
                for other in kinds:
                    other.close()
                _import_and_serve(kind, listener)
                _exit(None)
            listener.close()
            servers.append(pid)
    for pid in servers:  # they see that the tests have ended, too
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
