"""The tenant of whoever calls."""

from __future__ import annotations

_TENANT = "default"


def tenant_of_caller() -> str:
    """Returns the caller's tenant: there is one tenant until callers are authenticated."""
    return _TENANT
