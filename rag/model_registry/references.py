"""Names of models in the registry: NAME, or NAME@VERSION."""

from __future__ import annotations

import re
from typing import NamedTuple

from rag.errors import ConfigError

PREFIX = "registry:"
"""Begins the value of a setting that names a model of the registry."""
_PART = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"


class Reference(NamedTuple):
    """A model's name, and its version; without one, the promoted version is meant."""

    name: str
    version: str | None

    def __str__(self) -> str:
        return f"{self.name}@{self.version}" if self.version else self.name


def parse(text: str) -> Reference:
    """Reads NAME or NAME@VERSION, with `registry:` before it or without.

    Raises:
        ConfigError: It is neither.
    """
    found = re.fullmatch(f"({_PART})(?:@({_PART}))?", text.removeprefix(PREFIX))
    if found is None:
        raise ConfigError(
            f"{text!r} names no model of the registry: write NAME or NAME@VERSION, each of at most"
            " 64 letters, digits, '.', '_' and '-'."
        )
    return Reference(found[1], found[2])


def is_reference(value: object) -> bool:
    """Returns True for the value of a setting that names a model of the registry."""
    return str(value).startswith(PREFIX)
