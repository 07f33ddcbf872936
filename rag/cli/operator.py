"""The person who runs a command, for the audit log."""

from __future__ import annotations

import getpass
import os
from uuid import uuid4

from rag.gateway.audit_log import now_ms
from rag.records import AuditRow

HERE = "host"
"""The address of commands that are run on this host."""


def operator() -> str:
    """Returns the name that the system has for the user; the number where it has none."""
    try:
        return f"os:{getpass.getuser()}"
    except (KeyError, OSError):  # the errors of Python 3.11, and of later versions
        return f"os:{os.getuid()}"


def command_row(tenant: str, action: str, object_: str) -> AuditRow:
    """Returns the row of what a command did with the data itself, without the API."""
    return AuditRow(
        id=uuid4().hex,
        tenant=tenant,
        at_ms=now_ms(),
        action=action,
        object=object_,
        outcome="success",
        subject=operator(),
        address=HERE,
    )
