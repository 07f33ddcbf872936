"""The tenant and the collection that a command works on."""

from __future__ import annotations

import argparse
import re

from rag.errors import InputError
from rag.types import TENANT, Principal, Scope


def caller(args: argparse.Namespace) -> Principal:
    """Returns the person who runs the command: whoever holds the host may do everything.

    Raises:
        InputError: `--tenant` is not valid, or a server decides by the key.
    """
    if args.tenant is None:
        return Principal()
    if not re.fullmatch(TENANT, args.tenant):  # it names a folder
        raise InputError(f"--tenant {args.tenant!r} does not match {TENANT}.")
    if getattr(args, "url", None):
        raise InputError("--tenant is for this host's data; on a server, the key has its tenant.")
    return Principal(tenant=args.tenant)


def scope_of(args: argparse.Namespace) -> Scope:
    """Returns the collection that `--collection` names."""
    return Scope(tenant=caller(args).tenant, collection=args.collection)
