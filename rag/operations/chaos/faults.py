"""Faults of a test deployment. Each is there in a block, and undone at its end.

If the process itself dies in the block, nothing has to be undone: the whole deployment ends with it
(`keeper`).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
from collections.abc import AsyncIterator
from pathlib import Path

from rag.errors import ConfigError
from rag.operations.chaos.deployment import BROKER, ENGINES, SERVER, SMALL_MB, WORKERS, Deployment

DELAY_SECONDS = 0.15
"""Of each piece to and from the index: a call takes 0.3 s more."""
AHEAD = "+1h"
_DOWN_SECONDS = 3.0
"""Seconds after which a supervisor has started again what was killed."""
_PIECE = 1 << 16


@contextlib.asynccontextmanager
async def worker_killed(deployment: Deployment) -> AsyncIterator[None]:
    """Kills a worker with what it has in hand; another is started a moment later."""
    async with _killed(deployment, WORKERS[0]):
        yield


@contextlib.asynccontextmanager
async def engine_killed(deployment: Deployment) -> AsyncIterator[None]:
    """Kills one of two servers of the language model, in the middle of its answers."""
    async with _killed(deployment, ENGINES[0]):
        yield


@contextlib.asynccontextmanager
async def _killed(deployment: Deployment, name: str) -> AsyncIterator[None]:
    process = deployment.processes[name]
    process.kill()

    async def start_again() -> None:
        await asyncio.sleep(_DOWN_SECONDS)
        await process.start()

    supervising = asyncio.create_task(start_again())
    try:
        yield
        await supervising
    finally:
        supervising.cancel()
        await asyncio.gather(supervising, return_exceptions=True)


@contextlib.asynccontextmanager
async def broker_stopped(deployment: Deployment) -> AsyncIterator[None]:
    """Stops the broker: it accepts connections, and does not answer."""
    process = deployment.processes[BROKER]
    process.pause()
    try:
        yield
    finally:
        process.resume()


@contextlib.asynccontextmanager
async def index_slow(deployment: Deployment) -> AsyncIterator[None]:
    """Delays what all processes and the index send each other."""
    with deployment.proxies["index"].delaying(DELAY_SECONDS):
        yield


@contextlib.asynccontextmanager
async def partitioned(deployment: Deployment) -> AsyncIterator[None]:
    """Parts the second worker from the catalog, which keeps its connections and its locks.

    When they are joined again, the old connections end, and nothing arrives that was under way: a
    transaction may be committed whose answer never comes.
    """
    proxy = deployment.proxies["catalog"]
    with proxy.holding():
        try:
            yield
        finally:
            proxy.cut()


@contextlib.asynccontextmanager
async def clock_ahead(deployment: Deployment) -> AsyncIterator[None]:
    """Puts the second worker's clock an hour ahead, and back at the end."""
    deployment.clock.write_text(AHEAD)
    try:
        yield
    finally:
        deployment.clock.write_text("+0")


@contextlib.asynccontextmanager
async def disk_full(deployment: Deployment) -> AsyncIterator[None]:
    """Fills the small disk of the data folder to the last byte.

    Raises:
        ConfigError: The data folder is not on a small disk, as that of the machine is not.
    """
    inside = Path(f"/proc/{deployment.processes[SERVER].pid}/root")
    filler = inside / deployment.data.relative_to("/") / "filler"
    disk = os.statvfs(filler.parent)
    if disk.f_blocks * disk.f_frsize > SMALL_MB << 20:
        raise ConfigError(f"{deployment.data} is no small disk: nothing is filled.")
    try:
        await asyncio.to_thread(_fill, filler)
        yield
    finally:
        filler.unlink(missing_ok=True)


def _fill(filler: Path) -> None:
    with filler.open("wb", buffering=0) as file:
        while True:
            try:
                file.write(bytes(_PIECE))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                return
