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
from rag.process.background import running

CHECK_SECONDS = 2.0
"""Seconds between checks of a replica."""
PATIENCE_SECONDS = 2.0
"""Seconds for each answer to a check, to its last byte."""
AWAY_AFTER = 2
"""Checks without an answer after which a replica is away: a busy one may miss one."""
_NOT_IMPLEMENTED = 501

_log = logging.getLogger(__name__)


class Checks:
    """Checks each replica every `CHECK_SECONDS`, and tells the pool.

    A replica is ready if `/health` does not fail and `/v1/models` lists the model. A server that
    knows only one of the two is judged by that one. `/metrics` is read if it has vLLM's.
    """

    def __init__(self, urls: Sequence[str], pool: Pool, *, model: str, api_key: str | None) -> None:
        """Make checks of the replicas of a pool; each of `urls` includes /v1."""
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._client = httpx.AsyncClient(headers=headers, timeout=None)  # noqa: S113 - `_get` has one
        self._urls = [url.rstrip("/") for url in urls]
        self._pool = pool
        self._model = model
        self._misses = [0] * len(urls)
        self._unreadable: set[int] = set()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Checks all replicas once, and then until the block ends."""
        async with self._client:
            replicas = range(len(self._urls))
            await asyncio.gather(*map(self._check, replicas))
            async with running(*map(self._watch, replicas)):
                yield

    async def _watch(self, replica: int) -> None:
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            await self._check(replica)

    async def _check(self, replica: int) -> None:
        url = self._urls[replica]
        root = re.sub(r"/v1$", "", url)
        try:
            readiness = await self._readiness(root, url)
        except (httpx.HTTPError, TimeoutError):
            readiness = "away"
        self._misses[replica] = self._misses[replica] + 1 if readiness == "away" else 0
        if not 0 < self._misses[replica] < AWAY_AFTER:
            self._pool.checked(replica, readiness)
        self._pool.told(
            replica, await self._engine(replica, root) if readiness == "ready" else None
        )

    async def _readiness(self, root: str, url: str) -> Readiness:
        if _is_down(await self._get(f"{root}/health")):
            return "away"
        listed = await self._get(f"{url}/models")
        if _is_down(listed):
            return "away"
        if listed.is_success and self._model not in _names(listed):
            return "without the model"
        return "ready"

    async def _engine(self, replica: int, root: str) -> EngineState | None:
        """Returns the engine's state; None if it does not tell."""
        try:
            response = await self._get(f"{root}/metrics")
            return read_engine_metrics(response.text) if response.is_success else None
        except (httpx.HTTPError, TimeoutError, ValueError) as error:
            if replica not in self._unreadable:  # once, not at every check
                self._unreadable.add(replica)
                name, fault = self._pool.names[replica], type(error).__name__
                _log.warning("The metrics of the replica %s cannot be read: %s.", name, fault)
            return None

    async def _get(self, url: str) -> httpx.Response:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self._client.get(url)


def _is_down(response: httpx.Response) -> bool:
    """True if a server fails; one that does not know a check may be up."""
    return response.is_server_error and response.status_code != _NOT_IMPLEMENTED


def _names(listed: httpx.Response) -> set[str]:
    """Returns the names of models in a list; Ollama's `NAME:latest` is `NAME`, too."""
    try:
        ids = [str(each["id"]) for each in listed.json()["data"]]
    except (ValueError, LookupError, TypeError):
        return set()
    return {*ids, *(name.removesuffix(":latest") for name in ids)}
