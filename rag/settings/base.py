"""What the parts of the settings share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import (
    BaseModel,
    ConfigDict,
)


class Part(BaseModel):
    """A part of the settings: unknown names are refused, and it does not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def by_kind(default: str) -> Callable[[Any], Any]:
    """Tells which part is meant; one setting alone, from the environment, means the default's."""

    def kind(value: Any) -> Any:
        if isinstance(value, dict):
            return value.get("kind", default)
        return getattr(value, "kind", None)

    return kind
