"""Changes of rollouts by people, who may name what is not there, and may act at the same time."""

from __future__ import annotations

import time
from collections.abc import Collection

from rag.catalog.catalog import Catalog
from rag.errors import NotFoundError
from rag.records import Rollout
from rag.rollouts.lifecycle import Action, changed, started
from rag.text.validation_errors import shortened
from rag.types import DEFAULT_TENANT


async def start(
    catalog: Catalog, rollout: Rollout, variants: Collection[str], *, version: int, force: bool
) -> Rollout:
    """Starts a rollout, in the place of its version `version`; 0: there is none of its name yet.

    Raises:
        NotFoundError: It names a variant, a tenant or a key that is not known.
        ConflictError: Somebody else changed it, or its variant was rolled back within a day.
    """
    _check_variant(rollout.variant, variants)
    await _check_senders(catalog, rollout)
    before = await catalog.rollouts.get(rollout.name) if version else None
    made = started(rollout, before, time.time(), force=force)
    await catalog.rollouts.put(made, instead_of=version)
    return made


async def act(
    catalog: Catalog, name: str, action: Action, *, version: int, force: bool, who: str
) -> Rollout:
    """Changes a rollout at this version.

    Raises:
        NotFoundError: There is none of this name.
        ConflictError: It has another version, or cannot be changed so.
    """
    found = await catalog.rollouts.get(name)
    made = changed(found, action, time.time(), force=force, who=who)
    await catalog.rollouts.put(made, instead_of=version)
    return made


def _check_variant(name: str, variants: Collection[str]) -> None:
    if name not in variants:
        known = ", ".join(sorted(variants)) or "none"
        raise NotFoundError(
            f"There is no variant {shortened(name)!r}; the settings name {known}.",
            code="unknown_variant",
        )


async def _check_senders(catalog: Catalog, rollout: Rollout) -> None:
    if rollout.tenants is not None:
        known = {each.name for each in await catalog.tenants.all()} | {DEFAULT_TENANT}
        if unknown := sorted(rollout.tenants - known):
            raise NotFoundError(
                f"There is no tenant {shortened(unknown[0])!r}: nothing of it is stored."
                " `rag tenants list` lists them.",
                code="unknown_tenant",
            )
    for key_id in sorted(rollout.keys or ()):
        if await catalog.keys.find(key_id) is None:
            raise NotFoundError(f"There is no key {shortened(key_id)!r}.", code="unknown_key")
