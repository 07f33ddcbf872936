"""A BERT that judges pairs of texts: two layers, random weights, a handful of words."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def make_tiny_judge(folder: Path, words: Sequence[str], **config: Any) -> Path:
    """Writes the model, with `config` passed to `BertConfig` for its labels; returns its folder."""
    import torch

    hf: Any = import_module("transformers")  # its type stubs lack these names
    folder.mkdir(exist_ok=True)
    vocabulary = [*SPECIAL, *words]
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    hf.BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    made = hf.BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        **config,
    )
    hf.BertForSequenceClassification(made).save_pretrained(folder)
    return folder
