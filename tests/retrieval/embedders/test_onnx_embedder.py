"""Encoders in ONNX graphs: converted, exported by torch, and from a wheel."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from benchmarks._models import quiet
from rag.errors import ConfigError
from rag.types import Float32Array, Kind
from retrieval.embedders import conversion, loading, model_record
from retrieval.embedders.conversion import convert
from retrieval.embedders.messages import Form, Text
from retrieval.embedders.onnx_checkpoint import OnnxCheckpoint
from retrieval.embedders.onnx_encoder import OnnxEncoder
from retrieval.embedders.probe import MINILM, Probe
from retrieval.embedders.sentence_files import KINDS
from tests.processor import exact_int8
from tests.tiny_sentence import HIDDEN, TEXTS, bert, byte_level, encoded, export, roberta
from tests.weights import QUERY_PROMPT, linked, weights


def converted(folder: Path, **options: Any) -> Path:
    """Makes a tiny BERT and converts it; returns the folder of the graph."""
    target = folder / "graph"
    target.mkdir(parents=True)
    with quiet():
        convert(bert(folder / "model", **options), target, "float32")
    return target


MODELS: Mapping[str, Callable[[Path], Path]] = {
    "mean": converted,
    "cls": lambda f: converted(f, pooling="cls"),
    "prompts": lambda f: converted(f, prompts={"query": "query: ", "document": "passage: "}),
    "pieces": lambda f: export(
        roberta(f / "model", prompts={"query": "query: ", "document": "passage: "})
    ),
    "bytes": lambda f: export(
        byte_level(f / "model", pooling="lasttoken", prompts={"query": "Find:"})
    ),
}


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return converted(tmp_path_factory.mktemp("onnx"))


def run(encoder: OnnxEncoder, form: Form, kind: Kind) -> list[Any]:
    return list(encoder([Text(text, form, kind) for text in TEXTS]))


def dense(folder: Path, kind: Kind = "passage", **options: Any) -> Float32Array:
    return np.stack(run(OnnxCheckpoint(str(folder), **options).encoder(), "dense", kind))


@pytest.mark.parametrize("made", MODELS)
def test_vectors_are_those_of_sentence_transformers_and_tokens_are_words(
    made: str, tmp_path: Path
) -> None:
    folder = MODELS[made](tmp_path)
    encoder = OnnxCheckpoint(str(folder)).encoder()
    assert encoder.about.model.dim == encoder.about.model.token_dim == HIDDEN
    for kind in KINDS:
        rows = np.stack(run(encoder, "dense", kind))
        np.testing.assert_allclose(rows, encoded(tmp_path / "model", kind), atol=1e-5)
        for text, each in zip(TEXTS, run(encoder, "question", kind), strict=True):
            found = [text[start:end] for start, end in each.tokens.spans]
            assert found
            assert all(word and word == word.strip() for word in found)
            assert len(each.tokens.vectors) == len(found)
            covered = {i for start, end in each.tokens.spans for i in range(start, end)}
            assert not any(text[i].isspace() for i in covered)


@pytest.mark.parametrize(
    ("flag", "pooling"), [("cls_token", "cls"), ("mean_tokens", "mean"), ("lasttoken", "last")]
)
def test_the_flags_that_older_versions_saved_are_read(
    graph: Path, tmp_path: Path, flag: str, pooling: str
) -> None:
    folder = shutil.copytree(graph, tmp_path / "copy")
    (folder / model_record.FILE).unlink()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({f"pooling_mode_{flag}": True}))
    assert OnnxCheckpoint(str(folder)).pooling == pooling
    (folder / "modules.json").unlink()
    assert OnnxCheckpoint(str(folder)).pooling == pooling


def test_prompts_may_be_set_and_are_part_of_the_fingerprint(tmp_path: Path) -> None:
    folder = converted(tmp_path, prompts={"query": "query: "})
    own = OnnxCheckpoint(str(folder)).encoder().about.model.fingerprint
    other = OnnxCheckpoint(str(folder), prompts={"query": "", "passage": "query: "}).encoder()
    assert other.about.model.fingerprint != own
    np.testing.assert_allclose(
        run(other, "dense", "passage"), encoded(tmp_path / "model", "query"), atol=1e-5
    )


@exact_int8
def test_a_graph_in_int8_has_other_fingerprints_and_nearly_the_vectors(tmp_path: Path) -> None:
    exact = converted(tmp_path)
    rounded = tmp_path / "int8"
    rounded.mkdir()
    with quiet():
        parity = convert(tmp_path / "model", rounded, "int8")
    assert parity.lowest > 0.98
    assert b"MatMulIntegerToFloat" in (rounded / "model.onnx").read_bytes()
    assert (dense(exact) * dense(rounded)).sum(axis=1).min() > 0.98
    one, other = (OnnxCheckpoint(str(f)).encoder().about.model for f in (exact, rounded))
    assert one.fingerprint != other.fingerprint


def test_a_folder_from_elsewhere_needs_its_pooling_named(tmp_path: Path) -> None:
    folder = weights("bge_small_en")
    with pytest.raises(ConfigError, match=r"set embedder\.pooling to mean or cls or last, as its"):
        OnnxCheckpoint(str(folder))
    prompts: dict[Kind, str | None] = {"query": QUERY_PROMPT, "passage": None}
    encoder = OnnxCheckpoint(str(folder), pooling="cls", prompts=prompts).encoder()
    assert (encoder.about.model.dim, encoder.about.model.max_tokens) == (384, 512)
    texts = ("Unused leave may be carried over until March.", "Owls hunt at night.")
    (question,) = encoder([Text("Can I take my holiday next year?", "dense", "query")])
    passages = np.stack(encoder([Text(text, "dense", "passage") for text in texts]))  # type: ignore[arg-type]
    near, far = passages @ np.asarray(question)
    assert near > far + 0.1
    named = OnnxCheckpoint(str(folder), pooling="cls", file="model.onnx").encoder()
    assert named.about.model.fingerprint != encoder.about.model.fingerprint  # the prompt
    folder = linked(folder, tmp_path / "onnx", without="model.onnx")
    with pytest.raises(ConfigError, match=r"has no model\.onnx or onnx/model\.onnx: name a folder"):
        OnnxCheckpoint(str(folder), pooling="cls")
    with pytest.raises(ConfigError, match=r"has no model_int8\.onnx: .*embedder\.file"):
        OnnxCheckpoint(str(folder), pooling="cls", file="model_int8.onnx")


def edit(folder: Path, name: str, **values: Any) -> None:
    file = folder / name
    content = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps(content | values))


def truncate(folder: Path) -> None:
    file = folder / "model.onnx"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def newer(folder: Path) -> None:
    model = onnx.load(folder / "model.onnx")
    model.opset_import[0].version = 99
    onnx.save(model, folder / "model.onnx")


def rename_input(folder: Path) -> None:
    model = onnx.load(folder / "model.onnx")
    model.graph.input[0].name = "pixels"
    for node in model.graph.node:
        node.input[:] = ["pixels" if name == "input_ids" else name for name in node.input]
    onnx.save(model, folder / "model.onnx")


def pool(folder: Path, **config: Any) -> None:
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(config))


WITHOUT_RECORD: Mapping[str, tuple[Callable[[Path], object], str]] = {
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), r"tokenizer\.json is missing"),
    "tokenizer": (lambda f: (f / "tokenizer.json").write_text("<html>"), "tokenizer.json cannot"),
    "cut short": (truncate, r"cannot be opened by ONNX Runtime .*copy the file again"),
    "opset": (newer, r"cannot be opened by ONNX Runtime [\d.]+: .*opset"),
    "input": (rename_input, r"asks for pixels tensor\(int64\), and an encoder is given integers"),
    "max": (lambda f: pool(f, pooling_mode="max"), "pools by max: mean, cls, last are computed"),
    "two": (lambda f: pool(f, pooling_mode=["cls", "mean"]), "pools by cls, mean"),
    "prompt": (
        lambda f: pool(f, pooling_mode="mean", include_prompt=False),
        "leaves its prompts out of the mean",
    ),
    "dense": (
        lambda f: (f / "modules.json").write_text(
            json.dumps([{"type": f"x.{n}", "path": n} for n in ("Transformer", "Pooling", "Dense")])
        ),
        "computes Transformer, Pooling, Dense, which",
    ),
    "damaged": (lambda f: (f / "config.json").write_text("{"), r"config\.json: \w"),
}


@pytest.mark.parametrize(("damage", "said"), WITHOUT_RECORD.values(), ids=WITHOUT_RECORD)
def test_what_cannot_be_computed_is_a_config_error(
    graph: Path, tmp_path: Path, damage: Callable[[Path], object], said: str
) -> None:
    folder = shutil.copytree(graph, tmp_path / "copy")
    (folder / model_record.FILE).unlink()
    damage(folder)
    with pytest.raises(ConfigError, match=said):
        OnnxCheckpoint(str(folder)).encoder()


def test_a_model_that_does_not_say_its_window_is_a_config_error(
    graph: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(graph, tmp_path / "copy")
    edit(folder, "tokenizer_config.json", model_max_length=10**30)
    edit(folder, "sentence_bert_config.json", max_seq_length=None)
    assert OnnxCheckpoint(str(folder)).encoder().about.model.max_tokens == 64
    edit(folder, "config.json", max_position_embeddings=None)
    with pytest.raises(ConfigError, match=r"how many tokens it reads: write `model_max_length`"):
        OnnxCheckpoint(str(folder))


def other_weights(folder: Path) -> None:
    """Changes the weights of a graph, and the checksum with them."""
    model = onnx.load(folder / "model.onnx")
    for constant in model.graph.initializer:
        if constant.name == "words":
            rolled = np.roll(onnx.numpy_helper.to_array(constant), 1, axis=0)
            constant.CopyFrom(onnx.numpy_helper.from_array(rolled, "words"))
    onnx.save(model, folder / "model.onnx")
    edit(folder, model_record.FILE, sha256=model_record.file_hash(folder / "model.onnx"))


WITH_RECORD: Mapping[str, tuple[Callable[[Path], object], str]] = {
    "cut short": (truncate, r"model\.onnx has another checksum than plumbline\.json says: copy"),
    "other": (newer, "has another checksum"),
    "weights": (other_weights, r"computes something else here than .*a vector is \d+% away"),
    "pooling": (lambda f: pool(f, pooling_mode="cls"), "converted with pooling 'mean', and is"),
    "dim": (lambda f: edit(f, model_record.FILE, dim=99), "returns 32 numbers .*json says 99"),
    "record": (lambda f: (f / model_record.FILE).write_text('{"dim": 3}'), "convert the model"),
}


@pytest.mark.parametrize(("damage", "said"), WITH_RECORD.values(), ids=WITH_RECORD)
def test_what_is_not_as_it_was_converted_is_refused(
    graph: Path, tmp_path: Path, damage: Callable[[Path], object], said: str
) -> None:
    folder = shutil.copytree(graph, tmp_path / "copy")
    damage(folder)
    with pytest.raises(ConfigError, match=said):
        OnnxCheckpoint(str(folder)).encoder()


def test_a_pooling_other_than_the_configuration_s_is_refused(graph: Path) -> None:
    assert OnnxCheckpoint(str(graph), pooling="mean").pooling == "mean"
    with pytest.raises(ConfigError, match=r"pooled by 'mean', and embedder\.pooling says 'cls'"):
        OnnxCheckpoint(str(graph), pooling="cls")


def test_int8_is_refused_where_bytes_are_multiplied_with_losses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_record, "is_exact", lambda: True)  # on any processor
    with quiet():
        convert(bert(tmp_path / "model"), _new(tmp_path / "int8"), "int8")
    monkeypatch.setattr(model_record, "is_exact", lambda: False)
    with pytest.raises(ConfigError, match="this CPU multiplies bytes with losses: convert"):
        OnnxCheckpoint(str(tmp_path / "int8"))
    monkeypatch.setattr("rag.inference.int8.is_exact", lambda: False)
    with pytest.raises(ConfigError, match=r'embedder\.dtype = "int8" cannot be used: this CPU'):
        loading.load_bert(tmp_path / "model", "cpu", "int8", 1)
    loading.load_bert(tmp_path / "model", "cpu", "auto", 1)


def _new(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_the_default_s_vector_is_compared_with_the_stored_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = loading.minilm_folder()
    encoder = loading.load_bert(folder, "cpu", "float32", 1)
    (vector,) = encoder([Text(MINILM.text, "dense", "passage")])
    assert MINILM.distance(vector) < 1e-3  # type: ignore[arg-type]
    other = Probe("Owls hunt at night.", MINILM.numbers)
    monkeypatch.setattr(loading, "MINILM", other)
    with pytest.raises(ConfigError, match=r"default encoder computes something else.* \d+% away"):
        loading.load_bert(folder, "cpu", "float32", 1)


def test_what_is_no_bert_is_not_converted(tmp_path: Path) -> None:
    with quiet():
        folder = roberta(tmp_path / "model")
    with pytest.raises(ConfigError, match=r"'xlm-roberta' model, and BERT alone is converted"):
        convert(folder, _new(tmp_path / "out"), "float32")
    with quiet():
        folder = bert(tmp_path / "dense", dense=8)
    with pytest.raises(ConfigError, match="computes Transformer, Pooling, Dense"):
        convert(folder, _new(tmp_path / "dense_out"), "float32")


def test_a_graph_with_other_vectors_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with quiet():
        folder = bert(tmp_path / "model")
    reference = conversion._reference
    monkeypatch.setattr(
        conversion, "_reference", lambda source: np.roll(reference(source), 1, axis=1)
    )
    with quiet(), pytest.raises(ConfigError, match="computes something else here"):
        convert(folder, _new(tmp_path / "out"), "float32")
