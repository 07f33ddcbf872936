"""The processes of a test deployment."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rag.errors import UpstreamError
from rag.operations.chaos.keeper import Keeper
from rag.operations.chaos.proxy import LOOPBACK

START_SECONDS = 120.0
STOP_SECONDS = 20.0
_PAUSE = 0.05
_LAST_LINES = 10


@dataclass(slots=True)
class Process:
    """A process that can be killed, stopped, continued and started again.

    Attributes:
        name: for messages.
        command: the program and its arguments.
        env: its whole environment.
        log: the file that its output is appended to.
        ready: returns True once it works.
        user: a user of the system as whom it runs; None: ours.
    """

    name: str
    command: Sequence[str]
    env: Mapping[str, str]
    log: Path
    keeper: Keeper
    ready: Callable[[Process], bool]
    user: str | None = None
    popen: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _seen: int = field(default=0, init=False)

    @property
    def pid(self) -> int:
        """Its id."""
        assert self.popen is not None  # noqa: S101 - it was started
        return self.popen.pid

    def output(self) -> str:
        """Returns what it has written since its last start."""
        return self.log.read_bytes()[self._seen :].decode(errors="replace")

    async def start(self) -> None:
        """Starts it, and waits until it works.

        Raises:
            UpstreamError: It ended, or took too long; the message has its last words.
        """
        self._launch()
        assert self.popen is not None  # noqa: S101 - it was started
        deadline = asyncio.get_running_loop().time() + START_SECONDS
        while not await asyncio.to_thread(self.ready, self):
            late = asyncio.get_running_loop().time() > deadline
            if late or self.popen.poll() is not None:
                last = "\n".join(self.output().splitlines()[-_LAST_LINES:])
                raise UpstreamError(f"{self.name} of the test deployment did not start:\n{last}")
            await asyncio.sleep(_PAUSE)

    def _launch(self) -> None:
        self._seen = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as output:
            self.popen = subprocess.Popen(  # noqa: S603 - nothing in it comes from outside
                self.command,
                env=dict(self.env),
                cwd=self.log.parent,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                user=self.user,
                group=None if self.user is None else _group_of(self.user),
                start_new_session=True,
            )
        self.keeper.keep(self.popen.pid)

    def kill(self) -> None:
        """Kills it, as a power cut does."""
        assert self.popen is not None  # noqa: S101 - it was started
        self.popen.kill()
        self.popen.wait()
        self.keeper.forget(self.popen.pid)

    def pause(self) -> None:
        """Stops it: the kernel accepts its connections, and it does not answer."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Continues it after `pause`."""
        os.kill(self.pid, signal.SIGCONT)

    def stop(self) -> None:
        """Asks it to end, and kills it if it does not in time."""
        if self.popen is None or self.popen.poll() is not None:
            return
        self.popen.terminate()
        try:
            self.popen.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
        else:
            self.keeper.forget(self.popen.pid)


def _group_of(user: str) -> int:
    import pwd

    return pwd.getpwnam(user).pw_gid


def free_port() -> int:
    """Returns a port of loopback that was free a moment ago."""
    with socket.create_server((LOOPBACK, 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def listens(port: int) -> bool:
    """Returns True if somebody listens on a port of loopback."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=1):
            return True
    except OSError:
        return False
