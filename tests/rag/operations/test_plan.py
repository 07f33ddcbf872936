"""Plans: what fits, how fast it is, what it costs, and `rag plan`."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rag.cli.main import main
from rag.errors import InputError
from rag.operations.capacity.gpu_choice import Choice, Refusal, choose
from rag.operations.capacity.index_size import chunks_of, edge_size, index_size
from rag.operations.capacity.load import Load
from rag.operations.capacity.load_plan import make_plan
from rag.operations.capacity.serving import GIB, Serving
from rag.settings.capacity import CapacitySettings
from rag.settings.ingest import RecursiveSettings, SectionSettings
from rag.settings.storage import QdrantSettings
from rag.settings.tree import Settings, load_settings
from tests.model_configs import configs, published

LOAD = Load(
    qps=10,
    documents=100_000,
    document_tokens=1_000,
    tokens_in=2_000,
    tokens_out=250,
    token_ms=50,
    mean=0.33,
)
ASSUMED = CapacitySettings()


def serving(name: str, gpu: str = "h100", **changed: Any) -> Serving:
    given: dict[str, Any] = {"weights": "none", "kv_element": 2.0} | changed
    return Serving(model=published(name), gpu=ASSUMED.gpus[gpu], assumed=ASSUMED, **given)


def chosen(name: str, gpu: str = "h100", load: Load = LOAD, **changed: Any) -> Choice:
    given: dict[str, Any] = {"weights": "none", "kv": 2.0} | changed
    found = choose(published(name), load, ASSUMED, gpu, **given)
    assert isinstance(found, Choice), found
    return found


# Memory


def test_weights_are_divided_among_gpus() -> None:
    one, eight = (serving("Meta-Llama-3.1-70B", tensor=n) for n in (1, 8))
    assert one.weight_bytes == 2 * 70_553_706_496 == eight.weight_bytes
    assert one.kv_room < 0 < eight.kv_room
    assert one.most_requests(1_000) == 0
    given = 79.6 * GIB * 0.92
    assert eight.kv_room == pytest.approx(
        given - one.weight_bytes / 8 - eight.activation_bytes - 1.5 * GIB
    )


def test_quantized_matrices_and_the_rest() -> None:
    """4-bit AWQ of Llama 3.1 70B: a scale and a zero for each 128, embeddings and output in 16."""
    model = published("Meta-Llama-3.1-70B")
    embeddings = 2 * 128_256 * 8_192
    norms = (2 * 80 + 1) * 8_192
    matrices = model.parameters - embeddings - norms
    assert serving("Meta-Llama-3.1-70B", weights="int4").weight_bytes == pytest.approx(
        matrices * (4 + 20 / 128) / 8 + 2 * (embeddings + norms)
    )


def test_a_cache_in_fp8_takes_twice_the_requests() -> None:
    two, one = (
        serving("Meta-Llama-3.1-70B", tensor=8, kv_element=element) for element in (2.0, 1.0)
    )
    assert one.most_requests(20_000) in (
        2 * two.most_requests(20_000),
        2 * two.most_requests(20_000) + 1,
    )


# Speed


def test_the_ceiling_is_bandwidth_by_bytes_read() -> None:
    """Llama 3.1 8B on an H100: 3,350 GB/s ÷ (its weights without the table, and the cache)."""
    model = published("Meta-Llama-3.1-8B")
    read = 2 * (8_030_261_248 - 128_256 * 4_096) + 1_000 * 131_072
    assert serving("Meta-Llama-3.1-8B").ceiling(1_000) == pytest.approx(3.35e12 / read)
    assert model.read_bytes(2, tokens=1) + 1_000 * 131_072 == read


def test_a_batch_shares_the_weights_until_arithmetic_or_caches_take_over() -> None:
    engine = serving("Meta-Llama-3.1-8B")
    steps = {n: engine.step_seconds(n, 2_000) for n in (1, 16, 64, 256)}
    assert steps[16] < 1.5 * steps[1]
    assert steps[256] > 2 * steps[64] > 2 * steps[16]
    assert list(steps.values()) == sorted(steps.values())


def test_a_mixture_reads_few_experts_for_few_tokens() -> None:
    """One token of Qwen3 30B-A3B reads a tenth of what its size suggests; a batch reads most."""
    engine = serving("Qwen3-30B-A3B")
    assert engine.matrix_bytes(1) < 0.12 * engine.weight_bytes
    assert engine.matrix_bytes(128) > 0.9 * engine.weight_bytes


def test_a_prompt_is_arithmetic() -> None:
    """2 operations for each parameter and token, and those of attention."""
    model = published("Meta-Llama-3.1-8B")
    attention = 32 * 2 * 32 * 128 * 1_000 / 2
    products = 1_000 * (model.active + attention - model.output) + model.output
    expected = 2 * products / (989e12 * 0.4)
    assert seconds_of_prompt("h100", "none") == pytest.approx(expected)
    assert seconds_of_prompt("h100", "fp8") == pytest.approx(expected * 989 / 1979)
    assert seconds_of_prompt("a100", "fp8") == pytest.approx(expected * 989 / 312)  # it has no FP8


def seconds_of_prompt(gpu: str, weights: str) -> float:
    """Returns the time of a prompt of 1,000 tokens without the overhead of its step."""
    engine = serving("Meta-Llama-3.1-8B", gpu, weights=weights)
    return engine.prompt_seconds(1_000) - engine.overhead_seconds


def test_matrices_and_attention_take_their_times_one_after_the_other() -> None:
    """Many requests: the matrices are bound by arithmetic, and attention by the caches' bytes."""
    engine = serving("Meta-Llama-3.1-8B")
    model = published("Meta-Llama-3.1-8B")
    matrices = 2 * 512 * model.active / (989e12 * 0.4)
    attention = 512 * 4_000 * 131_072 / (3350e9 * 0.6)
    overhead = 0.5e-3 + 32 * 10e-6
    assert engine.step_seconds(512, 4_000) == pytest.approx(matrices + attention + overhead)


def test_a_cpu_reads_and_then_computes() -> None:
    given = {"bandwidth_share": 1.0, "flops_share": 1.0, "step_ms": 0.0, "layer_ms": 0.0}
    gpu = ASSUMED.gpus["h100"].model_copy(update=given)
    model = published("Meta-Llama-3.1-8B")
    read = model.read_bytes(2, tokens=1) / 3350e9
    computed = 2 * model.active / 989e12

    def step(*, overlaps: bool) -> float:
        kind = gpu.model_copy(update={"overlaps": overlaps})
        one = Serving(model=model, gpu=kind, assumed=ASSUMED, weights="none", kv_element=2)
        return one.step_seconds(1, 0)

    assert step(overlaps=True) == pytest.approx(read)
    assert step(overlaps=False) == pytest.approx(read + computed)


def test_littles_law_holds() -> None:
    engine = serving("Meta-Llama-3.1-8B")
    rate = engine.questions_each_second(32, tokens_in=2_000, tokens_out=250)
    each = engine.token_seconds(32, tokens_in=2_000, tokens_out=250)
    latency = engine.prompt_seconds(2_000) + 250 * each
    assert rate * latency == pytest.approx(32)


# The choice


def test_the_fewest_gpus_that_are_fast_enough() -> None:
    choice = chosen("Meta-Llama-3.1-70B")
    assert choice.serving.tensor in (4, 8)
    assert choice.engines * choice.rate * 0.7 >= LOAD.qps
    assert (choice.engines - 1) * choice.rate * 0.7 < LOAD.qps
    rates = {"tokens_in": 2_000, "tokens_out": 250}
    assert choice.serving.token_seconds(choice.batch, **rates) <= 0.05
    assert choice.serving.token_seconds(choice.batch + 1, **rates) > 0.05
    assert choice.month == pytest.approx(choice.gpus * 3.99 * 730)


def test_a_tighter_time_takes_more_gpus() -> None:
    counts = [chosen("Meta-Llama-3.1-8B", load=replace(LOAD, token_ms=ms)).gpus for ms in (200, 20)]
    assert counts[0] < counts[1]
    impossible = choose(
        published("Meta-Llama-3.1-70B"),
        replace(LOAD, token_ms=1),
        ASSUMED,
        "l4",
        weights="none",
        kv=2,
    )
    assert isinstance(impossible, Refusal)
    assert "ms between tokens at best, 1 are allowed" in impossible.reason


def test_what_is_larger_than_a_machine_is_staged_over_several() -> None:
    assert chosen("DeepSeek-V3", weights="fp8").serving.gpus > 8
    one = ASSUMED.gpus["l4"].model_copy(update={"together": 1})
    lonely = CapacitySettings(gpus={"l4": one})
    refused = choose(published("DeepSeek-V3"), LOAD, lonely, "l4", weights="none", kv=2)
    assert isinstance(refused, Refusal)
    assert "8 GPUs have 22.5 GiB each; the weights take 156" in refused.reason


def test_heads_bound_the_split() -> None:
    """Falcon-H1's 12 heads are divided by 1, 2 and 4, not by 8."""
    load = replace(LOAD, token_ms=4)
    assert chosen("Falcon-H1-7B", load=load).serving.tensor <= 4


# The index


def test_chunks() -> None:
    assert chunks_of(10, 1, SectionSettings()) == 10
    assert chunks_of(1, 1_000, SectionSettings()) == 13  # 77 of 112 tokens each
    overlapping = RecursiveSettings(max_tokens=200, overlap=60)
    assert chunks_of(1, 1_000, overlapping) > chunks_of(1, 1_000, RecursiveSettings())


@pytest.mark.parametrize(
    # `python -m benchmarks.run scale`, whose chunks are longer than those of the plan.
    ("chunks", "own_mib", "disk_mib"),
    [(100_000, 66.4, 334.9), (300_000, 112.6, 936.6)],
)
def test_the_embedded_index_is_as_measured(chunks: int, own_mib: float, disk_mib: float) -> None:
    size = edge_size(chunks, dim=384, tokens=77, stored_tokens=False)
    assert size.memory / (1 << 20) == pytest.approx(own_mib, rel=0.15)
    assert size.disk / (1 << 20) == pytest.approx(disk_mib, rel=0.15)


def test_a_qdrant_server_follows_its_own_rule() -> None:
    """Qdrant's example: a million vectors of 1,024 are 6,144,000,000 bytes."""

    def size(**settings: Any) -> Any:
        server = QdrantSettings(kind="qdrant", **settings)
        return index_size(10**6, dim=1_024, tokens=77, stored_tokens=False, index=server)

    assert size().memory == 6_144_000_000
    assert size(replicas=3).memory == 3 * 6_144_000_000
    assert size(on_disk=True, quantization="int8").memory == 6_144_000_000 / 4
    assert size(quantization="int8").memory == 6_144_000_000 * 1.25


# The settings


def test_a_gpu_is_added_or_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rag.toml").write_text(
        "[capacity.gpus.h100]\nprice = 2.5\n"
        "[capacity.gpus.mine]\nmemory_gib = 48\nbandwidth = 1000\ntflops = 200\nlink = 32\n"
    )
    gpus = load_settings().capacity.gpus
    assert (gpus["h100"].price, gpus["h100"].bandwidth) == (2.5, 3350)
    assert gpus["mine"].price is None
    assert "l4" in gpus


def test_every_price_has_a_source_and_a_date() -> None:
    for name, gpu in ASSUMED.gpus.items():
        assert gpu.price is None or "2026-" in gpu.priced, name


# The command


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(configs()["Meta-Llama-3.1-70B"]))
    return tmp_path


def command(folder: Path, *more: str) -> list[str]:
    return ["plan", "--model", str(folder), "--qps", "10", "--documents", "1000000", *more]


def test_rag_plan_prints_a_table_and_its_assumptions(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(folder)) == 0
    printed = capsys.readouterr().out
    assert "70.55 billion parameters" in printed
    assert "327,680 bytes of KV cache for a token" in printed
    for name in ASSUMED.gpus:
        assert f"\n{name} " in printed
    assert "USD a month with" in printed
    assert "99.000% over 30 days: 432.0 minutes" in printed
    assert printed.index("Assumptions:") > printed.index("budget")
    assert "runpod.io/pricing" in printed
    assert list(folder.iterdir()) == [folder / "config.json"]  # nothing was opened


def test_the_error_budget_is_that_of_the_objectives(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAG_SLO__AVAILABILITY", "0.999")
    monkeypatch.setenv("RAG_SLO__DAYS", "7")
    assert main(command(folder)) == 0
    assert "99.900% over 7 days: 10.1 minutes" in capsys.readouterr().out


def test_rag_plan_as_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(folder, "--json", "--gpu", "h100", "--gpu", "l4")) == 0
    body = json.loads(capsys.readouterr().out)
    assert [each["gpu"] for each in body["gpus"]] == ["h100", "l4"]
    assert body["best"] == "h100"
    assert body["gpus"][1]["fits"] is False
    assert body["model"]["kv_bytes_per_token"] == 327_680
    assert body["question"] == pytest.approx(body["month"] / (10 * 0.33 * 730 * 3600))
    assert body["scaling"]["least"] <= body["scaling"]["most"] == body["gpus"][0]["engines"]
    # Thirteen chunks of 77 tokens for a document, 12,000 tokens/s, ten minutes.
    assert body["scaling"]["backlog"] == pytest.approx(600 * 12_000 / (13 * 77.28), rel=0.001)
    assert len(body["assumptions"]) > 8


def test_rag_plan_without_a_gpu_that_carries_the_load(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(folder, "--gpu", "l4", "--token-ms", "1")) == 1
    assert "No GPU of the table carries this load." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--gpu", "h1000"], "no GPU 'h1000' in capacity.gpus; there are h100"),
        (["--qps", "0"], "Questions in a second: 0 is not above 0"),
        (["--qps", "nan"], "Questions in a second: nan is not above 0"),
        (["--documents", "-1"], "Documents: -1 is not above 0"),
        (["--tokens-in", "10000000"], "do not fit the 131,072"),
        (["--mean", "1.5"], "The mean load: 1.5 is no share"),
        (["--quantization", "int3"], "The format of weights 'int3' is none of none, fp8"),
        (["--dim", "0"], "--dim 0 is no length"),
        (["--model", "nowhere"], "There is no nowhere"),
    ],
)
def test_what_rag_plan_refuses(
    folder: Path, capsys: pytest.CaptureFixture[str], more: list[str], says: str
) -> None:
    assert main(command(folder, *more)) == 2
    assert says in capsys.readouterr().err


def test_another_embedder_needs_the_length_of_its_vectors(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAG_EMBEDDER__MODEL", "models/e5")
    assert main(command(folder)) == 2
    assert "--dim says how long" in capsys.readouterr().err
    assert main(command(folder, "--dim", "1024")) == 0


def test_a_plan_imports_nothing_heavy() -> None:
    import subprocess

    code = (
        "import sys, rag.cli.plan; "
        "print([m for m in ('torch', 'onnxruntime', 'qdrant_edge', 'sqlalchemy')"
        " if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_price_of_a_question_is_that_of_the_mean_load() -> None:
    model = published("Meta-Llama-3.1-8B")
    plans = [
        make_plan(model, replace(LOAD, mean=mean), Settings(), gpus=["h100"], weights=None,
                  kv="auto", dim=384)
        for mean in (0.5, 0.25)
    ]  # fmt: skip
    busy, idle = (each.as_json()["question"] for each in plans)
    assert idle == pytest.approx(2 * busy)


def test_loads_that_cannot_be() -> None:
    with pytest.raises(InputError, match="Milliseconds between tokens: 0 is not"):
        replace(LOAD, token_ms=0)
