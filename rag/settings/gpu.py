"""Settings of the health of GPUs."""

from __future__ import annotations

from pydantic import Field

from rag.settings.base import Part


class GpuHealthSettings(Part):
    """The GPUs of a process, and when one is unhealthy: the process then drains."""

    watch: bool = Field(False, description="Ask NVML about them; needs the extra `nvml`.")
    seconds: float = Field(5.0, gt=0, le=60, description="Between two looks.")
    patience_seconds: float = Field(
        30.0, ge=0, description="For which heat, throttling, memory or power count as passing."
    )
    celsius: float = Field(90.0, gt=0, description="Temperature, at most.")
    ecc_errors: int = Field(1, ge=1, description="New uncorrected ones that are too many.")
    xids: tuple[int, ...] = Field(
        (46, 48, 62, 64, 74, 79, 94, 95, 110, 119, 120, 140),
        description="XIDs of the driver after which a GPU is unhealthy.",
    )
    memory: float | None = Field(
        None, gt=0, le=1, description="Share of its memory in use, at most; none: any."
    )
    watts: float | None = Field(None, gt=0, description="Power, at most; none: any.")
