"""`rag models convert`: what it writes, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks._models import quiet
from rag.cli.main import main
from rag.cli.models import convert as conversion
from retrieval.embedders.messages import Text
from retrieval.embedders.onnx_checkpoint import OnnxCheckpoint
from tests.processor import exact_int8
from tests.servers import RAG, rag
from tests.tiny_sentence import TEXTS, bert, encoded


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    prompts = {"query": "query: ", "document": "passage: "}
    return bert(tmp_path_factory.mktemp("models") / "tiny", pooling="cls", prompts=prompts)


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set in which each text asks for itself."""
    folder = tmp_path_factory.mktemp("sets") / "zoo"
    (folder / "qrels").mkdir(parents=True)
    rows = [{"_id": str(i), "title": "", "text": text} for i, text in enumerate(TEXTS)]
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, rows)))
    judged = ["query-id\tcorpus-id\tscore", *(f"{i}\t{i}\t1" for i in range(len(TEXTS)))]
    (folder / "qrels" / "test.tsv").write_text("\n".join(judged) + "\n")
    return folder


def convert(*arguments: object) -> int:
    with quiet():
        return main(["models", "convert", *map(str, arguments)])


def test_a_converted_model_has_the_vectors_of_sentence_transformers(
    model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    printed = rag("models", "convert", model, out, "--json", data=tmp_path / "data", command=RAG)
    assert printed.returncode == 0, printed.stderr
    body = json.loads(printed.stdout)
    assert body["precision"] == "float32"
    assert body["cosine"]["lowest"] > 0.999
    assert {file.name for file in tmp_path.iterdir() if file.name.startswith(".plumb")} == set()
    encoder = OnnxCheckpoint(str(out)).encoder()
    found = encoder([Text(text, "dense", "query") for text in TEXTS])
    np.testing.assert_allclose(np.stack(found), encoded(model, "query"), atol=1e-5)  # type: ignore[arg-type]


@exact_int8
def test_int8_is_compared_with_float32_on_a_set(
    model: Path, questions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert convert(model, out, "--int8", "--set", questions) == 0
    assert "nDCG@10 on zoo: " in capsys.readouterr().out
    assert json.loads((out / "plumbline.json").read_text())["precision"] == "int8"


@exact_int8
def test_what_loses_too_much_is_not_written(
    model: Path,
    questions: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(conversion, "MOST_LOST", -0.01)
    assert convert(model, tmp_path / "out", "--int8", "--set", questions) == 2
    said = capsys.readouterr().err
    assert "was not converted: nDCG@10 on zoo is" in said
    assert "Convert it without --int8" in said
    assert list(tmp_path.iterdir()) == []


def test_requests_that_cannot_be_met_are_refused(
    model: Path, questions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: dict[str, tuple[object, ...]] = {
        "--int8 and --set go together": (model, tmp_path / "out", "--int8"),
        "exists, or the folder above it": (model, tmp_path),
        "no encoder checkpoint: config.json is missing": (tmp_path, tmp_path / "out"),
        "zoo2": (model, tmp_path / "out", "--int8", "--set", questions.with_name("zoo2")),
    }
    for said, arguments in asked.items():
        assert convert(*arguments) == 2
        assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
