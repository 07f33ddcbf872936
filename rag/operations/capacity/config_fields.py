"""The fields of a model's `config.json`, checked as they are read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rag.errors import InputError

LARGEST = 1 << 24
"""Bound on every size in a configuration. The largest in use is a vocabulary of some 262,144."""
MOST_LAYERS = 1_000
_MAX_BYTES = 4 << 20


class Fields:
    """The fields of one configuration; a missing or wrong one is an InputError with its name."""

    def __init__(self, values: Mapping[str, Any], *, source: str) -> None:
        self._values = values
        self.source = source

    def size(self, *names: str, default: int | None = None, at_most: int = LARGEST) -> int:
        """Returns a positive integer, from the first of these fields that is set.

        Raises:
            InputError: No field is set and there is no default, or the value is no such number.
        """
        value = self.get(*names)
        if value is None:
            value = default
        if value is None:
            raise InputError(f"{self.source} has no field {names[0]!r}, which the plan needs.")
        if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= at_most:
            raise InputError(
                f"{self.source}: {names[0]} = {value!r} is no whole number from 1 to {at_most:,}."
            )
        return value

    def count(self, *names: str, default: int = 0) -> int:
        """Returns a number that may be 0, such as that of shared experts."""
        value = self.get(*names)
        return (default if value is None else 0) if not value else self.size(*names)

    def flag(self, name: str, *, default: bool = False) -> bool:
        """Returns a truth value."""
        value = self.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise InputError(f"{self.source}: {name} = {value!r} is neither true nor false.")
        return value

    def names(self, *fields: str) -> list[str] | None:
        """Returns a list of words, such as the layers' kinds; None if none of the fields is set."""
        value = self.get(*fields)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise InputError(f"{self.source}: {fields[0]} is no list of words.")
        return value

    def get(self, *names: str) -> Any:
        """Returns the value of the first of these fields that is set; None if none is."""
        return next((v for name in names if (v := self._values.get(name)) is not None), None)

    def completed(self, defaults: Mapping[str, Any]) -> Fields:
        """Returns these fields, and the defaults of those that are not set."""
        return Fields({**defaults, **self._values}, source=self.source)

    def part(self, name: str) -> Fields | None:
        """Returns a nested configuration; None if there is none."""
        value = self.get(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise InputError(f"{self.source}: {name} is no object.")
        return Fields(value, source=f"{self.source}, {name}")


def read_fields(path: Path) -> Fields:
    """Reads a `config.json`, or that of a folder.

    Raises:
        InputError: There is no such file, or it is no JSON object.
    """
    file = path / "config.json" if path.is_dir() else path
    try:
        if file.stat().st_size > _MAX_BYTES:
            raise InputError(f"{file} is larger than 4 MiB: it is no model's configuration.")
        values = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"There is no {file}. Give the model's folder, or its config.json."
        ) from None
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise InputError(f"{file} cannot be read as JSON: {error}.") from None
    if not isinstance(values, dict):
        raise InputError(f"{file} is no JSON object.")
    return Fields(values, source=str(file))
