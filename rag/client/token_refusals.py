"""The endpoints of refused tokens. A caller manages those of the own tenant."""

from __future__ import annotations

from .call import Call, given, read_as
from .responses import Refusal, RefusalKind, RefusalList

_PATH = "/v1/tokens/refused"


def refuse_tokens(
    kind: RefusalKind, value: str, *, expires_in: float | None = None
) -> Call[Refusal]:
    """Refuses a token by its id, or all tokens that a subject was issued before.

    It holds at once in the process that answers, within five seconds in all others. `expires_in` is
    in seconds: at least as long as the tokens live.
    """
    body = given(kind=kind, value=value, expires_in=expires_in)
    return Call(method="POST", path=_PATH, body=body, read=read_as(Refusal))


def list_refused_tokens() -> Call[RefusalList]:
    """Lists what the tenant refuses, oldest first; without refusals that have ended."""
    return Call(method="GET", path=_PATH, read=read_as(RefusalList))


def allow_tokens(kind: RefusalKind, value: str) -> Call[Refusal]:
    """Ends a refusal: tokens that have not expired are accepted again."""
    params = {"kind": kind, "value": value}
    return Call(method="DELETE", path=_PATH, params=params, read=read_as(Refusal))
