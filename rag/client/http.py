"""The CLI's client of the REST API. Light to import: a question to a server needs no models."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx

from rag.errors import InputError, RagError, UpstreamError
from rag.privacy.redaction import masked, words

Json = dict[str, Any]
TIMEOUT_SECONDS = 120.0
PAGE = 1000
KEY = "RAG_API_KEY"
"""The environment variable with the key for servers."""


@dataclass(frozen=True, slots=True)
class Client:
    """Calls routes and turns problems back into errors."""

    http: httpx.AsyncClient

    async def get(self, path: str, **params: str | int | Sequence[str] | None) -> Json:
        """Returns a resource."""
        given = {key: value for key, value in params.items() if value is not None}
        return await self._call("GET", path, params=given)

    async def post(self, path: str, **request: Any) -> Json:
        """Sends `json=`, or `files=` and `data=`; returns the response."""
        return await self._call("POST", path, **request)

    async def delete(self, path: str, **params: str) -> Json:
        """Removes a resource."""
        return await self._call("DELETE", path, params=params)

    async def _call(self, method: str, path: str, **request: Any) -> Json:
        try:
            response = await self.http.request(method, path, **request)
        except httpx.TransportError as error:
            raise UpstreamError(
                f"{masked(str(self.http.base_url))} does not answer: {words(error)}. Is the server"
                " running (`rag serve`), and is --url or RAG_URL right?",
                code="unreachable",
            ) from error
        if not response.is_success:
            raise _error(response)
        try:
            body = response.json() if response.content else {}
        except ValueError as error:
            raise _of_another(response) from error
        if not isinstance(body, dict):
            raise _of_another(response)
        return body


@contextlib.asynccontextmanager
async def connect(url: str) -> AsyncIterator[Client]:
    """Yields a client of the server at `url`; it sends the key of the environment, if any."""
    headers = _key_header(os.environ.get(KEY, "").strip())
    try:
        http = httpx.AsyncClient(base_url=url, timeout=TIMEOUT_SECONDS, headers=headers)
    except (httpx.InvalidURL, ValueError) as error:
        raise InputError(f"--url {masked(url)!r} is no URL.") from error
    async with http:
        if http.base_url.scheme not in ("http", "https"):
            raise InputError(
                f"--url {masked(url)!r} is no URL: it starts with http:// or https://."
            )
        yield Client(http)


def _key_header(key: str) -> dict[str, str]:
    if not key:
        return {}
    if not re.fullmatch(r"[\x21-\x7e]+", key):
        raise InputError(f"{KEY} is no key: it has blanks, or characters beyond ASCII.")
    return {"Authorization": f"Bearer {key}"}


def document_path(document_id: str) -> str:
    """Returns the route of a document, whatever its id is made of.

    Dots are encoded, too: a client takes `..` for the folder above.
    """
    return "/v1/documents/" + quote(document_id, safe="", errors="replace").replace(".", "%2E")


async def all_documents(client: Client, collection: str, **params: str) -> AsyncIterator[Json]:
    """Yields every document of a listing, page by page."""
    cursor: str | None = None
    while True:
        page = await client.get(
            "/v1/documents", collection=collection, limit=PAGE, cursor=cursor, **params
        )
        for document in page["documents"]:
            yield document
        if (cursor := page["next_cursor"]) is None:
            return


def _error(response: httpx.Response) -> RagError:
    try:
        problem: Mapping[str, Any] = response.json()
        detail, code = str(problem["detail"]), str(problem["code"])
    except (ValueError, KeyError, TypeError):
        return _of_another(response)
    kind = InputError if response.is_client_error else UpstreamError
    return kind(detail, code=code)


def _of_another(response: httpx.Response) -> UpstreamError:
    return UpstreamError(
        f"{masked(str(response.request.url))} answered {response.status_code}, and not as"
        " Plumbline does. Is another service listening there?",
        code="unexpected_answer",
    )


async def wait_until_done(
    client: Client, job_id: str, *, seconds: float = 0.2
) -> AsyncIterator[Json]:
    """Yields a job's state repeatedly, until it has ended."""
    while True:
        job = await client.get(f"/v1/jobs/{job_id}")
        yield job
        if job["state"] not in ("pending", "running"):
            return
        await asyncio.sleep(seconds)
