"""Pickled messages over sockets between processes of our own."""

from __future__ import annotations

import asyncio
import pickle
import socket
import traceback
from collections.abc import Callable
from typing import Any

_LENGTH = 8
_LARGE = 1 << 20


def message(content: object) -> bytes:
    """Returns the bytes of a message."""
    data = pickle.dumps(content, protocol=pickle.HIGHEST_PROTOCOL)
    return len(data).to_bytes(_LENGTH) + data


def opened(answer: tuple[bool, Any]) -> Any:
    """Returns the result in an answer, or raises its exception."""
    good, content = answer
    if not good:
        raise content
    return content


async def send(lane: socket.socket, content: object) -> None:
    """Sends a message, from an event loop."""
    await asyncio.get_running_loop().sock_sendall(lane, message(content))


async def receive(lane: socket.socket) -> tuple[bool, Any]:
    """Reads an answer, in an event loop.

    Raises:
        EOFError: The other end is closed.
    """
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


def read(lane: socket.socket) -> Any:
    """Reads a message and blocks until it is complete; `receive` does not block.

    Raises:
        EOFError: The other end is closed.
    """
    with lane.makefile("rb") as file:
        head = file.read(_LENGTH)
        if len(head) < _LENGTH:
            raise EOFError
        return pickle.load(file)  # noqa: S301 - sent by our own parent or child


def attempt(work: Callable[[], object]) -> bytes:
    """Returns the message with the result of `work`, or with the exception that it raised."""
    try:
        return message((True, work()))
    except Exception as error:  # noqa: BLE001 - the parent raises it
        error.add_note("".join(traceback.format_exception(error)).rstrip())
        try:
            return message((False, error))
        except Exception:  # noqa: BLE001 - some exceptions cannot be pickled
            return message((False, RuntimeError("\n".join([repr(error), *error.__notes__]))))
