"""The scope that a command works on."""

from __future__ import annotations

import argparse

from rag.tenant import tenant_of_caller
from rag.types import Scope


def scope_of(args: argparse.Namespace) -> Scope:
    """Returns the caller's collection that `--collection` names."""
    return Scope(tenant=tenant_of_caller(), collection=args.collection)
