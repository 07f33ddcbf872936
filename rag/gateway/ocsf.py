"""Entries of the audit log in the shape of OCSF, the Open Cybersecurity Schema Framework.

The classes are those of https://schema.ocsf.io/1.8.0: API Activity, Authentication, Account Change
and Entity Management.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any, NamedTuple

import rag
from rag.records import AuditEntry, AuditRow

OCSF = "1.8.0"
"""The version of the schema."""
PRODUCT = "Plumbline"
_STATUS = {"success": 1, "failure": 2, "denied": 2}
_INFORMATIONAL, _LOW, _MEDIUM = 1, 2, 3
_OTHER = 99


class _Class(NamedTuple):
    uid: int
    name: str
    category_uid: int
    category: str


API = _Class(6003, "API Activity", 6, "Application Activity")
AUTHENTICATION = _Class(3002, "Authentication", 3, "Identity & Access Management")
ACCOUNT = _Class(3001, "Account Change", 3, "Identity & Access Management")
ENTITY = _Class(3004, "Entity Management", 3, "Identity & Access Management")
_ACTIVITIES: Mapping[str, tuple[_Class, int, str]] = {
    "logon": (AUTHENTICATION, 1, "Logon"),
    "key.create": (ACCOUNT, 1, "Create"),
    "key.rotate": (ACCOUNT, 3, "Password Change"),
    "key.revoke": (ACCOUNT, 5, "Disable"),
    "token.refuse": (ENTITY, 9, "Disable"),
    "token.allow": (ENTITY, 8, "Enable"),
    "acl.change": (ENTITY, 3, "Update"),
    "collection.delete": (ENTITY, 4, "Delete"),
    "tenant.delete": (ENTITY, 4, "Delete"),
    "document.ingest": (API, 1, "Create"),
    "document.read": (API, 2, "Read"),
    "document.delete": (API, 4, "Delete"),
    "answer.read": (API, 2, "Read"),
    "evaluation.read": (API, 2, "Read"),
    "file.create": (API, 1, "Create"),
    "file.read": (API, 2, "Read"),
    "file.delete": (API, 4, "Delete"),
    "batch.create": (API, 1, "Create"),
    "batch.cancel": (API, 3, "Update"),
    "batch.delete": (API, 4, "Delete"),
    "job.cancel": (API, 3, "Update"),
    "job.retry": (API, 3, "Update"),
    "rollout.start": (API, 1, "Create"),
    "rollout.change": (API, 3, "Update"),
    "rollout.delete": (API, 4, "Delete"),
    "tenant.export": (API, 2, "Read"),
    "backup.create": (API, 1, "Create"),
    "backup.restore": (API, 3, "Update"),
    "audit.export": (API, 2, "Read"),
    "audit.checkpoint": (API, 4, "Delete"),
}


def event_of(entry: AuditEntry) -> dict[str, Any]:
    """Returns an event of OCSF: a JSON object without nulls."""
    row = entry.row
    kind, activity, name = _ACTIVITIES.get(row.action, (API, _OTHER, row.action))
    shared = {
        "category_uid": kind.category_uid,
        "category_name": kind.category,
        "class_uid": kind.uid,
        "class_name": kind.name,
        "activity_id": activity,
        "activity_name": name,
        "type_uid": kind.uid * 100 + activity,
        "type_name": f"{kind.name}: {name}",
        "severity_id": _severity(row),
        "time": row.at_ms,
        "status_id": _STATUS[row.outcome],
        "status": "Success" if row.outcome == "success" else "Failure",
        "status_code": row.detail or (str(row.status) if row.status else row.outcome),
        "metadata": _metadata(entry),
        "actor": {"user": _user(row)},
        "src_endpoint": _endpoint(row.address),
        "unmapped": {
            "action": row.action,
            "collection": row.collection,
            "outcome": row.outcome,
            "hash": entry.hash,
        },
    }
    return shared | _of_class(kind, row)


def _of_class(kind: _Class, row: AuditRow) -> dict[str, Any]:
    """Returns the attributes that a class has besides those of all."""
    sort = row.action.partition(".")[0]
    named = row.object or "none"
    if kind is AUTHENTICATION:
        return {"user": _user(row), "service": {"name": PRODUCT}, "is_remote": True}
    if kind is ACCOUNT:
        return {"user": {"uid": named, "type_id": _OTHER, "type": "API key"}}
    if kind is ENTITY:
        return {"entity": {"uid": named, "type_id": _OTHER, "type": sort}}
    api: dict[str, Any] = {"operation": row.action, "service": {"name": PRODUCT}}
    if row.request_id:
        api["request"] = {"uid": row.request_id}
    if row.status:
        api["response"] = {"code": row.status}
    return {"api": api, "resources": [{"uid": named, "type": sort}]}


def _severity(row: AuditRow) -> int:
    if row.outcome == "denied" or row.action == "audit.lost":
        return _MEDIUM
    return _INFORMATIONAL if row.outcome == "success" else _LOW


def _metadata(entry: AuditEntry) -> dict[str, Any]:
    made: dict[str, Any] = {
        "version": OCSF,
        "product": {"name": PRODUCT, "vendor_name": PRODUCT, "version": rag.__version__},
        "uid": entry.row.id,
        "sequence": entry.number,
        "log_name": "audit",
    }
    if entry.row.tenant:
        made["tenant_uid"] = entry.row.tenant
    if entry.row.request_id:
        made["correlation_uid"] = entry.row.request_id
    return made


def _user(row: AuditRow) -> dict[str, Any]:
    made = {"name": row.subject or row.key_id or "unknown"}
    if row.key_id:
        made["credential_uid"] = row.key_id
    return made


def _endpoint(address: str) -> dict[str, Any]:
    try:
        return {"ip": str(ip_address(address))}
    except ValueError:
        return {"name": address or "unknown"}
