"""Records of the catalog."""

from __future__ import annotations

from rag.records.answers import Feedback, ListedAnswer, LiveAnswer, Rating, Signals
from rag.records.audit import SERVICE, AuditEntry, AuditHead, AuditOutcome, AuditRow
from rag.records.batches import (
    ENDED,
    Batch,
    BatchEndpoint,
    BatchFile,
    BatchLine,
    BatchState,
    ClaimedLine,
    LineOutcome,
    LineState,
)
from rag.records.callers import Feature, KeyRecord, LedgerRow, Outcome, StoredKey, TenantRecord
from rag.records.documents import (
    ATTEMPTS,
    GONE,
    TERMS,
    Backlog,
    CollectionRecord,
    Cut,
    DocumentRecord,
    DueTask,
    JobRecord,
    OpenTasks,
    Submission,
    Switch,
    Task,
)
from rag.records.webhook_messages import WebhookMessage

__all__ = [
    "ATTEMPTS",
    "ENDED",
    "GONE",
    "SERVICE",
    "TERMS",
    "AuditEntry",
    "AuditHead",
    "AuditOutcome",
    "AuditRow",
    "Backlog",
    "Batch",
    "BatchEndpoint",
    "BatchFile",
    "BatchLine",
    "BatchState",
    "ClaimedLine",
    "CollectionRecord",
    "Cut",
    "DocumentRecord",
    "DueTask",
    "Feature",
    "Feedback",
    "JobRecord",
    "KeyRecord",
    "LedgerRow",
    "LineOutcome",
    "LineState",
    "ListedAnswer",
    "LiveAnswer",
    "OpenTasks",
    "Outcome",
    "Rating",
    "Signals",
    "StoredKey",
    "Submission",
    "Switch",
    "Task",
    "TenantRecord",
    "WebhookMessage",
]
