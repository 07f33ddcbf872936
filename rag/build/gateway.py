"""Builds the gateway that the settings name."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from rag.build.accounts import open_accounts
from rag.build.storage import Storage
from rag.gateway.audit_log import AuditLog
from rag.gateway.claims import ClaimMapping
from rag.gateway.credentials import KeysAndTokens
from rag.gateway.failed_attempts import FailedAttempts
from rag.gateway.gateway import Gateway
from rag.gateway.key_authenticator import KeyAuthenticator
from rag.gateway.refusals import TokenRefusals
from rag.process.extras import needing
from rag.protocols import Authenticator
from rag.settings.gateway import GatewaySettings, IssuerSettings


@contextlib.asynccontextmanager
async def open_gateway(storage: Storage) -> AsyncIterator[Gateway | None]:
    """Yields the gateway of a server; None if it is switched off."""
    settings = storage.settings.gateway
    if not settings.enabled:
        yield None
        return
    keys = KeyAuthenticator(storage.catalog.keys)
    refusals = TokenRefusals(storage.catalog.refused_tokens)
    audit, kept = AuditLog(storage.catalog.audit), settings.audit
    async with (
        keys.stamping(),
        refusals.tidying(),
        audit.started(),
        audit.expiring(kept.keep_days, kept.tenants),
        open_accounts(storage) as accounts,
        contextlib.AsyncExitStack() as stack,
    ):
        authenticator: Authenticator = keys
        if settings.issuers:
            tokens = await stack.enter_async_context(open_tokens(settings, refusals))
            authenticator = KeysAndTokens(keys=keys, tokens=tokens)
        yield Gateway(
            authenticator=authenticator,
            keys=keys,
            refusals=refusals,
            failed=FailedAttempts(per_minute=settings.failed_per_minute),
            accounts=accounts,
            audit=audit,
        )


@contextlib.asynccontextmanager
async def open_tokens(
    settings: GatewaySettings, refusals: TokenRefusals
) -> AsyncIterator[Authenticator]:
    """Yields what checks the tokens of all issuers; none is asked before its first token comes.

    Raises:
        ConfigError: The library for tokens is not installed.
    """
    import httpx

    with needing("oidc", for_="`gateway.issuers`"):
        from rag.gateway.key_source import KeySource
        from rag.gateway.signing_keys import SigningKeys
        from rag.gateway.tokens import Issuer, TokenAuthenticator
    issuers = []
    async with httpx.AsyncClient() as http, contextlib.AsyncExitStack() as stack:
        for each in settings.issuers:
            keys = SigningKeys(
                KeySource(http, issuer=each.url, jwks_url=each.jwks_url),
                refresh_seconds=settings.issuer_refresh_seconds,
                outage_seconds=settings.issuer_outage_seconds,
            )
            stack.push_async_callback(keys.close)
            issuers.append(
                Issuer(name=each.url, audiences=each.audiences, keys=keys, claims=_mapping(each))
            )
        yield TokenAuthenticator(issuers, refusals=refusals, clock_skew=settings.clock_skew_seconds)


def _mapping(settings: IssuerSettings) -> ClaimMapping:
    return ClaimMapping(
        required=settings.required_claims,
        tenant=settings.tenant,
        tenant_claim=settings.tenant_claim,
        subject_claim=settings.subject_claim,
        groups_claim=settings.groups_claim,
        scopes_claims=settings.scopes_claims,
        scopes=settings.scopes,
        default_scopes=settings.default_scopes,
    )
