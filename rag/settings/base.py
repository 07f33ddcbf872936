"""The base class and the discriminator that the parts of the settings share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import (
    BaseModel,
    ConfigDict,
)


class Part(BaseModel):
    """A part of the settings: immutable, and unknown names are rejected."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


def by_kind(default: str) -> Callable[[Any], Any]:
    """Returns a discriminator by `kind`; `default` is the kind if only other settings are given.

    That is the case if the environment sets single settings of a part.
    """

    def kind(value: Any) -> Any:
        if isinstance(value, dict):
            return value.get("kind", default)
        return getattr(value, "kind", None)

    return kind
