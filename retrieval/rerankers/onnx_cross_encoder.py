"""A cross-encoder in a graph that ONNX Runtime runs on the CPU."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial

from rag.inference.onnx_folder import OnnxFolder
from rag.inference.onnx_graph import OnnxGraph
from rag.inference.pair_model import Pair, Scorer
from rag.privacy.redaction import words
from rag.process.cores import core_count
from retrieval.rerankers.cross_encoder import PairReranker

_AXES = 2


class OnnxCrossEncoder(PairReranker):
    """`Reranker` by a graph with one number for question and passage."""

    def __init__(self, model: str, *, file: str | None = None) -> None:
        """Loads the model.

        Args:
            model: a folder, or a name on the hub.
            file: the graph's path in it; None: `model.onnx` or `onnx/model.onnx`.

        Raises:
            ConfigError: The model cannot be loaded, or is no cross-encoder.
        """
        super().__init__(partial(_load, model, file))


def _load(model: str, file: str | None) -> Scorer:
    files = OnnxFolder(model, file=file, owner="reranker")
    tokenizer = files.tokenizer(window=files.window())
    graph = files.graph(axes=_AXES)
    # A call of the graph keeps one core busy.
    pool = ThreadPoolExecutor(core_count())

    def score_one(pair: Pair) -> float:
        encoding = tokenizer.encode(*pair)
        (score,) = graph(encoding.ids, kinds=encoding.type_ids).tolist()
        return float(score)

    def score(pairs: list[Pair]) -> list[float]:
        return list(pool.map(score_one, pairs))

    _check(files, graph, tokenizer.encode("a question", "a passage").ids)
    return score


def _check(files: OnnxFolder, graph: OnnxGraph, ids: list[int]) -> None:
    """Raises ConfigError if the graph cannot be run, or has not one score for a pair."""
    try:
        scores = graph(ids)
    except Exception as error:  # errors of ONNX Runtime are of many types
        raise files.refused(
            f"cannot be run: {words(error)}", "export it with axes of any length"
        ) from error
    if len(scores) != 1:
        raise files.refused(
            f"returns {len(scores)} numbers for a pair, and one score is needed",
            "name a model for sequence classification with one label",
        )
