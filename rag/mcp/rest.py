"""The REST API as one caller has it: tools and resources are made of its routes alone."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from rag.privacy.redaction import masked, words
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

    async def events(self, path: str, body: Json) -> AsyncGenerator[tuple[str, Json], None]:
        """Sends a body, and yields the names and contents of the events of the response."""
        async with self._sent("POST", path, json=body) as response:
            rest = b""
            async for piece in response.aiter_bytes():
                # By bytes: httpx's lines end at U+2028, too, which JSON may hold.
                *whole, rest = (rest + piece).split(b"\n\n")
                for block in whole:
                    fields = dict(line.partition(b": ")[::2] for line in block.split(b"\n"))
                    if b"data" in fields:  # otherwise it is a heartbeat
                        yield fields[b"event"].decode(), json.loads(fields[b"data"])

    async def _call(self, method: str, path: str, **request: Any) -> httpx.Response:
        async with self._sent(method, path, **request) as response:
            await response.aread()
            return response

    @contextlib.asynccontextmanager
    async def _sent(
        self, method: str, path: str, **request: Any
    ) -> AsyncGenerator[httpx.Response, None]:
        """Yields a response that is no problem.

        Raises:
            RefusedError: The server does not answer, or refuses.
        """
        extensions = {"client": self.client} if self.client else {}
        try:
            async with self.http.stream(
                method, path, headers=self.headers, extensions=extensions, **request
            ) as response:
                if not response.is_success:
                    await response.aread()
                    raise RefusedError(_refusal(response))
                yield response
        except httpx.TransportError as error:
            raise RefusedError(
                f"{masked(str(self.http.base_url))} does not answer: {words(error)}. Is the server"
                " running (`rag serve`), and is --url or RAG_URL right?"
            ) from error


def _object(response: httpx.Response) -> Json:
    try:
        found = response.json()
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise RefusedError(_of_another(response))
    return found


def _refusal(response: httpx.Response) -> str:
    try:
        problem = response.json()
        detail, code = str(problem["detail"]), str(problem["code"])
    except (ValueError, KeyError, TypeError):
        return _of_another(response)
    wait = response.headers.get("retry-after")
    return f"{detail} ({code}{f'; try again in {wait} s' if wait else ''})"


def _of_another(response: httpx.Response) -> str:
    return (
        f"{masked(str(response.request.url))} answered {response.status_code}, and not as"
        " Plumbline does. Is another service listening there?"
    )
