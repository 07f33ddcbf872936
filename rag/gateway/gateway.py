"""The parts of the gateway, which decide about each request before its route."""

from __future__ import annotations

from dataclasses import dataclass

from rag.protocols import Authenticator


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """Everything that a request passes before its route, and is counted in after it."""

    authenticator: Authenticator
