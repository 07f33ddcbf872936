"""Parameters and caches of published models: by formula, by transformers, by their makers."""

from __future__ import annotations

import json
import math
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from rag.operations.capacity.config_fields import Fields
from rag.operations.capacity.decoders import DECODERS, LATENT
from rag.operations.capacity.hybrids import HYBRIDS
from rag.operations.capacity.reading import shape_of
from rag.operations.capacity.weight_formats import FORMATS
from tests.fork_server import run_forked
from tests.forked import run_module
from tests.forked_vllm import VllmProcess
from tests.model_configs import configs, published

GIB, MIB = 1 << 30, 1 << 20

# Parameters


BILLIONS = {
    # name: all, active; where two figures differ in the last digit, the makers rounded.
    "Meta-Llama-3.1-8B": (8.03, None),
    "Meta-Llama-3.1-70B": (70.6, None),
    "Meta-Llama-3.1-405B": (405.9, None),
    "Mixtral-8x7B-v0.1": (46.7, 12.9),  # mistral.ai/news/mixtral-of-experts
    "Qwen3-8B": (8.2, None),
    "Qwen3-30B-A3B": (30.5, 3.3),
    "DeepSeek-V3": (671.0, 37.0),  # arxiv.org/abs/2412.19437
    "DeepSeek-V2-Lite": (15.7, 2.4),  # arxiv.org/abs/2405.04434
    "Kimi-K2-Instruct": (1_026.0, 32.0),
    "gpt-oss-120b": (116.8, 5.13),  # the model card's table 1
    "gpt-oss-20b": (20.9, 3.61),
    "Jamba-v0.1": (51.6, 12.0),  # arxiv.org/abs/2403.19887
    "NVIDIA-Nemotron-3-Nano-30B-A3B-BF16": (31.6, 3.2),
    "Nemotron-H-56B-Base-8K": (56.0, None),
    "Falcon-H1-7B": (7.59, None),
    "gemma-2b": (2.51, None),
    "gemma-2-2b": (2.61, None),
    "gemma-3-27b": (27.0, None),  # 27.4 with its part for images
    "Mistral-7B-v0.1": (7.24, None),
    "Llama-2-7b": (6.74, None),
}


@pytest.mark.parametrize("name", sorted(BILLIONS))
def test_parameters_are_those_that_were_published(name: str) -> None:
    every, active = BILLIONS[name]
    model = published(name)
    assert model.parameters / 1e9 == pytest.approx(every, rel=0.007)
    if active is not None:  # some makers count the table of tokens, which is looked up
        table = model.embeddings - model.output
        nearest = min((model.active, model.active + table), key=lambda n: abs(n - active * 1e9))
        assert nearest / 1e9 == pytest.approx(active, rel=0.04)


SMALLER: dict[str, dict[str, Any]] = {
    # What the class leaves open, or has too few of to tell one number from another.
    "deepseek_v2": {
        **configs()["DeepSeek-V2-Lite"],
        "q_lora_rank": 64,
        "model_type": "deepseek_v2",
        "num_hidden_layers": 3,
    },
    "glm4_moe": {"head_dim": 128, "use_qk_norm": True, "num_hidden_layers": 3},
}


KINDS = sorted({*DECODERS, *LATENT, *HYBRIDS} - {"kimi_k2"})  # which is DeepSeek-V3's code


@pytest.fixture(scope="module")
def counted() -> dict[str, dict[str, Any]]:
    if find_spec("transformers") is None:
        pytest.skip("transformers is not installed: it comes with the extra torch")
    changes = json.dumps({kind: SMALLER.get(kind, {}) for kind in KINDS})
    done = run_forked("model", run_module, "tests.transformers_counts", stdin=changes.encode())
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, Any]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_are_those_of_transformers_own_model(
    counted: dict[str, dict[str, Any]], kind: str
) -> None:
    shape = shape_of(Fields(counted[kind]["config"], source=kind), name=kind)
    assert shape.parameters == counted[kind]["parameters"]


@pytest.mark.parametrize("name", ["gpt-oss-120b", "gpt-oss-20b"])
def test_weights_of_mxfp4_are_the_published_checkpoint_s(name: str) -> None:
    """Table 1 of the model card: 60.8 and 12.8 GiB."""
    size = published(name).weight_bytes(FORMATS["mxfp4"]) / GIB
    assert size == pytest.approx({"gpt-oss-120b": 60.8, "gpt-oss-20b": 12.8}[name], abs=0.06)


# Keys and values


def kv(name: str, tokens: int = 1, *, element: float = 2) -> float:
    return published(name).kv_bytes(tokens, element=element)


def test_the_cache_of_llama_3_70b() -> None:
    assert kv("Meta-Llama-3.1-70B") == 2 * 80 * 8 * 128 * 2 == 327_680
    assert kv("Meta-Llama-3.1-70B", 4096) == 1_280 * MIB
    assert 128 * kv("Meta-Llama-3.1-70B", 4096) == 160 * GIB


@pytest.mark.parametrize(
    ("name", "published_bytes"),
    [
        # Insights into DeepSeek-V3, https://arxiv.org/abs/2505.09343, table 1: KB of 1,000 bytes.
        ("DeepSeek-V3", 70_272),
        ("Meta-Llama-3.1-405B", 516_096),
        # PagedAttention, https://arxiv.org/abs/2309.06180, section 3: 40 layers of 5,120.
        ("Llama-2-13b", 800 * 1024),
        ("gemma-2b", 2 * 18 * 1 * 256 * 2),  # multi-query
    ],
)
def test_bytes_of_a_token_are_those_of_papers(name: str, published_bytes: int) -> None:
    assert kv(name) == published_bytes


@pytest.mark.parametrize(
    ("name", "gib"), [("Llama-2-7b", 128), ("Mixtral-8x7B-v0.1", 32), ("Jamba-v0.1", 4)]
)
def test_caches_of_256_k_tokens_are_those_of_jamba_s_paper(name: str, gib: int) -> None:
    """Jamba, https://arxiv.org/abs/2403.19887, table 1: 256 K tokens in 16 bits."""
    assert kv(name, 256 * 1024) == gib * GIB


@pytest.mark.parametrize(
    ("name", "claimed", "mistake"),
    [
        # "2 × 40 × 5120 × 2 × 2 = 1.6 MB" for LLaMA-13B: keys and values are counted twice.
        ("Llama-2-13b", 1.6e6, 2),
        # "12.8 MB per token (LLaMA-70B)", "2.6 MB per token": as if each of 64 query heads had its
        # own keys; grouped-query attention has 8 of them.
        ("Meta-Llama-3.1-70B", 2.6e6, 64 / 8),
        # "2-4 MB per token" for Llama-8B: 32 heads in place of 8, in 32 bits, and keys and values
        # twice.
        ("Meta-Llama-3.1-8B", 2e6, 32 / 8 * 2 * 2),
        # "1.6 MB per token (LLaMA-7B)": multi-head attention, and 0.5 MB; three times too much.
        ("Llama-2-7b", 1.6e6, 3),
    ],
)
def test_claims_of_megabytes_for_a_token_are_mistakes(
    name: str, claimed: float, mistake: float
) -> None:
    """Figures from public repositories that the formula contradicts, and why."""
    assert claimed / kv(name) == pytest.approx(mistake, rel=0.05)


def test_a_claim_of_340_gb_leaves_the_groups_out() -> None:
    """2 · layers · hidden · tokens · bytes: eight times what 128 K tokens of Llama 3.1 70B take."""
    assert 8 * kv("Meta-Llama-3.1-70B", 131_072) == 2 * 80 * 8192 * 131_072 * 2
    assert 8 * kv("Meta-Llama-3.1-70B", 131_072) == pytest.approx(340e9, rel=0.02)


def test_windows_bound_what_layers_keep() -> None:
    each = 2 * 8 * 128 * 2
    assert kv("Mistral-7B-v0.1", 4096) == 32 * each * 4096
    assert kv("Mistral-7B-v0.1", 32_768) == 32 * each * 4096  # all layers slide
    # Gemma 2: every second layer sees all; gpt-oss the same, with 128 tokens.
    assert kv("gemma-2-2b", 8192) == 2 * 4 * 256 * 2 * 13 * (4096 + 8192)
    assert kv("gpt-oss-120b", 10_000) == 2 * 8 * 64 * 2 * 18 * (128 + 10_000)
    # Gemma 3: every sixth; 62 layers have ten that see all.
    assert kv("gemma-3-27b", 100_000) == 2 * 16 * 128 * 2 * (52 * 1024 + 10 * 100_000)


def test_a_window_that_is_switched_off_is_none() -> None:
    assert published("Qwen3-8B", sliding_window=4096).kv_bytes(8192, element=2) == (
        kv("Qwen3-8B", 8192)
    )
    used = published("Qwen3-8B", sliding_window=4096, use_sliding_window=True, max_window_layers=28)
    assert used.kv_bytes(8192, element=2) == 2 * 8 * 128 * 2 * (28 * 8192 + 8 * 4096)


def test_gpus_share_heads_and_copy_those_that_are_too_few() -> None:
    llama, latent = published("Meta-Llama-3.1-70B"), published("DeepSeek-V3")
    assert llama.kv_bytes(1, element=2, gpus=8) == 327_680 / 8
    assert llama.kv_bytes(1, element=2, gpus=16) == 327_680 / 8  # vLLM copies heads
    assert latent.kv_bytes(1, element=2, gpus=8) == 70_272  # all heads share what is kept


def test_experts_that_a_batch_reads() -> None:
    """One token reads the chosen ones; many tokens read almost all."""
    model = published("Mixtral-8x7B-v0.1")
    one, many = (model.read_bytes(2, tokens=n) for n in (1, 64))
    assert one == pytest.approx(2 * model.active)
    assert many == pytest.approx(2 * (model.parameters - model.embeddings + model.output), rel=1e-6)


# States


def write_states(path: Path) -> None:
    """Writes the elements of the states of one layer, by vLLM, for each of some models."""
    from vllm.model_executor.layers.mamba.mamba_utils import MambaStateShapeCalculator as Shapes

    shapes = {
        "Jamba-v0.1": Shapes.mamba1_state_shape(1, 8192, 16, 4),
        "Nemotron-H-56B-Base-8K": Shapes.mamba2_state_shape(1, 16384, 8, 256, 64, 256, 4),
        "NVIDIA-Nemotron-3-Nano-30B-A3B-BF16": Shapes.mamba2_state_shape(
            1, 4096, 8, 64, 64, 128, 4
        ),
        "Qwen3-Next-80B-A3B": Shapes.gated_delta_net_state_shape(1, 16, 32, 128, 128, 4),
    }
    sizes = {name: [math.prod(each) for each in found] for name, found in shapes.items()}
    path.write_text(json.dumps(sizes))


def test_states_are_those_of_vllm(tmp_path: Path) -> None:
    if find_spec("vllm") is None:
        pytest.skip("vllm is not installed (docs/vllm.md)")
    # In a process of its own, which vLLM fills.
    process = VllmProcess(target=write_states, args=(tmp_path / "states",))
    process.start()
    process.join()
    found: dict[str, list[int]] = json.loads((tmp_path / "states").read_text())
    layers = {"Jamba-v0.1": 28, "Nemotron-H-56B-Base-8K": 54, "Qwen3-Next-80B-A3B": 36}
    for name, count in layers.items():
        assert published(name).request_bytes() == count * 2 * sum(found[name])
    nano = "NVIDIA-Nemotron-3-Nano-30B-A3B-BF16"
    conv, state = found[nano]
    assert published(nano).request_bytes() == 23 * (2 * conv + 4 * state)  # float32, as it asks


def test_hybrids_keep_keys_of_their_attention_alone() -> None:
    assert kv("Qwen3-Next-80B-A3B") == 12 * 2 * 2 * 256 * 2
    assert kv("NVIDIA-Nemotron-3-Nano-30B-A3B-BF16") == 6 * 2 * 2 * 128 * 2
    assert kv("Falcon-H1-7B") == 44 * 2 * 2 * 128 * 2  # attention in each layer, beside a state
    assert published("Meta-Llama-3.1-8B").request_bytes() == 0
