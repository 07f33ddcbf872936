"""What vLLM's engines reach on this machine, from the times of three small ones.

The engines have random weights. Each figure is a difference between two times, so what both have in
common is in neither of them:

- layer: two narrow engines, of 24 and of 4 layers, a step of one request;
- step: what the narrow engine of 4 layers takes besides its layers;
- arithmetic: two prompts on the wide engine;
- bandwidth: a wide and a narrow engine of 4 layers, a step of one request. On a CPU, which reads
  and then computes, also a step of a batch, without what it computes: one request may be multiplied
  by another kernel, which reads more slowly. Where computing is all of that step, as without
  instructions for bfloat16, reading counts as `MIN_READING` of it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from generation.models.vllm_timing import Device, Engine, Run, Timed
from rag.errors import UpstreamError
from rag.operations.capacity.config_fields import Fields
from rag.operations.capacity.model_shape import ModelShape
from rag.operations.capacity.reading import shape_of
from rag.settings.capacity import GpuKind

Call = Callable[[Engine], Awaitable[Timed]]
HERE = "here"
"""The name of this machine among the kinds of GPUs."""
ROUNDS = 3
DEEP, SHALLOW = 24, 4
"""Layers."""
NARROW = {"hidden_size": 128, "intermediate_size": 256, "num_attention_heads": 2}
"""Hardly a byte: a layer has 0.3 MiB."""
WIDE_ON_CPU = {"hidden_size": 2048, "intermediate_size": 8192, "num_attention_heads": 16}
"""0.5 GiB in four layers: past every cache, and a step of some 20 ms."""
WIDE_ON_GPU = {"hidden_size": 8192, "intermediate_size": 28_672, "num_attention_heads": 64}
"""The layers of Llama 3 70B with multi-head attention, 7.2 GiB in four: a step of 1 to 3 ms."""
PROMPT, ANSWER = 64, 33
BATCH = 8
"""Requests of a batch: more than kernels for single rows take, and so few that it reads as long as
it computes."""
SHORT_PROMPT, LONG_PROMPT = 256, 768
CONTEXT = PROMPT + ANSWER // 2
"""Tokens that a step attends to, on average."""
MIN_READING = 0.05
"""The least share of a batch's step on a CPU that counts as reading: less is lost in the error of
the time of computing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineRates:
    """The rates that engines reach.

    Attributes:
        bandwidth: GB/s of the memory.
        single_bandwidth: the same in a step of one request; None: it is not slower.
        tflops: 10¹² operations in a second.
        step_ms: overhead of a step.
        layer_ms: overhead of a layer.
    """

    device: Device
    bandwidth: float
    single_bandwidth: float | None
    tflops: float
    step_ms: float
    layer_ms: float

    @property
    def kind(self) -> GpuKind:
        """This machine as a kind of GPU, of which an engine has one."""
        return GpuKind(
            memory_gib=self.device.memory_gib,
            bandwidth=self.bandwidth,
            single_bandwidth=self.single_bandwidth,
            tflops=self.tflops,
            link=1,
            together=1,
            bandwidth_share=1,
            flops_share=1,
            step_ms=self.step_ms,
            layer_ms=self.layer_ms,
            overlaps=not self.device.on_cpu,
        )


def llama(layers: int, sizes: Mapping[str, int]) -> dict[str, Any]:
    """Returns the configuration of a Llama with so many layers and hardly a vocabulary."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "max_position_embeddings": 4096,
        "num_hidden_layers": layers,
        "rms_norm_eps": 1e-5,
        "torch_dtype": "bfloat16",
        "vocab_size": 320,
        **sizes,
    }


def step_runs(batch: int) -> tuple[Run, Run]:
    """Returns a short and a long run of a batch; see `step_seconds`."""
    short, long = (Run(batch=batch, prompt=PROMPT, tokens=tokens) for tokens in (1, ANSWER))
    return short, long


def step_seconds(short: float, long: float) -> float:
    """Returns the time of a step, from the times of a short and a long run."""
    return (long - short) / (ANSWER - 1)


async def machine_rates(call: Call, device: Device) -> MachineRates:
    """Measures three engines; `call` times one.

    Raises:
        UpstreamError: The times contradict each other, because other programs were running.
    """
    narrow = llama(SHALLOW, NARROW)
    wide = llama(SHALLOW, WIDE_ON_CPU if device.on_cpu else WIDE_ON_GPU)
    prompts = [Run(batch=1, prompt=size, tokens=1) for size in (SHORT_PROMPT, LONG_PROMPT)]
    deep = step_seconds(*(await _times(call, llama(DEEP, NARROW), step_runs(1))))
    shallow = step_seconds(*(await _times(call, narrow, step_runs(1))))
    runs = (*step_runs(1), *step_runs(BATCH), *prompts)
    *steps, short, long = await _times(call, wide, runs)
    one_layer = _positive(deep - shallow) / (DEEP - SHALLOW)
    rate = _more_operations(wide) / _positive(long - short)
    single = _more_read(wide, narrow, 1) / _positive(step_seconds(*steps[:2]) - shallow)
    batched = single
    if device.on_cpu:
        step = _positive(step_seconds(*steps[2:]) - shallow)
        reading = max(step - _step_operations(wide, BATCH) / rate, MIN_READING * step)
        batched = _more_read(wide, narrow, BATCH) / reading
    return MachineRates(
        device=device,
        bandwidth=batched / 1e9,
        single_bandwidth=single / 1e9 if single < batched else None,
        tflops=rate / 1e12,
        step_ms=max(0.0, shallow - SHALLOW * one_layer) * 1e3,
        layer_ms=one_layer * 1e3,
    )


def _positive(seconds: float) -> float:
    """Returns the time that more work takes.

    Raises:
        UpstreamError: It takes none.
    """
    if seconds <= 0:
        raise UpstreamError(
            "The times of the engines contradict each other: an engine with more work was faster."
            " Measure again while nothing else is running."
        )
    return seconds


async def _times(call: Call, config: dict[str, Any], runs: tuple[Run, ...]) -> tuple[float, ...]:
    return (await call(Engine(config=config, runs=runs, rounds=ROUNDS))).seconds


def _more_read(config: dict[str, Any], other: dict[str, Any], batch: int) -> float:
    """Returns the bytes that a step of a batch reads more in one engine than in the other."""
    return _read(config, batch) - _read(other, batch)


def _read(config: dict[str, Any], batch: int) -> float:
    shape = _shape(config)
    size = shape.element_bytes
    return shape.read_bytes(size, tokens=batch) + batch * shape.kv_bytes(CONTEXT, element=size)


def _step_operations(config: dict[str, Any], batch: int) -> float:
    """Returns the operations of a step of a batch."""
    return batch * sum(_shape(config).step_operations(CONTEXT))


def _more_operations(config: dict[str, Any]) -> float:
    """Returns the operations that the long prompt needs more than the short one."""
    shape = _shape(config)
    long, short = (sum(shape.prompt_operations(size)) for size in (LONG_PROMPT, SHORT_PROMPT))
    return long - short


def _shape(config: dict[str, Any]) -> ModelShape:
    return shape_of(Fields(config, source="a timed engine"), name="timed")
