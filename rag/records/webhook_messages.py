"""Messages to receivers of webhooks."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookMessage:
    """A message to one receiver. `not_before` is the time of its next attempt, in Unix time.

    All attempts have the same `id` and the same `body`, a JSON object.
    """

    id: str
    tenant: str
    webhook: str
    body: str
    attempts: int = 0
    not_before: float = 0.0
