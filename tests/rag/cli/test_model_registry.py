"""`rag models add`, `list`, `verify`, `warm`, `promote` and `remove`, with real small models."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from benchmarks._models import quiet
from rag.cli.main import main
from retrieval.embedders.loading import minilm_folder
from tests.servers import RAG, rag, serving
from tests.tiny_bert import make_tiny_judge


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAG_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "data"


@pytest.fixture
def minilm(tmp_path: Path) -> Path:
    return shutil.copytree(minilm_folder(), tmp_path / "minilm")


def models(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> Any:
    """Runs `rag models … --json`; returns its JSON, or the message if it fails."""
    with quiet():
        assert main(["models", *map(str, arguments), "--json"]) == code
    printed = capsys.readouterr()
    return json.loads(printed.out) if printed.out else json.loads(printed.err)["error"]["message"]


def test_an_embedder_from_adding_to_searching_with_it(data: Path, minilm: Path) -> None:
    def run(*arguments: str | Path, **options: Any) -> str:
        ran = rag("models", *arguments, data=data, **options)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    added = run("add", "minilm", minilm, "--version", "1", "--kind", "embedder", command=RAG)
    assert added.startswith("minilm@1: embedder, ")
    assert run("verify") == "minilm@1: intact\n"
    assert run("warm", "minilm@1").startswith("minilm@1: loaded, and ran one text, in ")
    assert run("promote", "minilm", "1").startswith("minilm: 1 is promoted.\n")
    assert "promoted, verified, warmed" in run("list")
    env = {"RAG_EMBEDDER__MODEL": "registry:minilm"}
    document = data.parent / "note.txt"
    document.write_text("The pump weighs 40 kg.")
    assert rag("ingest", document, data=data, env=env).returncode == 0
    found = rag("search", "How heavy is the pump?", "--json", data=data, env=env)
    assert "40 kg" in json.loads(found.stdout)["hits"][0]["text"]
    with serving(data, env=env) as server:
        run("add", "minilm", minilm, "--version", "2", "--kind", "embedder")  # beside it
        with server.client() as http:
            assert http.post("/v1/search", json={"query": "pump"}).status_code == 200
    (minilm / "config.json").write_bytes((minilm / "config.json").read_bytes() + b"\n")
    refused = rag("search", "How heavy is it?", data=data, env=env)
    assert refused.returncode == 2
    assert "changed: config.json" in refused.stderr


def test_what_verify_finds_is_listed_and_its_exit_code_is_1(
    data: Path, minilm: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models(capsys, "add", "m", minilm, "--version", "1", "--kind", "embedder")
    (minilm / "tokenizer.json").unlink()
    found = models(capsys, "verify", "m", code=1)
    assert found["models"] == [
        {"model": "m@1", "intact": False, "missing": ["tokenizer.json"], "added": [], "changed": []}
    ]
    (listed,) = models(capsys, "list")["models"]
    assert (listed["versions"][0]["verified"], listed["promoted"]) == (None, None)
    assert "no model 'n'" in models(capsys, "verify", "n", code=2)
    assert "no version '2'" in models(capsys, "verify", "m@2", code=2)


def test_a_reranker_is_warmed_as_the_settings_would_use_it(
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = make_tiny_judge(tmp_path / "judge", ["what", "warranty"], num_labels=1)
    models(capsys, "add", "judge", folder, "--version", "1", "--kind", "reranker")
    assert "RAG_RERANKER__KIND" in models(capsys, "warm", "judge@1", code=2)
    monkeypatch.setenv("RAG_RERANKER__KIND", "cross_encoder")
    monkeypatch.setenv("RAG_RERANKER__MODEL", "registry:judge@1")
    assert models(capsys, "warm", "judge@1")["kind"] == "reranker"
    assert models(capsys, "list")["models"][0]["versions"][0]["warmed"]


def test_a_model_for_entailment_is_warmed(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = {0: "contradiction", 1: "entailment"}
    words = ["what", "warranty"]
    folder = make_tiny_judge(tmp_path / "nli", words, id2label=labels, label2id={"entailment": 1})
    models(capsys, "add", "nli", folder, "--version", "1", "--kind", "entailment")
    assert models(capsys, "warm", "nli@1")["kind"] == "entailment"


def test_a_model_that_cannot_be_loaded_is_not_warmed(
    data: Path, minilm: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (minilm / "model.safetensors").write_bytes(b"short")
    models(capsys, "add", "m", minilm, "--version", "1", "--kind", "embedder")
    models(capsys, "verify", "m")
    models(capsys, "warm", "m@1", code=2)
    assert "run `rag models warm m@1` first" in models(capsys, "promote", "m", "1", code=2)


def test_arguments_that_do_not_fit_are_said(
    data: Path, tmp_path: Path, minilm: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "Name a version to promote, or --back" in models(capsys, "promote", "m", code=2)
    assert "or --back" in models(capsys, "promote", "m", "1", "--back", code=2)
    assert "m@VERSION" in models(capsys, "remove", "m", code=2)
    assert "names no model" in models(capsys, "warm", "a/b", code=2)
    gone = models(capsys, "add", "m", tmp_path / "x", "--version", "1", "--kind", "adapter", code=2)
    assert "There is no folder" in gone
    broken = ("add", "m", minilm, "--version", "1", "--kind", "generator")
    (minilm / "model.safetensors").write_bytes(b"short")
    assert "missing or damaged" in models(capsys, *broken, code=2)
    assert models(capsys, "list")["models"] == []


def test_an_adapter_needs_a_generator_to_write_with(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "lora").mkdir()
    (tmp_path / "lora" / "adapter_config.json").write_text("{}")
    models(capsys, "add", "style", tmp_path / "lora", "--version", "1", "--kind", "adapter")
    assert "no generator of the kind 'vllm'" in models(capsys, "warm", "style@1", code=2)


def test_back_and_remove(data: Path, minilm: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for version in ("1", "2"):
        models(capsys, "add", "m", minilm, "--version", version, "--kind", "embedder")
        models(capsys, "verify", "m")
        models(capsys, "warm", f"m@{version}")
        models(capsys, "promote", "m", version)
    assert models(capsys, "promote", "m", "--back") == {
        "name": "m",
        "promoted": "1",
        "before": "2",
    }
    assert models(capsys, "remove", "m@2") == {"removed": "m@2"}
    assert [v["version"] for v in models(capsys, "list")["models"][0]["versions"]] == ["1"]
    with quiet():
        assert main(["models", "list"]) == 0
    assert "promoted, verified, warmed" in capsys.readouterr().out
