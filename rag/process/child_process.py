"""Runs work in a child process.

For models: a forward pass in a thread and an event loop share the interpreter's lock. Each of the
hundred operations of a pass releases the lock, and waits up to 5 ms for a busy loop to release it;
two cores then do the work of one. In a child process the model keeps a core busy and does not slow
down the loop.

For parsers: a hostile file can harm the child process alone.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from rag.errors import RagError, UpstreamError
from rag.process.imports import importing
from rag.process.pickled_messages import attempt, message, opened, read, receive, send

T = TypeVar("T")
R = TypeVar("R")
Worker = Callable[[T], R]
_PRIVATE = ("RAG_", "LANGFUSE_", "OTEL_", "OPENAI_", "PLUMBLINE_")


@dataclass(frozen=True, slots=True)
class Child:
    """A process as its caller sees it."""

    idle: deque[socket.socket]
    """The lanes on which no call is under way."""
    kill: Callable[[], object]
    """Ends the process without a request to stop, for its work has no side effects; if others use
    it as well, ends our use of it alone."""
    wait: Callable[[], object] | None = None
    """Waits for its end; None if it goes on for others."""

    def end(self) -> None:
        """Ends it; a call under way sees that."""
        self.kill()
        if self.wait is not None:
            self.wait()
        for lane in tuple(self.idle):  # a call on another lane closes it
            lane.close()


class ChildProcess(Generic[T, R]):
    """Calls a worker in another process, from any event loop.

    A process that died is started again and its calls are made again, once. `about` is the
    worker's attribute of that name, which describes it; None if it has none.
    """

    def __init__(
        self,
        load: Callable[[], Worker[T, R]],
        *,
        name: str,
        lanes: int,
        seconds: float | None = None,
    ) -> None:
        """Starts the process and waits until the worker is loaded.

        Args:
            load: picklable; makes the worker, in the process.
            name: the worker's, for messages.
            lanes: most calls at once, each on a thread of the process; the caller must not exceed
                it.
            seconds: time limit of one call; None: no limit.

        Raises:
            RagError: Raised by `load`.
        """
        self._load = load
        self._name = name
        self.lanes = lanes
        self._seconds = seconds
        self._starting = threading.Lock()
        self._closed = False
        self.about: Any = None
        self._child = self._start()

    @classmethod
    async def started(
        cls, load: Callable[[], Worker[T, R]], *, name: str, lanes: int, seconds: float
    ) -> ChildProcess[T, R]:
        """Starts a child process in a thread; closes it if the caller is cancelled meanwhile.

        Arguments and errors are those of the constructor.
        """
        make = partial(cls, load, name=name, lanes=lanes, seconds=seconds)
        starting = asyncio.ensure_future(asyncio.to_thread(make))
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            starting.add_done_callback(_close)
            raise

    async def call(self, item: T) -> R:
        """Calls the worker and returns its result.

        Raises:
            TimeoutError: The call took more than `seconds`; the process has been ended.
            UpstreamError: The process died twice.
            Exception: Raised by the worker.
        """
        for _ in range(2):
            child = self._child
            lane = child.idle.popleft()
            try:
                async with asyncio.timeout(self._seconds):
                    await send(lane, item)
                    answer = await receive(lane)
            except TimeoutError:
                child.kill()
                lane.shutdown(socket.SHUT_RDWR)  # a late answer would go to the next call
                raise
            except (OSError, EOFError):
                lane.close()
                await asyncio.to_thread(self._replace, child)
                continue
            except BaseException:
                lane.shutdown(socket.SHUT_RDWR)  # it has half a message: its next use must fail
                raise
            finally:
                child.idle.append(lane)
            return opened(answer)  # type: ignore[no-any-return]
        raise UpstreamError(
            f"The process of the {self._name} ended twice over one call, most likely for lack of"
            " memory.",
            code="process_died",
        )

    def close(self) -> None:
        """Ends the process; a call under way fails."""
        with self._starting:
            self._closed = True
            self._child.end()

    def _replace(self, dead: Child) -> None:
        with self._starting:
            if self._closed:
                raise UpstreamError(f"The {self._name} is closed.")
            if self._child is not dead:  # a call on another lane has replaced it
                return
            dead.end()
            try:
                self._child = self._start()
            except RagError as error:
                raise UpstreamError(
                    f"The {self._name} cannot be started again: {error}", detail=error.detail
                ) from error

    def _start(self) -> Child:
        pairs = [socket.socketpair() for _ in range(self.lanes)]
        theirs = [their.fileno() for _, their in pairs]
        try:
            process = launched("rag.process.child_process", self._name, theirs)
        except UpstreamError:
            for our, _ in pairs:
                our.close()
            raise
        finally:
            for _, their in pairs:
                their.close()
        lanes = [our for our, _ in pairs]
        child = Child(deque(lanes), kill=process.kill, wait=process.wait)
        try:
            lanes[0].sendall(message(self._load))
            self.about = opened(read(lanes[0]))
        except (OSError, EOFError) as error:
            child.end()
            raise UpstreamError(
                f"The process of the {self._name} ended as it was loaded (exit code"
                f" {process.returncode})."
            ) from error
        except BaseException:
            child.end()
            raise
        for lane in lanes:
            lane.setblocking(False)
        return child


def launched(
    module: str, name: str, descriptors: Sequence[int], *numbers: int
) -> subprocess.Popen[bytes]:
    """Starts a module of ours in an interpreter of its own.

    Args:
        module: its `main` gets the other arguments from the command line.
        name: the worker's, which process lists show.
        descriptors: those of ours that it has as well.
        numbers: further arguments.

    Raises:
        UpstreamError: It cannot be started.
    """
    try:
        # -P: modules are not imported from the current folder.
        # A new session: a Ctrl-C in the terminal reaches the parent alone, which ends the child.
        return subprocess.Popen(  # noqa: S603 - nothing in it comes from outside
            [sys.executable, "-P", "-m", module, name, *map(str, (*descriptors, *numbers))],
            pass_fds=descriptors,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # ours is for results: no library may write there
            env=_without_settings(os.environ),
            start_new_session=True,
        )
    except OSError as error:
        raise UpstreamError(
            f"The process of the {name} cannot be started: {error.strerror}. Most likely there are"
            " too many processes, or too little memory."
        ) from error


def _close(starting: asyncio.Future[ChildProcess[Any, Any]]) -> None:
    if not starting.cancelled() and starting.exception() is None:
        starting.result().close()


def _without_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """Returns the environment without settings, whose passwords a hostile file could read."""
    return {n: value for n, value in environ.items() if not n.upper().startswith(_PRIVATE)}


def main() -> None:
    """Loads the worker, then answers calls, one thread per lane, until the parent is gone.

    The first argument is a name, which process lists show; the others are lanes.
    """
    lanes = [socket.socket(fileno=int(fd)) for fd in sys.argv[2:]]
    worker = loaded(lanes[0])
    if worker is None:
        return
    with ThreadPoolExecutor(len(lanes)) as pool:
        for lane in lanes:
            pool.submit(_answer, lane, worker)


def loaded(lane: socket.socket) -> Worker[Any, Any] | None:
    """Loads the worker that the first message on a lane asks for, and answers with its `about`.

    Returns:
        The worker; None if it cannot be loaded, which the answer says, or if nobody is there.
    """
    workers: list[Worker[Any, Any]] = []

    def load() -> Any:
        with importing():
            workers.append(order())
        return getattr(workers[0], "about", None)

    try:
        with importing():
            order = read(lane)
        lane.sendall(attempt(load))
    except (OSError, EOFError):  # the one that started it is gone
        return None
    return workers[0] if workers else None


def _answer(lane: socket.socket, worker: Worker[Any, Any]) -> None:
    try:
        while True:
            item = read(lane)
            lane.sendall(attempt(partial(worker, item)))
    finally:
        os._exit(0)  # the parent is gone, or has abandoned this process


if __name__ == "__main__":
    main()
