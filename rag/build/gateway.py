"""Builds the gateway that the settings name."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from rag.build.accounts import open_accounts
from rag.build.storage import Storage
from rag.gateway.failed_attempts import FailedAttempts
from rag.gateway.gateway import Gateway
from rag.gateway.key_authenticator import KeyAuthenticator


@contextlib.asynccontextmanager
async def open_gateway(storage: Storage) -> AsyncIterator[Gateway | None]:
    """Yields the gateway of a server; None if it is switched off."""
    settings = storage.settings.gateway
    if not settings.enabled:
        yield None
        return
    keys = KeyAuthenticator(storage.catalog.keys)
    async with keys.stamping(), open_accounts(storage) as accounts:
        yield Gateway(
            authenticator=keys,
            keys=keys,
            failed=FailedAttempts(per_minute=settings.failed_per_minute),
            accounts=accounts,
        )
