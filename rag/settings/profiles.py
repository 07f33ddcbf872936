"""Profiles: settings for a budget of time, chosen by one name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic.fields import FieldInfo
from pydantic_settings import PydanticBaseSettingsSource

Profile = Literal["fast", "balanced", "best", "gpu"]
PROFILES: Mapping[Profile, Mapping[str, Mapping[str, Any]]] = {
    "fast": {"reranker": {"kind": "none"}},
    "balanced": {},
    "best": {"reranker": {"kind": "late_interaction", "depth": 16}},
    "gpu": {
        "embedder": {"kind": "bert", "device": "cuda"},
        "reranker": {"kind": "late_interaction", "depth": 30},
    },
}
"""The settings of each profile: docs/configuration.md has what they cost and bring."""


class ProfileSource(PydanticBaseSettingsSource):
    """The settings of the profile that the sources before it name; those sources win.

    A part of which they set another `kind` is theirs alone.
    """

    def __call__(self) -> dict[str, Any]:
        """Returns the profile's settings, without those of parts of another kind."""
        given = self.current_state
        profile = PROFILES.get(given.get("profile", "balanced"), {})
        return {part: dict(v) for part, v in profile.items() if _fits(given.get(part), v)}

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Returns no value: the source has all at once."""
        return None, field_name, False


def _fits(given: object, values: Mapping[str, Any]) -> bool:
    if given is None:
        return True
    return isinstance(given, dict) and given.get("kind", values["kind"]) == values["kind"]
