"""`rag plan --measure`: the rates of engines, and the plan that is made with them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from generation.models.vllm_timing import Device, Engine, EngineTimer, Timed
from rag.cli import plan_measuring
from rag.cli.main import main
from rag.cli.plan_measuring import Measured
from rag.errors import UpstreamError
from rag.operations.capacity import machine_rates
from rag.operations.capacity.config_fields import Fields
from rag.operations.capacity.machine_rates import MachineRates
from rag.operations.capacity.reading import shape_of
from rag.operations.capacity.serving import Serving
from rag.process.cores import core_count
from rag.settings.capacity import CapacitySettings, GpuKind
from rag.settings.tree import Settings

ASSUMED = CapacitySettings()
MIDDLE = {"hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16}
SHORT_RUNS = {"ROUNDS": 1, "ANSWER": 9, "SHORT_PROMPT": 128, "LONG_PROMPT": 384}
"""Constants of `machine_rates` with which an engine is timed in seconds."""
COMMAND = ("plan", "--model", ".", "--qps", "1", "--documents", "1000000")


@pytest.fixture
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the folder of a small model the current one."""
    monkeypatch.chdir(tmp_path)
    small = machine_rates.llama(12, machine_rates.WIDE_ON_CPU)
    (tmp_path / "config.json").write_text(json.dumps(small))


@pytest.mark.usefixtures("_folder")
def test_rag_plan_measures_this_machine(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Memory is within 15 %; times are not asserted, only that the plan is made with them."""
    pytest.importorskip("vllm")
    monkeypatch.setattr(plan_measuring, "EngineTimer", partial(EngineTimer, on_one_thread=True))
    for name, size in SHORT_RUNS.items():
        monkeypatch.setattr(machine_rates, name, size)
    asked = ["--measure", "--json", "--gpu", "b200", "--token-ms", "10000"]
    assert main([*COMMAND, *asked]) == 0
    body = json.loads(capsys.readouterr().out)
    figures, engine = body["measured"]["figures"], body["measured"]["engine"]
    index = figures["embedded index, generated chunks"]
    assert index["measured"] == pytest.approx(index["planned"], rel=0.15)
    rate = figures[f"embedding, one process on {core_count()} cores"]["measured"]
    hours = body["index"]["chunks"] * 77.28 / rate / 3600
    assert body["index"]["embedding_hours"] == pytest.approx(hours)
    here = body["gpus"][-1]
    assert (here["gpu"], here["fits"]) == ("here", True)
    overhead = engine["step_ms"] + 12 * engine["layer_ms"]
    assert here["token_seconds"] > overhead / 1e3 > 0
    assert any("A step on here takes" in each for each in body["assumptions"])
    assert not engine["overlaps"]
    assert body["measured"]["busy"] >= 0


def test_without_vllm_the_engine_stays_an_assumption() -> None:
    found = Measured(settings=Settings(), gpus=(), compared=(), rates=None, busy=0.1)
    assert found.lines()[-1].startswith("engine: vLLM is not installed here")
    assert found.as_json()["engine"] is None


def test_a_busy_machine_is_named() -> None:
    found = Measured(settings=Settings(), gpus=(), compared=(), rates=None, busy=1.5)
    assert found.lines()[-1].startswith("Before, 1.5 processes ran or waited for each core")


@pytest.mark.anyio
async def test_times_that_contradict_each_other_are_refused() -> None:
    """A deep engine cannot be faster than a shallow one."""

    async def timed(engine: Engine) -> Timed:
        layers = engine.config["num_hidden_layers"]
        seconds = (1.0, 2.0 - layers / 100, 1.0, 2.0, 1.0, 2.0)
        return Timed(seconds=seconds[: len(engine.runs)], cache_tokens=1)

    with pytest.raises(UpstreamError, match="contradict each other"):
        await machine_rates.machine_rates(timed, Device(name="", memory_gib=1, on_cpu=True))


def machine(**rates: Any) -> GpuKind:
    """Returns a CPU of known rates."""
    shares = {"bandwidth_share": 1.0, "flops_share": 1.0, "step_ms": 2.0, "layer_ms": 0.25}
    return ASSUMED.gpus["h100"].model_copy(update={**shares, "overlaps": False, **rates})


def served(config: Mapping[str, Any], gpu: GpuKind) -> Serving:
    shape = shape_of(Fields(config, source="a test"), name="test")
    return Serving(model=shape, gpu=gpu, assumed=ASSUMED, weights="none", kv_element=2)


async def rates_of(gpu: GpuKind, *, batch_share: float = 1.0) -> MachineRates:
    """Returns the rates that the times of engines on that machine give.

    A step of a batch takes that share of the time that its rates say.
    """

    async def timed(engine: Engine) -> Timed:
        one = served(engine.config, gpu)
        taken = [
            one.prompt_seconds(run.prompt)
            + (run.tokens - 1)
            * one.step_seconds(run.batch, machine_rates.CONTEXT)
            * (batch_share if run.batch > 1 else 1.0)
            for run in engine.runs
        ]
        return Timed(seconds=tuple(taken), cache_tokens=1)

    return await machine_rates.machine_rates(timed, Device(name="", memory_gib=1, on_cpu=True))


@pytest.mark.anyio
@pytest.mark.parametrize("single", [None, 16.0])
async def test_rates_are_differences_of_times(single: float | None) -> None:
    """A machine of known rates: its times give them back."""
    gpu = machine(bandwidth=20.0, tflops=0.5, single_bandwidth=single)
    found = await rates_of(gpu)
    assert found.bandwidth == pytest.approx(20, rel=0.05)
    # Without a slower kernel, one request is slower by what it computes alone.
    assert found.single_bandwidth == pytest.approx(single or 19, rel=0.05)
    planned = served(machine_rates.llama(12, MIDDLE), found.kind)
    given = replace(planned, gpu=gpu)
    for batch in (1, 2, 4, 16):
        step = planned.step_seconds(batch, machine_rates.CONTEXT)
        assert step == pytest.approx(given.step_seconds(batch, machine_rates.CONTEXT), rel=0.05)
    assert found.tflops == pytest.approx(0.5, rel=0.05)
    assert found.layer_ms == pytest.approx(0.25, rel=0.1)
    assert found.step_ms == pytest.approx(2, rel=0.1)


@pytest.mark.anyio
async def test_a_processor_that_hardly_computes_has_rates_too() -> None:
    """A batch is computed a little faster than a prompt, which is more than what reading takes."""
    found = await rates_of(machine(bandwidth=20.0, tflops=0.005), batch_share=0.95)
    assert found.tflops == pytest.approx(0.005, rel=0.05)
    assert 0 < found.bandwidth < 20
