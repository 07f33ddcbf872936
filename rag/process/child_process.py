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
import pickle
import socket
import subprocess
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from rag.errors import RagError, UpstreamError
from rag.process.imports import importing

T = TypeVar("T")
R = TypeVar("R")
Worker = Callable[[T], R]
_LENGTH = 8
_LARGE = 1 << 20
_PRIVATE = ("RAG_", "LANGFUSE_", "OTEL_", "OPENAI_")


@dataclass(frozen=True, slots=True)
class _Child:
    process: subprocess.Popen[bytes]
    idle: deque[socket.socket]

    def end(self) -> None:
        """Kills the process, without a request to stop: its work has no side effects."""
        self.process.kill()
        self.process.wait()
        for lane in tuple(self.idle):  # a call on another lane sees its end and closes it
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
        self._lanes = lanes
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
                    await _send(lane, item)
                    answer = await _receive(lane)
            except TimeoutError:
                child.process.kill()
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
            return _opened(answer)  # type: ignore[no-any-return]
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

    def _replace(self, dead: _Child) -> None:
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

    def _start(self) -> _Child:
        pairs = [socket.socketpair() for _ in range(self._lanes)]
        theirs = [their.fileno() for _, their in pairs]
        # -P: modules are not imported from the current folder.
        # A new session: a Ctrl-C in the terminal reaches the parent alone, which ends the child.
        try:
            process = subprocess.Popen(  # noqa: S603 - nothing in it comes from outside
                [
                    sys.executable,
                    "-P",
                    "-m",
                    "rag.process.child_process",
                    self._name,
                    *map(str, theirs),
                ],
                pass_fds=theirs,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,  # ours is for results: no library may write there
                env=_without_settings(os.environ),
                start_new_session=True,
            )
        except OSError as error:
            for our, _ in pairs:
                our.close()
            raise UpstreamError(
                f"The process of the {self._name} cannot be started: {error.strerror}. Most likely"
                " there are too many processes, or too little memory."
            ) from error
        finally:
            for _, their in pairs:
                their.close()
        lanes = [our for our, _ in pairs]
        child = _Child(process, deque(lanes))
        try:
            lanes[0].sendall(_message(self._load))
            self.about = _opened(_read(lanes[0]))
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


def _close(starting: asyncio.Future[ChildProcess[Any, Any]]) -> None:
    if not starting.cancelled() and starting.exception() is None:
        starting.result().close()


def _without_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """Returns the environment without settings, whose passwords a hostile file could read."""
    return {n: value for n, value in environ.items() if not n.upper().startswith(_PRIVATE)}


def _message(content: object) -> bytes:
    data = pickle.dumps(content, protocol=pickle.HIGHEST_PROTOCOL)
    return len(data).to_bytes(_LENGTH) + data


def _opened(answer: tuple[bool, Any]) -> Any:
    good, content = answer
    if not good:
        raise content
    return content


async def _send(lane: socket.socket, content: object) -> None:
    await asyncio.get_running_loop().sock_sendall(lane, _message(content))


async def _receive(lane: socket.socket) -> tuple[bool, Any]:
    loop = asyncio.get_running_loop()

    async def exactly(size: int) -> bytearray:
        data = bytearray(size)
        seen = 0
        while seen < size:
            got = await loop.sock_recv_into(lane, memoryview(data)[seen:])
            if not got:
                raise EOFError
            seen += got
        return data

    data = await exactly(int.from_bytes(await exactly(_LENGTH)))
    if len(data) > _LARGE:  # in a thread, so that the loop is not blocked
        return await asyncio.to_thread(pickle.loads, data)
    return pickle.loads(data)  # type: ignore[no-any-return]  # noqa: S301 - our own child's


def _read(lane: socket.socket) -> Any:
    """Reads a message and blocks until it is complete; `_receive` does not block."""
    with lane.makefile("rb") as file:
        head = file.read(_LENGTH)
        if len(head) < _LENGTH:
            raise EOFError
        return pickle.load(file)  # noqa: S301 - sent by our own parent or child


def _attempt(work: Callable[[], object]) -> bytes:
    """Returns the message with the result of `work`, or with the exception that it raised."""
    try:
        return _message((True, work()))
    except Exception as error:  # noqa: BLE001 - the parent raises it
        error.add_note("".join(traceback.format_exception(error)).rstrip())
        try:
            return _message((False, error))
        except Exception:  # noqa: BLE001 - some exceptions cannot be pickled
            return _message((False, RuntimeError("\n".join([repr(error), *error.__notes__]))))


def main() -> None:
    """Loads the worker, then answers calls, one thread per lane, until the parent is gone.

    The first argument is a name, which process lists show; the others are lanes.
    """
    lanes = [socket.socket(fileno=int(fd)) for fd in sys.argv[2:]]
    workers: list[Worker[Any, Any]] = []

    def load() -> Any:
        with importing():
            workers.append(order())
        return getattr(workers[0], "about", None)

    try:
        with importing():
            order = _read(lanes[0])
        lanes[0].sendall(_attempt(load))
    except (OSError, EOFError):  # the parent is gone
        return
    with ThreadPoolExecutor(len(lanes)) as pool:
        for lane in lanes if workers else ():
            pool.submit(_answer, lane, workers[0])


def _answer(lane: socket.socket, worker: Worker[Any, Any]) -> None:
    try:
        while True:
            item = _read(lane)
            lane.sendall(_attempt(partial(worker, item)))
    finally:
        os._exit(0)  # the parent is gone, or has abandoned this process


if __name__ == "__main__":
    main()
