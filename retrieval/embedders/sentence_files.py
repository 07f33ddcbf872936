"""Reads the configuration files that sentence-transformers saves beside a model."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rag.errors import ConfigError
from rag.privacy.redaction import words
from rag.types import Kind

KINDS: tuple[Kind, ...] = ("query", "passage")
PROMPTS = "config_sentence_transformers.json"
MODULES = "modules.json"
_PASSAGE_PROMPTS = ("document", "passage", "corpus")
"""Names of the prompt for passages, in the order in which sentence-transformers looks for them."""
_COMPUTED = (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"])


def named_prompt(prompts: Mapping[str, str | None], kind: Kind) -> str:
    """Returns the prompt that the configuration names for queries or passages; "" for none.

    A model that names "passage" is saved with an empty "document" beside it.
    """
    names = ("query",) if kind == "query" else _PASSAGE_PROMPTS
    return next((found for name in names if (found := prompts.get(name))), "")


def prompts_of(folder: Path) -> dict[Kind, str]:
    """Returns the prompts of a model's configuration; "" for none.

    Raises:
        ConfigError: The file is damaged.
    """
    file = folder / PROMPTS
    prompts = read_json(file).get("prompts", {}) if file.exists() else {}
    return {kind: named_prompt(prompts, kind) for kind in KINDS}


def pooling_file(folder: Path, *, advice: str) -> Path | None:
    """Returns the configuration of a model's pooling; None where no modules are listed.

    Args:
        folder: of the model.
        advice: the end of the message about other modules.

    Raises:
        ConfigError: The model computes something else than a pooling of tokens.
    """
    if not (folder / MODULES).exists():
        return None
    modules = read_json(folder / MODULES)
    names = [module["type"].rpartition(".")[2] for module in modules]
    if names not in _COMPUTED:
        raise ConfigError(f"{folder} computes {', '.join(names)}, {advice}")
    pooling: str = modules[1]["path"]
    return folder / pooling / "config.json"


def pooling_modes(config: Mapping[str, Any]) -> list[str]:
    """Returns the pooling modes: names since sentence-transformers 6, before it a flag for each."""
    modes = config.get("pooling_mode")
    if modes is None:
        flags = [name for name, on in config.items() if name.startswith("pooling_mode_") and on]
        return [f.removeprefix("pooling_mode_").removesuffix("_tokens") for f in flags] or ["mean"]
    return [modes] if isinstance(modes, str) else list(modes)


def read_json(path: Path) -> Any:
    """Returns the content of a file.

    Raises:
        ConfigError: The file is missing or damaged.
    """
    with part_of_checkpoint(path) as file:
        return json.loads(file.read_bytes())


@contextlib.contextmanager
def part_of_checkpoint(file: Path) -> Iterator[Path]:
    """Converts errors about a missing or damaged file into ConfigErrors."""
    try:
        yield file
    except Exception as error:
        cause = f"cannot be read ({words(error)})" if file.is_file() else "is missing"
        raise ConfigError(
            f"{file.parent} is no encoder checkpoint: {file.name} {cause}. embedder.model takes a"
            " folder saved by sentence-transformers."
        ) from error
