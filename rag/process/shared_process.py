"""A child process that several processes use.

The first that needs it starts it, and the others connect to its socket in a folder that they have
in common. It lives until the last of them has left, however that ends; one that died is started
again by whichever sees it first.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import pickle
import select
import socket
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from rag.errors import UpstreamError
from rag.process.child_process import Child, ChildProcess, Worker, launched, loaded
from rag.process.file_lock import locked
from rag.process.pickled_messages import attempt, message, opened, read

T = TypeVar("T")
R = TypeVar("R")
FOLDER_VARIABLE = "PLUMBLINE_SHARED_PROCESSES"
"""The variable with the folder of the processes of one server; none: there is one process."""
COUNT_VARIABLE = "PLUMBLINE_SHARING_PROCESSES"
"""The variable with the number of these processes."""
LONGEST_FOLDER = 80
"""Bytes of that folder's name, at most; that of a socket in it has 107 on Linux, 103 on macOS."""
_BACKLOG = 4096
"""Lanes that may wait to be served: each process opens a few."""


def model_process(load: Callable[[], Worker[T, R]], *, name: str, lanes: int) -> ChildProcess[T, R]:
    """Returns a child process, shared with the other processes of the server if there are any.

    Arguments and errors are those of `ChildProcess`.
    """
    folder = os.environ.get(FOLDER_VARIABLE)
    if folder is None:
        return ChildProcess(load, name=name, lanes=lanes)
    sharers = int(os.environ[COUNT_VARIABLE])
    return SharedProcess(load, name=name, lanes=lanes, sharers=sharers, folder=Path(folder))


class SharedProcess(ChildProcess[T, R]):
    """A child process that is shared by all that load the same in one folder.

    It makes at most `lanes` calls at once, of all together; the others wait. Each caller makes its
    share of them: with more, its calls would carry less each, and take more time in all.
    """

    def __init__(
        self,
        load: Callable[[], Worker[T, R]],
        *,
        name: str,
        lanes: int,
        sharers: int,
        folder: Path,
    ) -> None:
        """Connects to the process, and starts it if there is none.

        Args:
            load: as for `ChildProcess`; what is pickled alike is the same.
            name: the worker's, for messages.
            lanes: most calls at once, of all callers.
            sharers: the number of callers.
            folder: a private one, with a short name.

        Raises:
            RagError: Raised by `load`.
        """
        digest = hashlib.sha256(pickle.dumps((name, lanes, load))).hexdigest()[:16]
        self._lock = folder / f"{digest}.lock"
        self._address = folder / f"{digest}.sock"
        self._about = folder / f"{digest}.about"
        self._most = lanes
        super().__init__(load, name=name, lanes=max(1, lanes // sharers))

    def _start(self) -> Child:
        with locked(self._lock, seconds=math.inf):  # as long as another loads the model
            lanes = self._joined() or self._loaded()
        for lane in lanes:
            lane.setblocking(False)
        return Child(deque(lanes), kill=partial(_leave, lanes))

    def _joined(self) -> list[socket.socket]:
        """Returns lanes to the process that another has started; none if there is none."""
        try:
            self.about = pickle.loads(self._about.read_bytes())  # noqa: S301 - our own
            return self._connected()
        except (FileNotFoundError, ConnectionRefusedError):  # none yet, or it has ended
            return []

    def _loaded(self) -> list[socket.socket]:
        """Starts the process and loads the worker in it; returns lanes to it."""
        self._about.unlink(missing_ok=True)
        self._address.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(self._address))
            listener.listen(_BACKLOG)
            lanes = self._connected()  # before it starts: it never waits for one that has died
            try:
                self._launch(listener)
                self._load_by(lanes[0])
            except BaseException:
                for lane in lanes:
                    lane.close()
                raise
        return lanes

    def _launch(self, listener: socket.socket) -> None:
        with listener:  # once the process has ended, it is nobody's
            process = launched(
                "rag.process.shared_process", self._name, [listener.fileno()], self._most
            )
        # It may end long after this one has left it.
        threading.Thread(target=process.wait, daemon=True).start()

    def _load_by(self, lane: socket.socket) -> None:
        try:
            lane.sendall(message(self._load))
            self.about = opened(read(lane))
        except (OSError, EOFError) as error:
            raise UpstreamError(
                f"The process of the {self._name} ended as it was loaded."
            ) from error
        written = self._about.with_suffix(".part")
        written.write_bytes(pickle.dumps(self.about))
        written.replace(self._about)

    def _connected(self) -> list[socket.socket]:
        lanes: list[socket.socket] = []
        try:
            for _ in range(self.lanes):
                lanes.append(socket.socket(socket.AF_UNIX))
                lanes[-1].connect(str(self._address))
        except OSError:
            for lane in lanes:
                lane.close()
            raise
        return lanes


def _leave(lanes: Sequence[socket.socket]) -> None:
    """Ends calls under way on these lanes; the other end learns that they are not used."""
    for lane in lanes:
        if lane.fileno() >= 0:
            lane.shutdown(socket.SHUT_RDWR)


class _Server:
    """Answers calls on all lanes, one thread for each, until the last is closed."""

    def __init__(self, worker: Worker[Any, Any], most: int, listener: socket.socket) -> None:
        self._worker = worker
        self._turns = threading.Semaphore(most)
        self._listener = listener
        self._count = 0
        self._counting = threading.Lock()

    def serve(self, lane: socket.socket) -> NoReturn:
        """Serves this lane and those that come."""
        self._open(lane)
        while True:
            self._has_comers(None)
            with self._counting:  # so that each lane either waits or is counted
                self._open(self._listener.accept()[0])

    def _open(self, lane: socket.socket) -> None:
        self._count += 1
        threading.Thread(target=self._answer, args=(lane,), daemon=True).start()

    def _answer(self, lane: socket.socket) -> None:
        left = (OSError, EOFError, pickle.UnpicklingError)  # the last: amid a message
        try:
            with lane, contextlib.suppress(*left):
                while True:
                    lane.sendall(attempt(partial(self._call, read(lane))))
        finally:
            with self._counting:
                self._count -= 1
                if not self._count and not self._has_comers(0):
                    os._exit(0)

    def _has_comers(self, milliseconds: int | None) -> bool:
        """True if lanes wait to be served; waits for one without a time limit if it is None."""
        looking = select.poll()  # `select` refuses descriptors from 1,024
        looking.register(self._listener, select.POLLIN)
        return bool(looking.poll(milliseconds))

    def _call(self, item: Any) -> Any:
        with self._turns:
            return self._worker(item)


def main() -> None:
    """Loads the worker, then answers calls until nobody is left.

    Arguments: a name, which process lists show; the listener's descriptor; most calls at once.
    """
    listener = socket.socket(fileno=int(sys.argv[2]))
    lane, _ = listener.accept()
    worker = loaded(lane)
    if worker is not None:
        _Server(worker, int(sys.argv[3]), listener).serve(lane)


if __name__ == "__main__":
    main()
