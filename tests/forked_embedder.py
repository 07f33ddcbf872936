"""Loads the default embedder; processes of embedders are forked from here.

ONNX Runtime has no threads of its own (`rag.inference.onnx_session`), so that a forked process can
use a session. Reading the weights takes ten times what a small test asks of them.
"""

from __future__ import annotations

import os
from pathlib import Path

from retrieval.embedders import loading
from retrieval.embedders.embedder import LANES, Encoder
from retrieval.embedders.loading import Dtype, minilm_folder

# Threads do not survive a fork: the tokenizer starts none here. A fork has its own environment.
os.environ["TOKENIZERS_PARALLELISM"] = "false"

_load_bert = loading.load_bert
_DTYPES: tuple[Dtype, ...] = ("auto", "float32")
_LOADED = {
    (minilm_folder(), dtype, LANES): _load_bert(minilm_folder(), None, dtype, LANES)
    for dtype in _DTYPES
    if not loading.sees_gpu()  # a fork cannot use what its parent has on a GPU
}


def load_bert(folder: Path, device: str | None, dtype: Dtype, lanes: int) -> Encoder:
    """Returns the encoder that was loaded before the fork, or loads another one."""
    if device is None and (folder, dtype, lanes) in _LOADED:
        return _LOADED[folder, dtype, lanes]
    return _load_bert(folder, device, dtype, lanes)


loading.load_bert = load_bert
