"""Checks replicas in the background: whether they are up, have the model, and how busy they are."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import AsyncIterator, Sequence

import httpx

from generation.replicas.engine_metrics import EngineState, read_engine_metrics
from generation.replicas.pool import Pool, Readiness

CHECK_SECONDS = 2.0
"""Seconds between checks of a replica."""
PATIENCE_SECONDS = 2.0
"""Seconds for each answer to a check."""
AWAY_AFTER = 2
"""Checks without an answer after which a replica is away: a busy one may miss one."""
_UNKNOWN = (401, 403, 404, 405)
"""Statuses of servers that do not have a check, or not for everybody."""

_log = logging.getLogger(__name__)


class Checks:
    """Checks each replica every `CHECK_SECONDS`, and tells the pool.

    A replica is ready if `/health` does not fail and `/v1/models` lists the model. A server that
    knows only one of the two is judged by that one. `/metrics` is read if it has vLLM's.
    """

    def __init__(self, urls: Sequence[str], pool: Pool, *, model: str, api_key: str | None) -> None:
        """Make checks of the replicas of a pool; each of `urls` includes /v1."""
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._client = httpx.AsyncClient(headers=headers, timeout=PATIENCE_SECONDS)
        self._urls = [url.rstrip("/") for url in urls]
        self._pool = pool
        self._model = model
        self._misses = [0] * len(urls)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Checks all replicas once, and then until the block ends."""
        async with self._client:
            replicas = range(len(self._urls))
            await asyncio.gather(*map(self._check, replicas))
            watches = [asyncio.create_task(self._watch(replica)) for replica in replicas]
            try:
                yield
            finally:
                for watch in watches:
                    watch.cancel()
                await asyncio.gather(*watches, return_exceptions=True)

    async def _watch(self, replica: int) -> None:
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            await self._check(replica)

    async def _check(self, replica: int) -> None:
        url = self._urls[replica]
        root = re.sub(r"/v1$", "", url)
        try:
            readiness = await self._readiness(root, url)
        except httpx.HTTPError:
            readiness = "away"
        self._misses[replica] = self._misses[replica] + 1 if readiness == "away" else 0
        if not 0 < self._misses[replica] < AWAY_AFTER:
            self._pool.checked(replica, readiness)
        self._pool.told(replica, await self._engine(root) if readiness == "ready" else None)

    async def _readiness(self, root: str, url: str) -> Readiness:
        health = await self._client.get(f"{root}/health")
        if health.is_server_error:
            return "away"
        listed = await self._client.get(f"{url}/models")
        if listed.is_server_error:
            return "away"
        if listed.status_code in _UNKNOWN:
            return "ready"
        return "ready" if self._model in _names(listed) else "without the model"

    async def _engine(self, root: str) -> EngineState | None:
        """Returns the engine's state; None if it does not tell."""
        try:
            response = await self._client.get(f"{root}/metrics")
            return read_engine_metrics(response.text) if response.is_success else None
        except (httpx.HTTPError, ValueError) as error:
            _log.info("A replica's metrics cannot be read: %s.", type(error).__name__)
            return None


def _names(listed: httpx.Response) -> set[str]:
    """Returns the names of models in a list; Ollama's `NAME:latest` is `NAME`, too."""
    try:
        ids = [str(each["id"]) for each in listed.json()["data"]]
    except (ValueError, LookupError, TypeError):
        return set()
    return {*ids, *(name.removesuffix(":latest") for name in ids)}
