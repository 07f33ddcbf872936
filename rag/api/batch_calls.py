"""The lines of batches as requests to this app: all that holds for a request holds for them."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

import httpx
from starlette.types import ASGIApp

from rag.api.app_transport import AppTransport
from rag.api.openai.batch_json import request_id_of
from rag.api.openai.errors import error_json
from rag.build.storage import Storage
from rag.catalog.keys import Keys
from rag.catalog.refused_tokens import RefusedTokens
from rag.gateway.credential_cache import CACHE_SECONDS
from rag.records import ClaimedLine
from rag.types import Principal
from workers.batch_runner import Answered, BatchRunner

_HEADERS = {"Content-Type": "application/json"}
_ENDED: dict[str, Any] = {
    "status": int(HTTPStatus.UNAUTHORIZED),
    "code": "key_ended",
    "detail": "The key that made the batch was revoked or has expired, or an administrator refuses"
    " the tokens of its user from then.",
}


class BatchCalls:
    """Answers lines, each as the caller of its batch."""

    def __init__(self, app: ASGIApp, keys: Keys, refused: RefusedTokens, *, price: float) -> None:
        """Takes the whole app, with its gate, limits and audit, and the factor of the cost."""
        # The name is one that `OwnHosts` always serves.
        self._http = httpx.AsyncClient(
            transport=AppTransport(app), base_url="http://localhost", trust_env=False
        )
        self._keys = keys
        self._refused = refused
        self._price = price

    async def __call__(self, line: ClaimedLine) -> Answered:
        """Returns the response to a line."""
        caller = await self._caller(line)
        if caller is None:
            return Answered(status=_ENDED["status"], body=json.dumps(error_json(_ENDED)))
        response = await self._http.post(
            line.endpoint,
            content=line.body,
            headers=_HEADERS | {"X-Request-ID": request_id_of(line.batch_id, line.line)},
            extensions={"scope": {"principal": caller, "price": self._price}},
            timeout=None,  # the service has its own deadlines
        )
        wait = response.headers.get("Retry-After")
        collection, document_ids = _sources(line.body, response)
        return Answered(
            status=response.status_code,
            body=response.text,
            code="" if response.is_success else _code_of(response.json()),
            retry_after=None if wait is None else float(wait),
            collection=collection,
            document_ids=document_ids,
        )

    async def _caller(self, line: ClaimedLine) -> Principal | None:
        """Returns the caller of a line, as the key permits now.

        None: the key has ended, or tokens of the user that the batch may be made with are refused.
        """
        if not line.caller.key_id:
            return None if await self._is_refused(line) else line.caller
        found = await self._keys.find(line.caller.key_id)
        record = found and found.record
        if record is None or record.revoked_at is not None:
            return None
        if record.expires_at is not None and record.expires_at <= time.time():
            return None
        return record.principal()

    async def _is_refused(self, line: ClaimedLine) -> bool:
        caller = line.caller
        made_at = line.batch_created_at - CACHE_SECONDS  # a token is accepted so long afterwards
        return bool(caller.subject) and await self._refused.refuses(
            caller.tenant, ids=(), subject=caller.subject, issued_at=made_at, now=time.time()
        )


@asynccontextmanager
async def answering_batches(app: ASGIApp, storage: Storage) -> AsyncIterator[None]:
    """Answers lines of batches by the app until the end of the block, as the settings say."""
    settings = storage.settings
    if not settings.batches.at_once:
        yield
        return
    runner = BatchRunner(
        storage.catalog,
        BatchCalls(
            app,
            storage.catalog.keys,
            storage.catalog.refused_tokens,
            price=settings.batches.price,
        ),
        at_once=settings.batches.at_once,
        alone=settings.catalog.kind == "sqlite",
        keep_days=settings.batches.keep_days,
    )
    async with runner.started():
        yield


def _code_of(problem: dict[str, Any]) -> str:
    """Returns the code of an error, in its own form or in OpenAI's."""
    code: str = problem.get("error", problem)["code"]
    return code


def _sources(body: str, response: httpx.Response) -> tuple[str, frozenset[str]]:
    """Returns the collection and the documents that a response has text of."""
    if not response.is_success:
        return "", frozenset()
    sent: dict[str, Any] = json.loads(body)
    found: dict[str, Any] = response.json()
    hits = found.get("plumbline", found).get("hits", [])
    collection = sent.get("model", sent.get("collection", "default"))
    return collection, frozenset(hit["document_id"] for hit in hits)
