"""Prometheus metrics of the GPUs that a process watches, by their UUIDs."""

from __future__ import annotations

from rag.telemetry import instruments

SLOWDOWNS = (
    "software_thermal", "power_cap", "hardware_slowdown", "hardware_thermal", "power_brake",
)  # fmt: skip
"""Reasons for which clocks are lower than they could be."""


def known(*, answers: bool) -> None:
    """Sets whether NVML answers; a process that does not watch has no such series."""
    instruments.gpus_known.labels("nvml").set(answers)


def healthy(gpu: str, *, is_healthy: bool) -> None:
    """Sets whether a GPU has no fault."""
    instruments.gpu_healthy.labels(gpu).set(is_healthy)


def reading(
    gpu: str,
    *,
    celsius: float | None,
    memory_used: int | None,
    memory_total: int | None,
    watts: float | None,
    ecc: int | None,
    slowed: frozenset[str] | None,
) -> None:
    """Sets what a GPU says; of None there is no series."""
    for gauge, value in (
        (instruments.gpu_celsius, celsius),
        (instruments.gpu_memory_used, memory_used),
        (instruments.gpu_memory, memory_total),
        (instruments.gpu_watts, watts),
        (instruments.gpu_ecc, ecc),
    ):
        if value is not None:
            gauge.labels(gpu).set(value)
    if slowed is not None:
        for reason in SLOWDOWNS:
            instruments.gpu_slowed.labels(gpu, reason).set(reason in slowed)


def xid(gpu: str, number: int) -> None:
    """Counts an XID."""
    instruments.gpu_xids.labels(gpu, str(number)).inc()
