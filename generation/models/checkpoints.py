"""Checks that a folder holds a whole model, before an engine takes a minute to start."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from safetensors import SafetensorError, safe_open

from rag.errors import ConfigError
from rag.privacy.redaction import words

_CONFIGS = ("config.json", "params.json")
_WEIGHTS = ("*.safetensors", "*.bin", "*.pt", "*.gguf")


def check_checkpoint(folder: Path) -> None:
    """Checks the names of all files and the heads of the files with weights.

    Raises:
        ConfigError: A file is missing or damaged.
    """
    if not any((folder / name).is_file() for name in _CONFIGS):
        raise ConfigError(
            f"{folder} is not a model's folder: it has no config.json. Name in generator.model the"
            " folder that has one, beside the weights and the tokenizer."
        )
    if not any(file for pattern in _WEIGHTS for file in folder.glob(pattern)):
        raise ConfigError(f"The model in {folder} has no weights. Copy or download it again.")
    for file in _expected(folder):
        try:
            with safe_open(file, "np"):
                """Its head was read, and its length is right."""
        except (OSError, SafetensorError) as error:
            raise ConfigError(
                f"The weights {file} are missing or damaged: {words(error)}. Copy or download the"
                " model again."
            ) from error


def _expected(folder: Path) -> Iterator[Path]:
    """Returns the existing safetensors files, and those that their index lists."""
    names = {file.name for file in folder.glob("*.safetensors")}
    for index in folder.glob("*.safetensors.index.json"):
        try:
            names |= set(json.loads(index.read_bytes())["weight_map"].values())
        except (OSError, ValueError, LookupError, AttributeError, TypeError) as error:
            raise ConfigError(
                f"The model's {index} is damaged: {words(error)}. Copy or download the model again."
            ) from error
    return (folder / name for name in sorted(names))
