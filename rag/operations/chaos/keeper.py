"""A process that ends a test deployment with the process that started it, however that one ends.

`python -m rag.operations.chaos.keeper FOLDER` reads process ids, one a line; a minus before one
says that it has ended. At the end of its input, which comes with the death of the writer as well,
it kills those that are left and removes the folder.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

_SHARED = 0o711
"""Mode of the folder: PostgreSQL runs as another user if this one is root."""


class Keeper:
    """A new folder, and the process that ends with us what is told to it, and removes the folder.

    It needs no cooperation of what it ends: SIGKILL also ends a process that is stopped.
    """

    def __init__(self) -> None:
        """Makes the folder, and starts the process."""
        self.folder = Path(tempfile.mkdtemp(prefix="plumbline-chaos-"))
        self.folder.chmod(_SHARED)
        self._process = subprocess.Popen(  # noqa: S603 - nothing in it comes from outside
            [sys.executable, "-P", "-m", "rag.operations.chaos.keeper", str(self.folder)],
            stdin=subprocess.PIPE,
            start_new_session=True,  # a Ctrl-C reaches its parent alone, whose end it awaits
        )

    def keep(self, pid: int) -> None:
        """Has a process end with this one."""
        self._tell(pid)

    def forget(self, pid: int) -> None:
        """Takes note that a process has ended: the system may give its id to another one."""
        self._tell(-pid)

    def close(self) -> None:
        """Ends all processes, and removes the folder."""
        assert self._process.stdin is not None  # noqa: S101 - it was asked for
        self._process.stdin.close()
        self._process.wait()

    def _tell(self, number: int) -> None:
        assert self._process.stdin is not None  # noqa: S101 - it was asked for
        self._process.stdin.write(b"%d\n" % number)
        self._process.stdin.flush()


def main() -> None:
    """Waits for the end of the input."""
    pids: set[int] = set()
    for line in sys.stdin.buffer:
        number = int(line)
        if number > 0:
            pids.add(number)
        else:
            pids.discard(-number)
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    shutil.rmtree(sys.argv[1], ignore_errors=True)


if __name__ == "__main__":
    main()
