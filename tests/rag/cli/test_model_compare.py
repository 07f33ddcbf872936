"""`rag models compare` and `warm` on a real engine: rounded weights beside exact ones. In order."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from benchmarks._models import quiet
from rag.cli.main import main
from tests.forked_vllm import fork_engines
from tests.tiny_llama import make_adapter
from tests.trained_llama import make_trained_llama, rounded

pytestmark = [
    pytest.mark.skipif(find_spec("vllm") is None, reason="vllm is not installed: docs/vllm.md"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch"),
    pytest.mark.filterwarnings("ignore::FutureWarning:vllm"),
    pytest.mark.timeout(1800),  # two engines for each model, on a busy machine
]

TEXTS = [
    "The pump of the Falcon weighs 40 kg and was built in Bremen in 1987.",
    "Anna Keller leads the workshop in Graz, which has twelve rooms.",
    "The warranty of the Heron covers three years, except for the seals.",
    "The bridge over the Mur is 210 metres long and was opened in 1903.",
]
QUESTIONS = [
    ("How heavy is the pump of the Falcon?", "40 kg"),
    ("Who leads the workshop in Graz?", "Anna Keller"),
    ("How many years does the warranty of the Heron cover?", "three years"),
    ("How long is the bridge over the Mur?", "210 metres"),
]
ENGINE = {"dtype": "float32", "enforce_eager": True, "kv_cache_memory_bytes": 64 << 20}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, two with rounded weights, a set of questions, and documents."""
    folder = tmp_path_factory.mktemp("compare")
    exact = make_trained_llama(folder / "exact", TEXTS)
    for bits in (16, 2):
        rounded(exact, folder / f"bits{bits}", bits=bits)
    (folder / "set" / "qrels").mkdir(parents=True)
    corpus = [{"_id": f"d{i}", "title": "", "text": text} for i, text in enumerate(TEXTS)]
    queries = [
        {"_id": f"q{i}", "text": text, "metadata": {"answers": [gold]}}
        for i, (text, gold) in enumerate(QUESTIONS)
    ]
    (folder / "set" / "corpus.jsonl").write_text("\n".join(map(json.dumps, corpus)))
    (folder / "set" / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
    judged = ["query-id\tcorpus-id\tscore", *(f"q{i}\td{i}\t1" for i in range(len(TEXTS)))]
    (folder / "set" / "qrels" / "test.tsv").write_text("\n".join(judged) + "\n")
    for place, text in enumerate(TEXTS):
        (folder / f"note{place}.txt").write_text(text)
    return folder


@pytest.fixture(autouse=True)
def _forked(monkeypatch: pytest.MonkeyPatch) -> None:
    fork_engines(monkeypatch)


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    generator = {"kind": "vllm", "model": "registry:tiny@1", "max_tokens": 32, "engine": ENGINE}
    monkeypatch.setenv("RAG_DATA_DIR", str(folder / "data"))
    monkeypatch.chdir(folder)

    def run(*arguments: object, code: int = 0, engine: bool = True) -> Any:
        if engine:
            monkeypatch.setenv("RAG_GENERATOR", json.dumps(generator))
        else:
            monkeypatch.delenv("RAG_GENERATOR", raising=False)
        capsys.readouterr()
        with quiet():
            ended = main([*map(str, arguments), "--json"])
        printed = capsys.readouterr()
        assert ended == code, printed.out + printed.err
        return json.loads(printed.out) if printed.out else printed.err

    return run


def test_only_a_rounded_model_that_is_not_worse_is_promoted(folder: Path, run: Any) -> None:
    def added(version: str, path: str, *more: str) -> None:
        run("models", "add", "tiny", folder / path, "--version", version, "--kind", "generator",
            *more)  # fmt: skip
        run("models", "verify", f"tiny@{version}")

    added("1", "exact")
    added("q16", "bits16", "--quantized")
    added("q2", "bits2", "--quantized")
    run("ingest", *folder.glob("note*.txt"), engine=False)
    run("query", QUESTIONS[0][0], engine=False)
    run("query", QUESTIONS[1][0], engine=False)
    assert run("models", "warm", "tiny@q16")["seconds"] > 0
    assert "was not compared" in run("models", "promote", "tiny", "q16", code=2)

    def compared(version: str, *more: str, code: int) -> Any:
        both = ("tiny@1", f"tiny@{version}")
        return run("models", "compare", *both, "--set", folder / "set", *more, code=code)

    # There are four questions: with weights of 8 bits, one may be lost by chance.
    good = compared("q16", "--collection", "default", code=0)
    assert good["passed"]
    assert abs(good["report"]["perplexity"]["rise"]) < 0.01
    assert good["report"]["perplexity"]["tokens"] > 50
    assert good["report"]["score"]["questions"] == 4
    assert good["report"]["score"]["reference"] > 0
    assert good["report"]["answers"]["questions"] == 2
    bad = compared("q2", code=1)
    assert not bad["passed"]
    assert "perplexity is" in bad["report"]["faults"][0]
    assert run("models", "promote", "tiny", "q16")["promoted"] == "q16"
    (listed,) = run("models", "list")["models"]
    assert [v["comparison"] and v["comparison"]["passed"] for v in listed["versions"]] == [
        None,
        True,
        False,
    ]


def test_an_adapter_is_warmed_on_the_generator_of_the_settings(folder: Path, run: Any) -> None:
    style = make_adapter(folder / "style")
    run("models", "add", "style", style, "--version", "1", "--kind", "adapter")
    assert run("models", "warm", "style@1")["kind"] == "adapter"


def test_what_cannot_be_compared_is_said(folder: Path, run: Any) -> None:
    def refused(*arguments: object) -> str:
        said: str = run("models", "compare", *arguments, code=2)
        return said

    assert "no model 'tony'" in refused("tony", "tiny@q16", "--set", folder / "set")
    no_texts = ("tiny@1", "tiny@q16", "--set", folder / "set", "--texts", folder / "none.txt")
    assert "cannot be read" in refused(*no_texts)
