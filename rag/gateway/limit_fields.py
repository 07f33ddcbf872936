"""Header fields that tell a caller its limits.

`x-ratelimit-…` are OpenAI's (https://platform.openai.com/docs/guides/rate-limits). The other two
are structured fields of draft-ietf-httpapi-ratelimit-headers-10. Its registry of units has no
`tokens`: the unit is ours.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from rag.gateway.buckets import MINUTE, Bucket, Permits, Unit

UNITS: tuple[Unit, ...] = ("requests", "tokens")
Level = tuple[Bucket, float]
"""A bucket and the units in it; negative in debt."""
LIMIT_FIELDS = (
    *("Retry-After", "retry-after-ms", "x-should-retry"),
    *("RateLimit", "RateLimit-Policy", "X-Budget"),
    *(f"x-ratelimit-{name}-{unit}" for unit in UNITS for name in ("limit", "remaining", "reset")),
)
"""The fields that pages of other origins may read."""
_HOUR_SECONDS, _MINUTE_SECONDS = 3600, 60


def limit_fields(
    levels: Sequence[Level],
    permits: Sequence[tuple[Permits, int]],
    refused: Mapping[Bucket, float],
) -> dict[str, str]:
    """Returns the fields.

    Args:
        levels: The buckets.
        permits: The permits, with the number of requests under way.
        refused: The amounts that were asked for, if they were not there.
    """
    if not levels and not permits:
        return {}
    policies = [_policy(bucket) for bucket, _ in levels]
    states = [_state(bucket, level, refused.get(bucket)) for bucket, level in levels]
    for each, held in permits:
        policies.append(f'"{each.policy}";q={each.at_once};qu="concurrent-requests"')
        states.append(f'"{each.policy}";r={max(0, each.at_once - held)}')
    found = {"RateLimit-Policy": ", ".join(policies), "RateLimit": ", ".join(states)}
    for unit in UNITS:
        of_unit = [(level, bucket) for bucket, level in levels if bucket.unit == unit]
        if of_unit:
            level, bucket = min(of_unit, key=lambda pair: pair[0])
            found |= _openai_fields(unit, bucket, level)
    return found


def retry_fields(retry_after: float | None) -> Mapping[str, str]:
    """Returns the fields that say when to try again; None: never.

    `Retry-After` is in whole seconds, which are rounded up. OpenAI's clients prefer
    `retry-after-ms`.
    """
    if retry_after is None:
        return {"x-should-retry": "false"}
    milliseconds = max(1, math.ceil(retry_after * 1000))
    return {
        "Retry-After": str(max(1, math.ceil(retry_after))),
        "retry-after-ms": str(milliseconds),
    }


def _policy(bucket: Bucket) -> str:
    burst = f";plumbline-burst={bucket.burst}" if bucket.burst != bucket.per_minute else ""
    unit = f';qu="{bucket.unit}"' if bucket.unit != "requests" else ""
    return f'"{bucket.policy}";q={bucket.per_minute};w={MINUTE:.0f}{unit}{burst}'


def _state(bucket: Bucket, level: float, refused: float | None) -> str:
    """Returns what remains, and when there is what was asked for, or one unit more."""
    remaining = math.floor(level)
    until = bucket.wait(level, refused or max(1, min(bucket.burst, remaining + 1)))
    reset = f";t={math.ceil(until)}" if until else ""
    return f'"{bucket.policy}";r={max(0, remaining)}{reset}'


def _openai_fields(unit: Unit, bucket: Bucket, level: float) -> dict[str, str]:
    until = bucket.wait(level, bucket.burst)
    found = {
        f"x-ratelimit-limit-{unit}": str(bucket.burst if bucket.per_minute else 0),
        f"x-ratelimit-remaining-{unit}": str(max(0, math.floor(level))),
    }
    return found | ({} if until is None else {f"x-ratelimit-reset-{unit}": _duration(until)})


def _duration(seconds: float) -> str:
    """Returns a duration as OpenAI writes it: `17ms`, `8.64s`, `6m0s`, `1h0m5s`."""
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    if seconds < _MINUTE_SECONDS:
        return f"{math.ceil(seconds * 1000) / 1000:g}s"
    whole = math.ceil(seconds)
    hours, minutes = divmod(whole // _MINUTE_SECONDS, _HOUR_SECONDS // _MINUTE_SECONDS)
    start = f"{hours}h" if hours else ""
    return f"{start}{minutes}m{whole % _MINUTE_SECONDS}s"
