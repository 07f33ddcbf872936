"""Cross-encoders and ColBERT models in ONNX graphs, with real weights."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from rag.build.running import start
from rag.errors import ConfigError
from rag.settings.tree import load_settings
from rag.telemetry.trace import Trace
from rag.types import DEFAULT_TENANT, Float32Array, Query, Scope
from retrieval.embedders.colbert_encoder import ColbertEncoder
from retrieval.embedders.messages import Text
from retrieval.rerankers.onnx_cross_encoder import OnnxCrossEncoder, _load
from tests.fakes import make_chunk
from tests.stored import store
from tests.weights import COLBERT_RULES, QUERY_PROMPT, colbert, linked, weights

pytestmark = pytest.mark.anyio

DOCUMENTS = [
    "Lunch is served at noon in the canteen.",
    "Unused leave may be carried over until March.",
    "Owls hunt at night; otters hold hands while they sleep.",
]
QUESTION = "How many days of holiday can I take into the next year?"
CLS, SEP, MASK, QUERY_MARK, PASSAGE_MARK, COMMA = 101, 102, 103, 1, 2, 1010


async def test_a_cross_encoder_scores_as_its_graph_does(scope: Scope) -> None:
    folder = weights("reranker_en")
    reranker = OnnxCrossEncoder(str(folder))
    with contextlib.closing(reranker):
        chunks = [make_chunk(text, position=i) for i, text in enumerate(DOCUMENTS)]
        scores = await reranker.score(Query(text=QUESTION, scope=scope), chunks)
        long = [make_chunk("Leave. " * 2000, position=0)]
        assert np.isfinite(await reranker.score(Query(text=QUESTION, scope=scope), long)).all()
    assert scores.argmax() == 1
    hf: Any = pytest.importorskip("transformers")
    tokenizer = hf.AutoTokenizer.from_pretrained(folder)
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"))
    for text, score in zip(DOCUMENTS, scores, strict=True):
        encoded = tokenizer(QUESTION, text, return_tensors="np")
        ((found,),) = session.run(None, dict(encoded))[0]
        assert score == pytest.approx(found, abs=1e-3)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("bge_small_en", "returns last_hidden_state .*, and no floats with 2 axes: .*classifier"),
        ("colbert", "returns 384 numbers for a pair, and one score is needed: name a model"),
    ],
)
def test_what_is_no_cross_encoder_is_a_config_error(name: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        _load(str(weights(name)), None)


@pytest.mark.parametrize("damage", ["missing", "cut", "tokenizer"])
def test_a_damaged_cross_encoder_is_refused_at_start(damage: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    if damage != "missing":
        name = "tokenizer.json" if damage == "tokenizer" else "model.onnx"
        linked(weights("reranker_en"), folder, without=name)
        if damage == "cut":
            data = (weights("reranker_en") / name).read_bytes()
            (folder / name).write_bytes(data[: len(data) // 2])
    said = {
        "missing": r"cannot be loaded: \w.* Is reranker\.model a folder",
        "cut": "The reranker's model .* cannot be opened by ONNX Runtime",
        "tokenizer": "The reranker's model .*tokenizer.json is missing",
    }
    with pytest.raises(ConfigError, match=said[damage]):
        OnnxCrossEncoder(str(folder))


@pytest.fixture(scope="module")
def folder_of_colbert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return colbert(tmp_path_factory.mktemp("rules") / "colbert")


def run(folder: Path, ids: list[int], seen: list[int]) -> Float32Array:
    """Runs the graph on ids that are written out; returns unit vectors."""
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"))
    given = {"input_ids": ids, "attention_mask": seen, "token_type_ids": [0] * len(ids)}
    (output,) = session.run(["last_hidden_state"], {k: np.array([v]) for k, v in given.items()})
    unit: Float32Array = output[0] / np.linalg.norm(output[0], axis=1, keepdims=True)
    return unit


def test_a_colbert_model_reads_questions_and_passages_by_its_rules(folder_of_colbert: Path) -> None:
    encoder = ColbertEncoder(str(folder_of_colbert), file=None)
    words = encoder_ids(folder_of_colbert, "owls, cats")
    question, passage = encoder(
        [Text("owls, cats", "tokens", "query"), Text("owls, cats", "tokens", "passage")]
    )
    ids = [CLS, QUERY_MARK, *words, SEP]
    masks = 32 - len(ids)
    expected = run(folder_of_colbert, ids + [MASK] * masks, [1] * len(ids) + [0] * masks)
    np.testing.assert_allclose(question.vectors, expected, atol=1e-4)  # type: ignore[union-attr]
    ids = [CLS, PASSAGE_MARK, *words, SEP]
    expected = run(folder_of_colbert, ids, [1] * len(ids))
    kept = [i for i, id_ in enumerate(ids) if id_ != COMMA]
    assert len(kept) == len(ids) - 1
    np.testing.assert_allclose(passage.vectors, expected[kept], atol=1e-4)  # type: ignore[union-attr]
    (cut,) = encoder([Text("owls " * 100, "tokens", "query")])
    assert cut.vectors.shape == (32, 384)  # type: ignore[union-attr]


def encoder_ids(folder: Path, text: str) -> list[int]:
    from tokenizers import Tokenizer

    whole = Tokenizer.from_file(str(folder / "tokenizer.json"))
    whole.no_padding()
    return list(whole.encode(text, add_special_tokens=False).ids)


def test_the_rules_of_pylate_are_read_too(folder_of_colbert: Path, tmp_path: Path) -> None:
    folder = linked(folder_of_colbert, tmp_path / "pylate", without="artifact.metadata")
    rules = {
        "query_prefix": "[unused0] ",
        "document_prefix": "[unused1] ",
        "query_length": 32,
        "document_length": 300,
        "skiplist_words": [",", "."],
    }
    (folder / "config_sentence_transformers.json").write_text(json.dumps(rules))
    texts = [Text("owls, cats", "tokens", kind) for kind in ("query", "passage")]
    ours = ColbertEncoder(str(folder_of_colbert), file=None)(texts)
    for one, other in zip(ours, ColbertEncoder(str(folder), file=None)(texts), strict=True):
        np.testing.assert_allclose(one.vectors, other.vectors)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        (None, r"does not say how ColBERT reads .*: add its artifact\.metadata"),
        ({"dim": 96}, r"returns 384 numbers for a token, and artifact\.metadata says 96"),
        ({"query_token_id": "[Q]"}, r"the tokenizer has no \[Q\]"),
        ({"query_maxlen": None}, r"cannot be read: the rules of ColBERT"),
    ],
)
def test_a_colbert_model_without_its_rules_is_a_config_error(
    rules: dict[str, Any] | None, said: str, folder_of_colbert: Path, tmp_path: Path
) -> None:
    folder = linked(folder_of_colbert, tmp_path / "model", without="artifact.metadata")
    if rules is not None:
        (folder / "artifact.metadata").write_text(json.dumps(COLBERT_RULES | rules))
    with pytest.raises(ConfigError, match=said):
        ColbertEncoder(str(folder), file=None)


@pytest.mark.parametrize("kind", ["onnx", "onnx_colbert"])
async def test_a_service_answers_with_models_in_graphs(
    kind: str, folder: Path, folder_of_colbert: Path
) -> None:
    embedder = {
        "kind": "onnx",
        "model": str(weights("bge_small_en")),
        "pooling": "cls",
        "query_prompt": QUERY_PROMPT,
    }
    model = folder_of_colbert if kind == "onnx_colbert" else weights("reranker_en")
    settings = load_settings(
        data_dir=folder / "data", embedder=embedder, reranker={"kind": kind, "model": str(model)}
    )
    scope = Scope(tenant=DEFAULT_TENANT, collection="handbook")
    async with start(settings) as (service, queue):
        await store(service, queue, scope, DOCUMENTS)
        found = await service.query.search(Query(text=QUESTION, scope=scope), Trace())
    assert found.hits[0].chunk.text == DOCUMENTS[1]
    assert found.hits[0].ranks["rerank"] == 1
    assert not found.degraded
