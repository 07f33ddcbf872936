"""Checks whether a server with OpenAI's API is up, by its cheapest request."""

from __future__ import annotations

import httpx

PATIENCE_SECONDS = 0.5
"""Seconds for a list of names; after that the server counts as down."""
_UNAVAILABLE = (502, 503, 504)
"""Statuses of a proxy for a server that is down, and of a server that is starting."""


class Probe:
    """Requests the names of a server's models, and nothing of the models themselves."""

    def __init__(self, base_url: str, *, api_key: str | None) -> None:
        """Make a probe; nothing is connected yet. `base_url` includes /v1."""
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._client = httpx.AsyncClient(headers=headers, timeout=PATIENCE_SECONDS)
        self._url = f"{base_url.rstrip('/')}/models"

    async def answers(self) -> bool:
        """True if the server itself answers anything: not every one knows the request."""
        try:
            return (await self._client.get(self._url)).status_code not in _UNAVAILABLE
        except httpx.HTTPError:
            return False

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.aclose()
