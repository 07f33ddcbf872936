"""Assigns questions to variants: by tenant, key and percentage, and alike for the same user."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass

from rag.records import Rollout

ROUTES = ("running", "promoted")
"""The states in which a rollout routes."""
_RANGE = 2.0**64


@dataclass(frozen=True, slots=True)
class Asker:
    """The sender of a question: what rules are about, and `unit`, which is assigned as a whole."""

    tenant: str
    key_id: str
    unit: str


def asker(*, tenant: str, key_id: str, subject: str, user: str, session: str) -> Asker:
    """Returns the sender of a question.

    The unit is the user whom the key or token names, else the one whom the request names, else the
    session, else the key. Without any of them each question is a unit of its own.
    """
    named = (("user", subject), ("user", user), ("session", session), ("key", key_id))
    unit = next((f"{kind}:{name}" for kind, name in named if name), None)
    return Asker(tenant, key_id, unit or f"question:{secrets.token_hex(8)}")


def fits(rollout: Rollout, who: Asker) -> bool:
    """Returns True if a rollout is about a sender's questions."""
    if rollout.tenants is not None and who.tenant not in rollout.tenants:
        return False
    return rollout.keys is None or who.key_id in rollout.keys


def gets_variant(rollout: Rollout, who: Asker) -> bool:
    """Returns True for `percent` of all units, always the same ones.

    A unit that has the variant keeps it while the percentage rises. Units of one rollout are
    independent of those of another, because its name is hashed, too.
    """
    text = "\0".join((rollout.name, who.tenant, who.unit))
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).digest()
    return int.from_bytes(digest[:8]) / _RANGE * 100 < rollout.percent


def first_fitting(rollouts: Iterable[Rollout], who: Asker) -> Rollout | None:
    """Returns the first rollout, by name, that routes a sender's questions; None: there is none."""
    return next((each for each in rollouts if fits(each, who)), None)
