"""Whether a server that speaks OpenAI's API is there, asked at its cheapest."""

from __future__ import annotations

import httpx

PATIENCE_SECONDS = 0.5
"""A list of names takes no longer; past it the server counts as away."""
_AWAY = (502, 503, 504)
"""What a proxy says for a server that is not there, and a server that begins."""


class Probe:
    """Asks for the names of a server's models, and nothing of the models themselves."""

    def __init__(self, base_url: str, *, api_key: str | None) -> None:
        """Make a probe; nothing is connected yet. `base_url` is up to and with its /v1."""
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._client = httpx.AsyncClient(headers=headers, timeout=PATIENCE_SECONDS)
        self._url = f"{base_url.rstrip('/')}/models"

    async def answers(self) -> bool:
        """Whether the server itself says anything: not every one knows the request."""
        try:
            return (await self._client.get(self._url)).status_code not in _AWAY
        except httpx.HTTPError:
            return False

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.aclose()
