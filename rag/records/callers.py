"""Records of keys, tenants, and what requests used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from rag.types import (
    Permission,
    Principal,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRecord:
    """An API key, without the key itself. Times are in seconds since 1970.

    `collections` are those that it reaches; None: all of the tenant. Until `previous_until` the key
    that was replaced by the last rotation is still accepted.
    """

    id: str
    tenant: str
    name: str
    scopes: tuple[Permission, ...]
    collections: tuple[str, ...] | None = None
    subject: str = ""
    groups: tuple[str, ...] = ()
    created_at: float
    expires_at: float | None = None
    revoked_at: float | None = None
    last_used_at: float | None = None
    previous_until: float | None = None

    def principal(self) -> Principal:
        """Returns the caller who sends this key."""
        return Principal(
            tenant=self.tenant,
            subject=self.subject,
            groups=frozenset(self.groups),
            scopes=frozenset(self.scopes),
            collections=None if self.collections is None else frozenset(self.collections),
            key_id=self.id,
        )


class StoredKey(NamedTuple):
    """A key as the catalog has it: with its digest, and that of the key before, if there is one."""

    record: KeyRecord
    digest: str
    previous_digest: str | None


RefusalKind = Literal["token", "subject"]
"""token: the one token with an id; subject: all tokens that a user or program was issued before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A token, or a subject, whose tokens are refused until `expires_at`, in seconds since 1970."""

    tenant: str
    kind: RefusalKind
    value: str
    refused_at: float
    expires_at: float


Feature = Literal["ask", "embed", "rerank", "judge", "ingest", "shadow"]
"""The kinds of work that the ledger has rows of."""
Outcome = Literal[
    "open", "ok", "cached", "abstained", "refused", "failed", "hung_up", "interrupted"
]
"""How work ended. cached: an earlier answer was given again; refused: the caller's fault;
hung_up: the caller did not wait for the end;
interrupted: the process died, and what the work used is not known. Work under way is open.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRow:
    """A row of the ledger: what a request or a document used of one model.

    `id` is random: callers may choose the id of a request, and of its trace. `part` 0 is the
    request itself, and further parts are for further models that worked for it. `writer` is the
    process. `cached_tokens` are a part of `input_tokens`. Tokens are `estimated` if the server of a
    model did not report them. `cost` is in the currency of the prices. Times are seconds since
    1970.
    """

    id: str
    part: int = 0
    writer: str
    tenant: str
    key_id: str = ""
    subject: str = ""
    feature: Feature
    model: str = ""
    outcome: Outcome = "open"
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    estimated: bool = False
    gpu_seconds: float = 0.0
    cost: float = 0.0
    outlier: bool = False
    trace_id: str = ""
    started_at: float
    finished_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantRecord:
    """A tenant with the numbers of what it has; `keys` are those that were not revoked."""

    name: str
    collections: int
    documents: int
    chunks: int
    open_tasks: int
    answers: int
    keys: int
