"""Builds the gateway that the settings name."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from rag.build.storage import Storage
from rag.gateway.audit_log import AuditLog
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
    audit, kept = AuditLog(storage.catalog.audit), settings.audit
    expiring = audit.expiring(kept.keep_days, kept.tenants)
    async with keys.stamping(), audit.started(), expiring:
        yield Gateway(
            authenticator=keys,
            keys=keys,
            failed=FailedAttempts(per_minute=settings.failed_per_minute),
            audit=audit,
        )
