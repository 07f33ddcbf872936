"""Converts a model of sentence-transformers into a folder for ONNX Runtime."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rag.errors import ConfigError
from rag.process.extras import needing
from rag.types import Float32Array
from retrieval.embedders.bert_graph import BertGraph
from retrieval.embedders.checkpoint import BertShape
from retrieval.embedders.messages import Text
from retrieval.embedders.model_record import ModelRecord, file_hash
from retrieval.embedders.onnx_checkpoint import OnnxCheckpoint
from retrieval.embedders.onnx_encoder import NO_PROMPTS, OnnxEncoder
from retrieval.embedders.probe import TEXT, probe_of
from retrieval.embedders.sentence_files import MODULES, PROMPTS, part_of_checkpoint, pooling_file

if TYPE_CHECKING:
    from rag.inference.onnx_writer import Precision

GRAPH = "model.onnx"
LEAST_COSINE = 0.999
"""In float32, a vector's least cosine with the one of sentence-transformers."""
_COPIED = ("config.json", "tokenizer_config.json", "sentence_bert_config.json", MODULES, PROMPTS)
_CONVERTED = (
    "and BERT alone is converted (all-MiniLM, bge, e5, gte and others of model_type bert with"
    " GELU). Of another model, name a folder or a model on the hub that has a model.onnx in"
    ' embedder.model, with embedder.kind = "onnx".'
)
SENTENCES = (
    TEXT,
    "How many days of annual leave do part-time employees have?",
    "The pump must be calibrated every six months; see section 5.2 of the manual.",
    "Error E-4711: the connection was refused by the remote host.",
    "Wer darf die Unterlagen lesen, und wie lange werden sie aufbewahrt?",
    "Le contrat prend fin le 31 décembre 2026, sauf accord contraire.",
    "def area(radius: float) -> float: return 3.14159 * radius ** 2",
    "東京の会議は火曜日に始まります。",
    "x",
    "Owls hunt at night. Otters hold hands while they sleep, so that they do not drift apart. "
    * 12,
)
"""Texts of which the vectors are compared: questions, other languages, code, one letter, many."""


class Parity(NamedTuple):
    """Cosines of a graph's vectors with those of sentence-transformers, over the sentences."""

    lowest: float
    mean: float


def convert(source: Path, target: Path, precision: Precision) -> Parity:
    """Writes the graph, its tokenizer and configuration, and `plumbline.json`.

    1. graph  2. files beside it  3. vectors of sentence-transformers  4. record  5. compare

    Args:
        source: a folder saved by sentence-transformers.
        target: an empty folder.
        precision: type in which linear layers compute.

    Raises:
        ConfigError: The model cannot be converted, sentence-transformers is not installed, or the
            graph's vectors are not its vectors.
    """
    shape = BertShape(source, advice=_CONVERTED)
    (target / GRAPH).write_bytes(BertGraph(shape, precision).serialised(whole=True))  # 1.
    _copy(source, target)  # 2.
    pooling = OnnxCheckpoint(str(target)).pooling
    expected = _reference(source)  # 3.
    ModelRecord(
        sha256=file_hash(target / GRAPH),
        dim=shape.dim,
        pooling=pooling,
        precision=precision,
        probe=probe_of(TEXT, expected[0]),
    ).write(target)  # 4.
    without = OnnxCheckpoint(str(target), prompts=NO_PROMPTS)
    parity = _compare(without.encoder(), expected)  # 5.
    if precision == "float32" and not parity.lowest >= LEAST_COSINE:
        raise ConfigError(
            f"{source} was not converted: a vector of the graph has a cosine of"
            f" {parity.lowest:.4f} with the one of sentence-transformers, and {LEAST_COSINE} is"
            " needed. The model computes something that the conversion does not know."
        )
    return parity


def _copy(source: Path, target: Path) -> None:
    with part_of_checkpoint(source / "tokenizer.json") as file:
        shutil.copyfile(file, target / file.name)
    for name in _COPIED:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)
    listed = pooling_file(source, advice="which is not converted.")
    if listed is None:
        raise ConfigError(
            f"{source} has no {MODULES}, and does not say how it is pooled: save the model with"
            " SentenceTransformer(…).save(…)."
        )
    copy = target / listed.relative_to(source)
    copy.parent.mkdir(parents=True)
    with part_of_checkpoint(listed) as file:
        shutil.copyfile(file, copy)


def _reference(source: Path) -> Float32Array:
    """Returns vectors of the sentences, without prompts."""
    with needing("torch", for_="The conversion"):
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging as progress
    progress.disable_progress_bar()
    try:
        model = SentenceTransformer(str(source), device="cpu", local_files_only=True)
        vectors = model.encode(
            list(SENTENCES), prompt="", normalize_embeddings=True, show_progress_bar=False
        )
    except Exception as error:  # what the library raises over a bad model is of many types
        raise ConfigError(f"{source} cannot be loaded by sentence-transformers: {error}") from error
    return np.asarray(vectors, np.float32)


def _compare(encoder: OnnxEncoder, expected: Float32Array) -> Parity:
    found = encoder([Text(text, "dense", "passage") for text in SENTENCES])
    cosines = (np.stack(found) * expected).sum(axis=1)  # type: ignore[arg-type]
    return Parity(float(cosines.min()), float(cosines.mean()))
