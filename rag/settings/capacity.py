"""Settings of the capacity planner: GPUs, prices, and shares of the hardware that are reached."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, field_validator

from rag.settings.base import Part


class GpuKind(Part):
    """One kind of GPU, as its maker describes it, what an engine reaches on it, and its price."""

    memory_gib: float = Field(gt=0, le=10_000, description="As nvidia-smi reports it, in GiB.")
    bandwidth: float = Field(gt=0, le=1e6, description="Of its memory, GB/s.")
    tflops: float = Field(gt=0, le=1e6, description="Dense, bfloat16, 10¹²/s.")
    fp8_tflops: float | None = Field(None, gt=0, le=1e6, description="The same in FP8; none: it"
                                     " has no FP8.")  # fmt: skip
    link: float = Field(gt=0, le=1e5, description="To another GPU of the machine, one way, GB/s.")
    together: int = Field(8, ge=1, le=1024, description="GPUs of one machine.")
    bandwidth_share: float | None = Field(
        None, gt=0, le=1, description="None: capacity.bandwidth_share."
    )
    flops_share: float | None = Field(None, gt=0, le=1, description="None: capacity.flops_share.")
    step_ms: float = Field(0.5, ge=0, le=1e4, description="Overhead of a step: scheduling.")
    layer_ms: float = Field(0.01, ge=0, le=1e3, description="Overhead of a layer: launches.")
    single_bandwidth: float | None = Field(
        None, gt=0, le=1e6, description="Reached by a step of one request, GB/s; none: no less."
    )
    overlaps: bool = Field(True, description="It reads memory while it computes; a CPU does not.")
    price: float | None = Field(None, ge=0, description="Of an hour; none: costs are left out.")
    priced: str = Field("", description="Where the price is from, and its date.")


_DATASHEET = {
    "h100": {"memory_gib": 79.6, "bandwidth": 3350, "tflops": 989, "fp8_tflops": 1979, "link": 450},
    "h200": {
        "memory_gib": 140.4,
        "bandwidth": 4800,
        "tflops": 989,
        "fp8_tflops": 1979,
        "link": 450,
    },
    "b200": {
        "memory_gib": 179.1,
        "bandwidth": 8000,
        "tflops": 2250,
        "fp8_tflops": 4500,
        "link": 900,
    },
    "a100": {"memory_gib": 80.0, "bandwidth": 2039, "tflops": 312, "link": 300},
    "l40s": {"memory_gib": 45.0, "bandwidth": 864, "tflops": 362, "fp8_tflops": 733, "link": 32},
    "l4": {"memory_gib": 22.5, "bandwidth": 300, "tflops": 121, "fp8_tflops": 242, "link": 32},
}
"""H100 SXM, H200 SXM, B200 SXM, A100 SXM 80 GB, L40S, L4: NVIDIA's data sheets, rates without
sparsity."""
_PRICES = {
    "h100": (3.99, "USD, RunPod Secure Cloud, runpod.io/pricing, 2026-11-09"),
    "h200": (4.59, "USD, RunPod Secure Cloud, runpod.io/pricing, 2026-10-07"),
    "b200": (6.79, "USD, RunPod Secure Cloud, runpod.io/pricing, 2026-10-07"),
    "a100": (1.79, "USD, RunPod Secure Cloud, runpod.io/pricing, 2026-11-09"),
}
"""On demand. The same H100 costs 2.69 to 12.29 USD elsewhere
(github.com/datareceipts/data-receipts, 109-gpu-pricing, 2026-11-09)."""
GPUS: dict[str, dict[str, Any]] = {
    name: dict(sheet)
    | ({"price": _PRICES[name][0], "priced": _PRICES[name][1]} if name in _PRICES else {})
    for name, sheet in _DATASHEET.items()
}


EMBEDDER_TOKENS = 12_000
"""Of a worker that has one core, with the default embedder: 9,800 tokens/s on an AMD EPYC with
AVX512-VNNI (2026-11-30), and some 15,000 on another machine (2026-11)."""


class CapacitySettings(Part):
    """The planner's table of GPUs, and what it assumes."""

    gpus: Mapping[str, GpuKind] = Field(
        {name: GpuKind(**values) for name, values in GPUS.items()},
        description="By name; those given here are added, or change the known one's values.",
    )
    currency: str = Field("USD", max_length=8, description="Of all prices of the planner.")
    bandwidth_share: float = Field(
        0.6, gt=0, le=1, description="Of the memory's bandwidth that decoding reaches."
    )
    flops_share: float = Field(
        0.4, gt=0, le=1, description="Of the arithmetic that reading prompts reaches."
    )
    memory_share: float = Field(
        0.92, gt=0, le=1, description="Of a GPU's memory that the engine may take."
    )
    load: float = Field(0.7, gt=0, le=1, description="Of the throughput that the peak may take.")
    memory_price: float = Field(
        0.0102, ge=0, description="Of a GiB of RAM for an hour, with its share of a CPU."
    )
    disk_price: float = Field(0.08, ge=0, description="Of a GiB of disk for a month.")
    embedder_tokens: float = Field(
        EMBEDDER_TOKENS,
        gt=0,
        description="That one worker embeds in a second, with all cores, or the GPU, that it has.",
    )

    @field_validator("gpus", mode="before")
    @classmethod
    def _complete(cls, gpus: Any) -> Any:
        """Adds the known GPUs, and to a known one the values that are not given."""
        if not isinstance(gpus, Mapping):
            return gpus
        given = {
            name: {**GPUS.get(name, {}), **values} if isinstance(values, dict) else values
            for name, values in gpus.items()
        }
        return {**GPUS, **given}
