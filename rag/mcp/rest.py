"""The REST API as one caller has it: tools and resources are made of its routes alone."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from rag.client.errors import PlumblineError, error_of, unexpected, unreachable
from rag.client.events import Event, events_of_async
from rag.types import Permission

Json = dict[str, Any]


class RefusedError(Exception):
    """A call was refused; the message is a sentence for people and agents."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rest:
    """Calls routes with the caller's own credential, and turns problems into `RefusedError`.

    `collection` is used where a call names none. `permissions` are those of the caller; None: only
    the server knows. Browsers reach the service at `public_url`; None: nobody knows where.
    """

    http: httpx.AsyncClient
    headers: Mapping[str, str] = field(default_factory=dict)
    client: tuple[str, int] | None = None
    """Address of the caller, for the audit log; None: that of the connection."""
    collection: str = "default"
    permissions: frozenset[Permission] | None = None
    public_url: str | None = None

    async def get(self, path: str, **params: str | int) -> Json:
        """Returns a resource."""
        return _object(await self._call("GET", path, params=params))

    async def post(self, path: str, body: Json) -> Json:
        """Sends a body; returns the response."""
        return _object(await self._call("POST", path, json=body))

    async def text(
        self, path: str, *, start: int, most: int, **params: str | int
    ) -> tuple[str, int]:
        """Returns at most so many characters of a text from one on, and how many it has.

        Only those are held in memory.
        """
        kept, seen = [], 0
        async with self._sent("GET", path, params=params) as response:
            async for piece in response.aiter_text():
                kept.append(piece[max(start - seen, 0) : max(start + most - seen, 0)])
                seen += len(piece)
        return "".join(kept), seen

    async def events(
        self, path: str, body: Json, headers: Mapping[str, str]
    ) -> AsyncGenerator[Event, None]:
        """Sends a body, and yields the events of the response."""
        async with self._sent("POST", path, json=body, headers=headers) as response:
            async for event in events_of_async(response):
                yield event

    async def _call(self, method: str, path: str, **request: Any) -> httpx.Response:
        async with self._sent(method, path, **request) as response:
            await response.aread()
            return response

    @contextlib.asynccontextmanager
    async def _sent(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **request: Any
    ) -> AsyncGenerator[httpx.Response, None]:
        """Yields a response that is no problem.

        Raises:
            RefusedError: The server does not answer, or refuses.
        """
        extensions = {"client": self.client} if self.client else {}
        headers = {**self.headers, **(headers or {})}
        try:
            async with self.http.stream(
                method, path, headers=headers, extensions=extensions, **request
            ) as response:
                if not response.is_success:
                    await response.aread()
                    raise error_of(response)
                yield response
        except PlumblineError as error:
            raise _refused(error) from error
        except httpx.RequestError as error:
            raise _refused(unreachable(error.request, error)) from error


def _object(response: httpx.Response) -> Json:
    try:
        found = response.json()
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise _refused(unexpected(response))
    return found


def _refused(error: PlumblineError) -> RefusedError:
    """Returns the client's error as a sentence with its code, and the seconds to wait, if any."""
    wait = error.retry_after
    return RefusedError(
        f"{error} ({error.code}{'' if wait is None else f'; try again in {wait:g} s'})"
    )
