"""Reads a checkpoint folder saved by sentence-transformers, except its weights, without torch."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from rag.errors import ConfigError
from rag.privacy.redaction import words
from rag.types import Kind
from retrieval.embedders.messages import Model

WEIGHTS = "model.safetensors"
PASSAGE_PROMPTS = ("document", "passage", "corpus")
"""Names of the prompt for passages, in the order in which sentence-transformers looks for them."""
_COMPUTED = (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"])
_OTHER_KIND = 'set embedder.kind = "sentence_transformers", which runs any such model.'


class Checkpoint:
    """The configuration of a BERT checkpoint."""

    def __init__(self, folder: Path) -> None:
        """Reads the configuration.

        Raises:
            ConfigError: The configuration is missing or damaged, or the vectors are not simply the
                mean of a BERT model's tokens.
        """
        config = _read_json(folder / "config.json")
        if config.get("model_type") != "bert" or config.get("hidden_act") != "gelu":
            raise ConfigError(
                f"{folder} holds a {config.get('model_type')!r} model, and the built-in encoder"
                f" reads BERT alone: {_OTHER_KIND}"
            )
        _check_modules(folder)
        _check_prompts(folder)
        self.folder = folder
        self.heads: int = config["num_attention_heads"]
        self.eps: float = config["layer_norm_eps"]
        self.dim: int = config["hidden_size"]
        self.layers: int = config["num_hidden_layers"]
        self.max_tokens = _window(folder, most=config["max_position_embeddings"])

    def model(self) -> Model:
        """Returns the properties of the model.

        Raises:
            ConfigError: The weights or the tokenizer are missing or damaged.
        """
        return Model(
            dim=self.dim,
            token_dim=self.dim,
            max_tokens=self.max_tokens,
            fingerprint=self.fingerprint(),
            tokenizer=self.tokenizer(window=None).to_str(),
        )

    def tokenizer(self, *, window: int | None) -> Tokenizer:
        """Returns the tokenizer, which truncates texts at `window` tokens; None: never."""
        with part_of_checkpoint(self.folder / "tokenizer.json") as file:
            tokenizer = Tokenizer.from_file(str(file))
        tokenizer.no_padding()
        tokenizer.no_truncation()
        if window is not None:
            tokenizer.enable_truncation(window)
        return tokenizer

    def fingerprint(self) -> str:
        """Hashes the weights' size, head and tail: reading all 90 MB would slow every start."""
        sha = hashlib.sha256((self.folder / "config.json").read_bytes())
        with part_of_checkpoint(self.folder / WEIGHTS) as file:
            _add(sha, file)
        return f"bert-mean:{sha.hexdigest()[:16]}:{self.max_tokens}"


def folder_digest(folder: Path) -> str:
    """Hashes all weights, configurations and vocabularies: size, head and tail of each."""
    sha = hashlib.sha256()
    kinds = {".bin", ".json", ".model", ".safetensors", ".txt"}
    for file in sorted(f for f in folder.rglob("*") if f.suffix in kinds and f.is_file()):
        sha.update(str(file.relative_to(folder)).encode())
        _add(sha, file)
    return sha.hexdigest()


def named_prompt(prompts: Mapping[str, str | None], kind: Kind) -> str:
    """Returns the prompt that the configuration names for queries or passages; "" for none.

    A model that names "passage" is saved with an empty "document" beside it.
    """
    names = ("query",) if kind == "query" else PASSAGE_PROMPTS
    return next((found for name in names if (found := prompts.get(name))), "")


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


def _add(sha: hashlib._Hash, path: Path) -> None:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        for offset in (0, max(0, size - 2**20)):
            file.seek(offset)
            sha.update(file.read(2**20))
    sha.update(str(size).encode())


def _check_modules(folder: Path) -> None:
    """Checks that vectors are means of tokens, as they are where no modules are listed."""
    if not (folder / "modules.json").exists():
        return
    modules = _read_json(folder / "modules.json")
    names = [module["type"].rpartition(".")[2] for module in modules]
    if names not in _COMPUTED:
        raise ConfigError(
            f"{folder} computes {', '.join(names)}, and the built-in encoder a mean of tokens"
            f" alone: {_OTHER_KIND}"
        )
    modes = _pooling_modes(_read_json(folder / modules[1]["path"] / "config.json"))
    if modes != ["mean"]:
        raise ConfigError(
            f"{folder} pools by {', '.join(modes)}, and the built-in encoder takes the mean of"
            f" all tokens: {_OTHER_KIND}"
        )


def _pooling_modes(config: Mapping[str, Any]) -> list[str]:
    """Returns the pooling modes: names since sentence-transformers 6, before it a flag for each."""
    modes = config.get("pooling_mode")
    if modes is None:
        flags = [name for name, on in config.items() if name.startswith("pooling_mode_") and on]
        return [f.removeprefix("pooling_mode_").removesuffix("_tokens") for f in flags] or ["mean"]
    return [modes] if isinstance(modes, str) else list(modes)


def _check_prompts(folder: Path) -> None:
    file = folder / "config_sentence_transformers.json"
    prompts = _read_json(file).get("prompts", {}) if file.exists() else {}
    if named_prompt(prompts, "query") or named_prompt(prompts, "passage"):
        raise ConfigError(
            f"{folder} puts prompts before its texts, and the built-in encoder none: {_OTHER_KIND}"
        )


def _window(folder: Path, *, most: int) -> int:
    """Returns the number of tokens read; sentence-transformers 6 takes it from the tokenizer."""
    named: int | None = _read_json(folder / "sentence_bert_config.json").get("max_seq_length")
    if named is None:
        named = _read_json(folder / "tokenizer_config.json").get("model_max_length", most)
    return min(named, most)


def _read_json(path: Path) -> Any:
    with part_of_checkpoint(path) as file:
        return json.loads(file.read_bytes())
