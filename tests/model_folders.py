"""Folders that look like a model's."""

from __future__ import annotations

import json
from pathlib import Path


def make_folder(folder: Path, **config: object) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", **config}))
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text("{}")
    (folder / ".cache").mkdir()
    (folder / ".cache" / "note").write_text("not of the model")
    return folder
