"""Forks the processes of embedders and parsers from ones that have imported what they need.

To import it takes most of the time of such a process. In the fork, the `main` of
`rag.process.child_process` runs as it does in a new interpreter.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import os
import pickle
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from rag.process import child_process
from rag.process.imports import importing

IMPORTED = {
    "embedder": ("retrieval.embedders.bert_encoder", "retrieval.embedders.embedder"),
    "parser": ("ingest.reader_process",),
}
"""What the processes of a name import. Torch is in no parser: its address space is limited."""
MAX_REQUEST = 1 << 20
MAX_FILES = 16
STDERR = 2


def forking_servers() -> Mapping[str, str]:
    """Returns the path of a socket for each name of processes; see `forking_server`."""
    return {name: forking_server(name) for name in IMPORTED}


@cache
def forking_server(name: str) -> str:
    """Starts the process that forks those of a name, and ends with this process.

    Returns:
        The path of its socket.
    """
    folder = tempfile.mkdtemp(prefix="plumbline-fork-")
    path = str(Path(folder) / "socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(path)
        listener.listen()
        number = listener.fileno()
        command = [sys.executable, "-m", "tests.forked_children", name, str(number)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[number])

    def end() -> None:
        process.communicate()  # it ends when its standard input is closed
        shutil.rmtree(folder)

    atexit.register(end)
    return path


class ForkedChild:
    """The part of `subprocess.Popen` that `ChildProcess` uses."""

    def __init__(self, server: str, command: Sequence[str], options: Mapping[str, Any]) -> None:
        self.returncode: int | None = None
        self._connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._connection.connect(server)
        request = pickle.dumps((command[4], dict(options["env"]), str(Path.cwd())))
        files = [STDERR, *options["pass_fds"]]
        socket.send_fds(self._connection, [request], files)
        self.pid = int(self._connection.recv(MAX_REQUEST))

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> int:
        """Waits for the process to end: it has the other end of the connection."""
        if self.returncode is None:
            self._connection.recv(MAX_REQUEST)
            self._connection.close()
            self.returncode = -signal.SIGKILL
        return self.returncode


@contextlib.contextmanager
def forked_children(server_of: Callable[[str], str]) -> Iterator[None]:
    """Lets `ChildProcess` start embedders and parsers of this process by the servers."""

    def start(command: Sequence[str], **options: Any) -> object:
        if command[3] == child_process.__name__ and command[4] in IMPORTED:
            return ForkedChild(server_of(command[4]), command, options)
        return subprocess.Popen(command, **options)

    forking = SimpleNamespace(Popen=start, DEVNULL=subprocess.DEVNULL)
    with mock.patch.object(child_process, "subprocess", forking):
        yield


def _serve(listener: socket.socket) -> None:
    while True:
        ready, _, _ = select.select([listener, sys.stdin], [], [])
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if sys.stdin in ready:  # the tests have ended
            return
        connection, _ = listener.accept()
        with connection:
            request, files, _, _ = socket.recv_fds(connection, MAX_REQUEST, MAX_FILES)
            if (pid := os.fork()) == 0:
                listener.close()
                name, env, cwd = pickle.loads(request)
                _become_child(name, env, cwd, files)
            connection.send(str(pid).encode())
        for file in files:
            os.close(file)


def _become_child(name: str, env: Mapping[str, str], cwd: str, files: Sequence[int]) -> None:
    try:
        os.setsid()
        stderr, *lanes = files
        nothing = os.open(os.devnull, os.O_RDWR)
        for ours, theirs in enumerate((nothing, nothing, stderr)):
            os.dup2(theirs, ours)
        os.chdir(cwd)
        os.environ.clear()
        os.environ.update(env)
        sys.argv = [child_process.__file__, name, *map(str, lanes)]
        child_process.main()
    finally:
        os._exit(0)


if __name__ == "__main__":
    with importing():
        for module in IMPORTED[sys.argv[1]]:
            importlib.import_module(module)
    _serve(socket.socket(fileno=int(sys.argv[2])))
