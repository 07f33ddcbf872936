"""A checkpoint folder as sentence-transformers saves it, but for its weights: no torch."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from rag.errors import ConfigError

WEIGHTS = "model.safetensors"


class Checkpoint:
    """What a BERT checkpoint says of itself."""

    def __init__(self, folder: Path) -> None:
        """Reads the configuration.

        Raises:
            ConfigError: there is none, it is damaged, or it is another model's.
        """
        config = _read_json(folder / "config.json")
        if config.get("model_type") != "bert" or config.get("hidden_act") != "gelu":
            raise ConfigError(
                f"{folder} holds a {config.get('model_type')!r} model, and the built-in encoder"
                " reads BERT alone; set embedder.kind = 'sentence-transformers' for any other."
            )
        self.folder = folder
        self.heads: int = config["num_attention_heads"]
        self.eps: float = config["layer_norm_eps"]
        self.dim: int = config["hidden_size"]
        self.layers: int = config["num_hidden_layers"]
        self.max_tokens = _window(folder, most=config["max_position_embeddings"])

    def tokenizer(self, *, window: int | None) -> Tokenizer:
        """The tokenizer, which cuts texts at `window` tokens; None: it never does."""
        with part_of_checkpoint(self.folder / "tokenizer.json") as file:
            tokenizer = Tokenizer.from_file(str(file))
        tokenizer.no_padding()
        tokenizer.no_truncation()
        if window is not None:
            tokenizer.enable_truncation(window)
        return tokenizer

    def fingerprint(self) -> str:
        """Hash of the weights' size, head and tail: reading all 90 MB would slow every start."""
        sha = hashlib.sha256((self.folder / "config.json").read_bytes())
        with (
            part_of_checkpoint(self.folder / WEIGHTS) as path,
            path.open("rb") as file,
        ):
            size = file.seek(0, os.SEEK_END)
            for offset in (0, max(0, size - 2**20)):
                file.seek(offset)
                sha.update(file.read(2**20))
        sha.update(str(size).encode())
        return f"bert-mean:{sha.hexdigest()[:16]}:{self.max_tokens}"


@contextlib.contextmanager
def part_of_checkpoint(file: Path) -> Iterator[Path]:
    """What each library raises of a file that is missing or damaged, in our own words."""
    try:
        yield file
    except Exception as error:
        cause = f"cannot be read ({error})" if file.is_file() else "is missing"
        raise ConfigError(
            f"{file.parent} is no encoder checkpoint: {file.name} {cause}. embedder.model takes a"
            " folder saved by sentence-transformers."
        ) from error


def _window(folder: Path, *, most: int) -> int:
    """Tokens of a text that are read; sentence-transformers 6 has them from the tokenizer."""
    named: int | None = _read_json(folder / "sentence_bert_config.json").get("max_seq_length")
    if named is None:
        named = _read_json(folder / "tokenizer_config.json").get("model_max_length", most)
    return min(named, most)


def _read_json(path: Path) -> dict[str, Any]:
    with part_of_checkpoint(path) as file:
        return json.loads(file.read_bytes())  # type: ignore[no-any-return]
