"""A tiny language model that knows some texts by heart, and copies of it with rounded weights."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.tiny_llama import make_tiny_llama

STEPS = 150


def make_trained_llama(folder: Path, texts: Sequence[str], *, context: int = 2048) -> Path:
    """Writes a Llama in float32 that was trained on the texts, each alone; returns its folder."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    make_tiny_llama(folder, context=context, vocabulary=400, texts=texts)
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer.pad_token = tokenizer.eos_token
    batch = tokenizer(list(texts), return_tensors="pt", padding=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    for _ in range(STEPS):
        loss = model(**batch, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.save_pretrained(folder)
    return folder


def rounded(source: Path, folder: Path, *, bits: int) -> Path:
    """Copies a model, with the weights of each row rounded to so many bits; returns the copy.

    The largest weight of a row keeps its value, and the others are multiples of it over
    2^(bits - 1) - 1.
    """
    from safetensors.torch import load_file, save_file

    shutil.copytree(source, folder)
    weights = load_file(folder / "model.safetensors")
    most = 2 ** (bits - 1) - 1
    for name, weight in weights.items():
        if weight.dim() == 2:
            unit = weight.abs().amax(dim=1, keepdim=True).clamp(min=1e-9) / most
            weights[name] = (weight / unit).round() * unit
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder
