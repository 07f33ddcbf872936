"""Reads a checkpoint folder saved by sentence-transformers, except its weights, without torch."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer

from rag.errors import ConfigError
from retrieval.embedders.messages import Model
from retrieval.embedders.sentence_files import (
    part_of_checkpoint,
    pooling_file,
    pooling_modes,
    prompts_of,
    read_json,
)

WEIGHTS = "model.safetensors"
_OTHER_KIND = 'set embedder.kind = "sentence_transformers", which runs any such model.'


class BertShape:
    """The sizes of a BERT model; its folder holds the weights."""

    def __init__(self, folder: Path, *, advice: str) -> None:
        """Reads the configuration.

        Args:
            folder: of the model.
            advice: the end of the message about another model.

        Raises:
            ConfigError: The configuration is missing or damaged, or another model's.
        """
        config = read_json(folder / "config.json")
        if config.get("model_type") != "bert" or config.get("hidden_act") != "gelu":
            raise ConfigError(f"{folder} holds a {config.get('model_type')!r} model, {advice}")
        self.folder = folder
        self.heads: int = config["num_attention_heads"]
        self.eps: float = config["layer_norm_eps"]
        self.dim: int = config["hidden_size"]
        self.layers: int = config["num_hidden_layers"]
        self.positions: int = config["max_position_embeddings"]


class Checkpoint(BertShape):
    """The configuration of a BERT checkpoint."""

    def __init__(self, folder: Path) -> None:
        """Reads the configuration.

        Raises:
            ConfigError: The configuration is missing or damaged, or the vectors are not simply the
                mean of a BERT model's tokens.
        """
        super().__init__(folder, advice=f"and the built-in encoder reads BERT alone: {_OTHER_KIND}")
        _check_pooling(folder)
        _check_prompts(folder)
        self.max_tokens = _window(folder, most=self.positions)

    def model(self, tokenizer: Tokenizer) -> Model:
        """Returns the properties of the model.

        Args:
            tokenizer: the checkpoint's, which does not truncate.

        Raises:
            ConfigError: The weights are missing or damaged.
        """
        return Model(
            dim=self.dim,
            token_dim=self.dim,
            max_tokens=self.max_tokens,
            fingerprint=self.fingerprint(),
            tokenizer=tokenizer.to_str(),
        )

    def tokenizer(self) -> Tokenizer:
        """Reads the tokenizer, which does not truncate: that takes 40 ms, so it is done once.

        Raises:
            ConfigError: It is missing or damaged.
        """
        with part_of_checkpoint(self.folder / "tokenizer.json") as file:
            tokenizer = Tokenizer.from_file(str(file))
        tokenizer.no_padding()
        tokenizer.no_truncation()
        return tokenizer

    def fingerprint(self) -> str:
        """Hashes the weights' size, head and tail: reading all 90 MB would slow every start."""
        sha = hashlib.sha256((self.folder / "config.json").read_bytes())
        with part_of_checkpoint(self.folder / WEIGHTS) as file:
            _add(sha, file)
        return f"bert-mean:{sha.hexdigest()[:16]}:{self.max_tokens}"


def folder_digest(folder: Path) -> str:
    """Hashes all weights, configurations and vocabularies: size, head and tail of each."""
    kinds = {".bin", ".json", ".model", ".safetensors", ".txt"}
    found = (f for f in folder.rglob("*") if f.suffix in kinds and f.is_file())
    return files_digest(folder, found)


def files_digest(folder: Path, files: Iterable[Path]) -> str:
    """Hashes files of a folder: path, size, head and tail of each."""
    sha = hashlib.sha256()
    for file in sorted(files):
        sha.update(str(file.relative_to(folder)).encode())
        _add(sha, file)
    return sha.hexdigest()


def _add(sha: hashlib._Hash, path: Path) -> None:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        for offset in (0, max(0, size - 2**20)):
            file.seek(offset)
            sha.update(file.read(2**20))
    sha.update(str(size).encode())


def _check_pooling(folder: Path) -> None:
    """Checks that vectors are means of tokens, as they are where no modules are listed."""
    file = pooling_file(
        folder, advice=f"and the built-in encoder a mean of tokens alone: {_OTHER_KIND}"
    )
    modes = pooling_modes(read_json(file)) if file else ["mean"]
    if modes != ["mean"]:
        raise ConfigError(
            f"{folder} pools by {', '.join(modes)}, and the built-in encoder takes the mean of"
            f" all tokens: {_OTHER_KIND}"
        )


def _check_prompts(folder: Path) -> None:
    if any(prompts_of(folder).values()):
        raise ConfigError(
            f"{folder} puts prompts before its texts, and the built-in encoder none: {_OTHER_KIND}"
        )


def _window(folder: Path, *, most: int) -> int:
    """Returns the number of tokens read; sentence-transformers 6 takes it from the tokenizer."""
    named: int | None = read_json(folder / "sentence_bert_config.json").get("max_seq_length")
    if named is None:
        named = read_json(folder / "tokenizer_config.json").get("model_max_length", most)
    return min(named, most)
