"""MiniLM with one of its layers: for tests to which it does not matter what is similar."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from retrieval.embedders.loading import minilm_folder


def shallow(folder: Path) -> dict[str, str]:
    """Returns the environment of processes that embed with it; writes it into the folder."""
    return {"RAG_EMBEDDER__MODEL": str(make_shallow_minilm(folder / "shallow-minilm"))}


def make_shallow_minilm(folder: Path) -> Path:
    """Writes the model, which takes a fraction of MiniLM's time; returns its folder."""
    shutil.copytree(minilm_folder(), folder, copy_function=os.symlink)
    file = folder / "config.json"
    config = json.loads(file.read_text()) | {"num_hidden_layers": 1}
    file.unlink()
    file.write_text(json.dumps(config))
    return folder
