"""Opens the ledger, the limits and the budgets that the settings name."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from rag.build.storage import Storage
from rag.catalog.catalog import Catalog
from rag.gateway.accounts import Accounts, Outliers
from rag.gateway.buckets import LimitStore
from rag.gateway.budgets import Budget, Budgets, BudgetsOf
from rag.gateway.ledger import Ledger
from rag.gateway.limits import Limiter, Tier, Tiers
from rag.process.extras import needing
from rag.settings.budgets import BudgetSettings, CostSettings
from rag.settings.gateway import GatewaySettings
from rag.settings.tiers import RateSettings, TierSettings


async def open_ledger(
    settings: GatewaySettings, catalog: Catalog, stack: contextlib.AsyncExitStack
) -> Ledger | None:
    """Opens the ledger, closed with the stack; None if nobody is charged."""
    if not settings.enabled:
        return None
    ledger = Ledger(catalog.usage)
    await stack.enter_async_context(ledger.started())
    return ledger


@contextlib.asynccontextmanager
async def open_accounts(storage: Storage) -> AsyncIterator[Accounts]:
    """Yields what limits the callers of a server, and charges them.

    It has a ledger of its own, besides that of the process's documents.
    """
    settings, usage = storage.settings.gateway, storage.catalog.usage
    async with contextlib.AsyncExitStack() as stack:
        ledger = Ledger(usage)
        await stack.enter_async_context(ledger.started())
        limiter = _build_limiter(settings.limits)
        stack.push_async_callback(limiter.close)
        yield Accounts(
            limiter=limiter,
            ledger=ledger,
            budgets=Budgets(usage, _budgets(settings.costs)),
            outliers=Outliers(settings.costs.outlier),
        )


def _build_limiter(settings: RateSettings) -> Limiter:
    tiers = {name: _tier(tier) for name, tier in settings.tiers.items()}
    found = Tiers(
        tenant=tiers[settings.tenant] if settings.tenant else None,
        key=tiers[settings.key] if settings.key else None,
        subject=tiers[settings.subject] if settings.subject else None,
        tenants={name: tiers[tier] for name, tier in settings.tenants.items()},
        keys={key_id: tiers[tier] for key_id, tier in settings.keys.items()},
    )
    store = None if settings.redis_url is None else _redis(settings.redis_url.get_secret_value())
    return Limiter(
        found,
        store,
        without_store={
            "requests": settings.requests_without_redis,
            "tokens": settings.tokens_without_redis,
        },
    )


def _redis(url: str) -> LimitStore:
    with needing("cluster", for_="`gateway.limits.redis_url`"):
        from rag.gateway.buckets_redis import RedisStore

    return RedisStore(url)


def _tier(settings: TierSettings) -> Tier:
    return Tier(
        requests=settings.requests,
        requests_burst=settings.requests_burst,
        tokens=settings.tokens,
        tokens_burst=settings.tokens_burst,
        at_once=settings.at_once,
    )


def _budgets(settings: CostSettings) -> BudgetsOf:
    return BudgetsOf(
        tenant=_budget(settings.tenant),
        key=_budget(settings.key),
        tenants={name: _budget(budget) for name, budget in settings.tenants.items()},
        keys={key_id: _budget(budget) for key_id, budget in settings.keys.items()},
    )


def _budget(settings: BudgetSettings) -> Budget:
    return Budget(day=settings.day, month=settings.month, soft=settings.soft)
