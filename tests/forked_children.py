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
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
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


@cache
def forking_servers() -> Mapping[str, str]:
    """Starts the processes that fork, which end with this one.

    Returns:
        The path of a socket for each name of processes.
    """
    return {name: _start(name) for name in IMPORTED}


def _start(name: str) -> str:
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
        self._pid = int(self._connection.recv(MAX_REQUEST))

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)

    def wait(self) -> int:
        """Waits for the process to end: it has the other end of the connection."""
        if self.returncode is None:
            self._connection.recv(MAX_REQUEST)
            self._connection.close()
            self.returncode = -signal.SIGKILL
        return self.returncode


@contextlib.contextmanager
def forked_children(servers: Mapping[str, str]) -> Iterator[None]:
    """Lets `ChildProcess` start embedders and parsers of this process by the servers."""
    popen = subprocess.Popen

    def start(command: Sequence[str], **options: Any) -> object:
        if command[3:4] == ["rag.process.child_process"] and command[4] in servers:
            return ForkedChild(servers[command[4]], command, options)
        return popen(command, **options)

    with mock.patch.object(subprocess, "Popen", start):
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
