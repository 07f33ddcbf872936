"""`rag models convert`: writes a model as an ONNX graph, unless it is worse than the model."""

from __future__ import annotations

import argparse
import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from eval.datasets.loading import load_set
from eval.offline.dense_quality import dense_quality
from rag.cli import output
from rag.cli.progress import activity
from rag.errors import ConfigError, InputError, StorageError
from rag.process.cores import core_count
from rag.types import Float32Array, Kind
from retrieval.embedders.conversion import SENTENCES, convert
from retrieval.embedders.messages import Text
from retrieval.embedders.onnx_checkpoint import OnnxCheckpoint

if TYPE_CHECKING:
    from eval.datasets.corpus import Corpus
    from rag.inference.onnx_writer import Precision
    from rag.settings.tree import Settings

MOST_LOST = 0.005
"""nDCG@10 that int8 may lose."""


def models(args: argparse.Namespace, settings: Settings) -> int:
    """Converts a model; returns 0."""
    if args.int8 != (args.set is not None):
        raise InputError(
            "--int8 and --set go together: name a set of questions by which the rounded model is"
            " compared with the exact one."
        )
    precision: Precision = "int8" if args.int8 else "float32"
    corpus = load_set(args.set, settings.traces) if args.int8 else None
    with _new_folder(args.out) as made:
        with activity("Converting", quiet=args.json):
            parity = convert(args.folder, made, precision)
        body: output.Json = {
            "out": str(args.out),
            "precision": precision,
            "sentences": len(SENTENCES),
            "cosine": {"lowest": parity.lowest, "mean": parity.mean},
        }
        if corpus:
            with activity("Comparing", quiet=args.json):
                body["ndcg"] = _compared(corpus, args.folder, made)
    output.show(body, _lines, as_json=args.json)
    return 0


def _compared(corpus: Corpus, source: Path, rounded: Path) -> output.Json:
    """Measures the model in int8 beside float32.

    Raises:
        ConfigError: int8 loses too much.
    """
    with tempfile.TemporaryDirectory(prefix="plumbline-") as folder:
        exact = Path(folder)
        convert(source, exact, "float32")
        values = {"float32": _quality(corpus, exact), "int8": _quality(corpus, rounded)}
    if values["float32"] - values["int8"] > MOST_LOST:
        raise ConfigError(
            f"{source} was not converted: nDCG@10 on {corpus.name} is {values['int8']:.4f} in"
            f" int8 and {values['float32']:.4f} in float32, and {MOST_LOST} may be lost. Convert"
            " it without --int8."
        )
    return {"set": corpus.name, **values}


def _quality(corpus: Corpus, folder: Path) -> float:
    encoder = OnnxCheckpoint(str(folder)).encoder()

    def encode(texts: Sequence[str], kind: Kind) -> Float32Array:
        return np.stack(encoder([Text(text, "dense", kind) for text in texts]))  # type: ignore[arg-type]

    return dense_quality(corpus, encode, threads=core_count())


@contextlib.contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """Yields an empty folder that becomes `out` if nothing is raised."""
    if out.exists() or not out.absolute().parent.is_dir():
        raise InputError(f"{out} exists, or the folder above it does not: name another folder.")
    with tempfile.TemporaryDirectory(prefix=".plumbline-", dir=out.absolute().parent) as folder:
        made = Path(folder) / out.name
        made.mkdir()
        yield made
        try:
            made.rename(out)
        except OSError as error:
            raise StorageError(f"{out} cannot be written: {error.strerror}.") from error


def _lines(body: output.Json) -> output.Lines:
    cosine = body["cosine"]
    yield f"{body['out']}: in {body['precision']}"
    yield (
        f"cosine with sentence-transformers, {body['sentences']} texts:"
        f" lowest {cosine['lowest']:.4f}, mean {cosine['mean']:.4f}"
    )
    if found := body.get("ndcg"):
        yield (f"nDCG@10 on {found['set']}: {found['int8']:.4f}, in float32 {found['float32']:.4f}")
    yield f'Use it: embedder.kind = "onnx", embedder.model = "{body["out"]}".'
