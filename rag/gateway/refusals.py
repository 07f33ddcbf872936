"""Refuses tokens of issuers before they expire, as administrators of their tenants say."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Sequence
from functools import partial

from rag.catalog.refused_tokens import RefusedTokens
from rag.errors import RagError
from rag.gateway.api_keys import digest_of
from rag.gateway.credential_cache import CredentialCache
from rag.process.background import running
from rag.records import Refusal, RefusalKind
from rag.types import Principal

TIDY_SECONDS = 3600.0
"""Seconds between two removals of refusals that have ended."""
_log = logging.getLogger(__name__)


class TokenRefusals:
    """Looks refusals up and changes them. A caller manages those of the own tenant."""

    def __init__(self, refused: RefusedTokens) -> None:
        self._refused = refused
        self._known: CredentialCache[bool] = CredentialCache()

    async def refuses(
        self, token: str, caller: Principal, *, ids: Sequence[str], issued_at: float
    ) -> bool:
        """Returns True if a caller's valid token is refused; the answer is remembered for seconds.

        Args:
            token: the encoded token; the answer is remembered by its digest.
            caller: the token's user.
            ids: the token's ids; it may be refused by each.
            issued_at: the latest time at which a refusal of the caller is also one of this token.

        Raises:
            UpstreamError, StorageError: The catalog does not answer.
        """
        find = partial(
            self._refused.refuses,
            caller.tenant,
            ids=ids,
            subject=caller.subject,
            issued_at=issued_at,
            now=time.time(),
        )
        return await self._known.get(digest_of(token), find)

    async def refuse(
        self, caller: Principal, kind: RefusalKind, value: str, *, seconds: float
    ) -> Refusal:
        """Refuses a token, or those that a subject has: at once here, soon in other processes.

        Raises:
            ConflictError: The tenant has too many refusals.
        """
        now = time.time()
        refusal = Refusal(
            tenant=caller.tenant, kind=kind, value=value, refused_at=now, expires_at=now + seconds
        )
        await self._refused.add(refusal)
        self._forget()
        return refusal

    async def allow(self, caller: Principal, kind: RefusalKind, value: str) -> Refusal:
        """Ends a refusal, and returns it.

        Raises:
            NotFoundError: The caller's tenant has no such one.
        """
        refusal = await self._refused.remove(caller.tenant, kind, value, now=time.time())
        self._forget()
        return refusal

    async def of(self, caller: Principal) -> list[Refusal]:
        """Returns the refusals of the caller's tenant, oldest first."""
        return await self._refused.of(caller.tenant, now=time.time())

    @contextlib.asynccontextmanager
    async def tidying(self) -> AsyncIterator[None]:
        """Removes refusals that have ended, each hour until the end of the block."""
        async with running(self._tidy_regularly()):
            yield

    async def _tidy_regularly(self) -> None:
        while True:
            try:
                await self._refused.tidy(now=time.time())
            except RagError as error:
                _log.error("Refusals of tokens that have ended remain: %s", error.in_full())
            await asyncio.sleep(TIDY_SECONDS)

    def _forget(self) -> None:
        self._known.forget(lambda _: True)
