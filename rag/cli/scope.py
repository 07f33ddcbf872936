"""Whose data a command works on."""

from __future__ import annotations

import argparse

from rag.tenant import tenant_of_caller
from rag.types import Scope


def tenant() -> str:
    """Returns the tenant of the person who runs the command."""
    return tenant_of_caller()


def scope_of(args: argparse.Namespace) -> Scope:
    """Returns the collection that `--collection` names."""
    return Scope(tenant=tenant(), collection=args.collection)
