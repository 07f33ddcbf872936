"""Records of the audit log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

AuditOutcome = Literal["success", "failure", "denied"]
SERVICE = ""
"""The tenant of the audit log's rows that belong to no tenant: the service itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRow:
    """An entry of the audit log: who did what to which object, with what outcome.

    `at_ms` is milliseconds since 1970, `status` the HTTP status, 0 without one. `detail` is the
    code of an error. `address` is where the request came from. Nothing of it is content.
    """

    id: str
    tenant: str
    at_ms: int
    action: str
    object: str = ""
    collection: str = ""
    outcome: AuditOutcome
    status: int = 0
    detail: str = ""
    key_id: str = ""
    subject: str = ""
    address: str = ""
    request_id: str = ""


class AuditEntry(NamedTuple):
    """A stored entry: its number in the tenant's chain, from 1, and its hash, in hex."""

    number: int
    row: AuditRow
    hash: str


class AuditHead(NamedTuple):
    """The last entry of a chain."""

    tenant: str
    number: int
    hash: str
