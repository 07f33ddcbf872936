"""Settings of budgets: what tenants and keys may spend."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from rag.settings.base import Part


class BudgetSettings(Part):
    """The most a tenant or key may spend, in the currency of the models' prices; none: no limit."""

    day: float | None = Field(None, ge=0, description="In a day of UTC; past it, 402.")
    month: float | None = Field(None, ge=0, description="In a month of UTC.")
    soft: float = Field(0.8, gt=0, le=1, description="Share of them past which it is warned.")


class CostSettings(Part):
    """Budgets, and requests that are reported for their cost. Prices are those of each model."""

    tenant: BudgetSettings = Field(BudgetSettings(), description="Of each tenant.")
    key: BudgetSettings = Field(BudgetSettings(), description="Of each key.")
    tenants: Mapping[str, BudgetSettings] = Field({}, description="Of some tenants, by name.")
    keys: Mapping[str, BudgetSettings] = Field({}, description="Of some keys, by id.")
    outlier: float = Field(
        20.0, gt=1, description="Times the tenant's median: such a request is reported."
    )
