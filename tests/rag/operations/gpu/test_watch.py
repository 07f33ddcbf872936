"""The health of GPUs, by NVIDIA's own binding over a fake library: no GPU is asked."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pynvml
import pytest
from prometheus_client import REGISTRY

from rag.operations.gpu import nvml
from rag.operations.gpu import watching as watches
from rag.operations.gpu.judging import Judge
from rag.operations.gpu.nvml import NvmlError, Reading
from rag.operations.gpu.watching import GpuWatch, watching
from rag.settings.gpu import GpuHealthSettings
from tests.fake_nvml import MIG, UUID, install, say, uninstall

PROMPT: dict[str, Any] = {"watch": True, "seconds": 0.05, "patience_seconds": 0.0}
NOTHING: dict[str, Any] = dict.fromkeys(("celsius", "memory", "milliwatts", "ecc", "slowed"))


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file with what the library says."""
    monkeypatch.delenv(nvml.VISIBLE, raising=False)
    monkeypatch.setattr(watches, "AGAIN_SECONDS", 0.05)
    monkeypatch.setattr(nvml, "WAIT_MS", 50)
    file = tmp_path / "nvml.json"
    say(file)
    install(file)
    yield file
    uninstall()


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def metric(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)


@pytest.fixture
def gpus(library: Path) -> Iterator[GpuWatch]:
    with watching(GpuHealthSettings(**PROMPT)) as found:
        assert found is not None
        until(lambda: not found.unknown)
        yield found


def test_a_healthy_gpu_is_measured(gpus: GpuWatch) -> None:
    assert gpus.faults == ""
    assert metric("plumbline_gpus_known", source="nvml") == 1
    assert metric("plumbline_gpu_healthy", gpu=UUID) == 1
    assert metric("plumbline_gpu_temperature_celsius", gpu=UUID) == 60
    assert metric("plumbline_gpu_power_watts", gpu=UUID) == 300
    assert metric("plumbline_gpu_memory_used_bytes", gpu=UUID) == 8 << 30
    assert metric("plumbline_gpu_memory_total_bytes", gpu=UUID) == 80 << 30
    assert metric("plumbline_gpu_ecc_errors", gpu=UUID) == 3


@pytest.mark.parametrize(
    ("says", "fault"),
    [
        ({"celsius": 95}, "more than 90 °C"),
        ({"slowed": pynvml.nvmlClocksEventReasonHwThermalSlowdown}, "slowed: hardware_thermal"),
        ({"slowed": pynvml.nvmlClocksEventReasonHwPowerBrakeSlowdown}, "slowed: power_brake"),
    ],
)
def test_heat_and_throttling_are_faults_while_they_last(
    gpus: GpuWatch, library: Path, says: dict[str, Any], fault: str
) -> None:
    say(library, **says)
    until(lambda: fault in gpus.faults)
    assert metric("plumbline_gpu_healthy", gpu=UUID) == 0
    say(library, celsius=60, slowed=pynvml.nvmlClocksEventReasonSwPowerCap)
    until(lambda: not gpus.faults)
    assert metric("plumbline_gpu_slowed", gpu=UUID, reason="power_cap") == 1
    assert metric("plumbline_gpu_healthy", gpu=UUID) == 1


@pytest.mark.parametrize(
    ("says", "fault"),
    [
        ({"ecc": 4}, "1 new uncorrected ECC errors"),
        ({"xids": [13, 79]}, "XID 79"),
        ({"lost": True}, "It is lost: GPU is lost"),
    ],
)
def test_what_may_have_made_results_wrong_stays_a_fault(
    gpus: GpuWatch, library: Path, says: dict[str, Any], fault: str
) -> None:
    say(library, **says)
    until(lambda: fault in gpus.faults)
    say(library, ecc=3, xids=[13, 79], lost=False)
    time.sleep(0.2)
    assert fault in gpus.faults


def test_an_xid_of_an_application_is_counted_and_no_fault(gpus: GpuWatch, library: Path) -> None:
    before = metric("plumbline_gpu_xids_total", gpu=UUID, xid="31") or 0
    say(library, xids=[31])
    until(lambda: metric("plumbline_gpu_xids_total", gpu=UUID, xid="31") == before + 1)
    assert gpus.faults == ""


def test_what_a_gpu_does_not_say_is_no_fault(library: Path) -> None:
    say(library, events=False, **NOTHING)
    with nvml.opened() as opened:
        (gpu,) = opened.gpus()
        assert opened.read(gpu) == Reading()
        assert not opened.listen([gpu])
    with watching(GpuHealthSettings(**PROMPT, memory=0.5, watts=100)) as found:
        assert found is not None
        until(lambda: not found.unknown)
        assert found.faults == ""


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (pynvml.NVML_ERROR_DRIVER_NOT_LOADED, "Driver Not Loaded"),
        (pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH, "NVML/RM version mismatch"),
    ],
)
def test_a_driver_that_cannot_be_asked_is_unknown_and_no_fault_until_it_can(
    library: Path, code: int, says: str
) -> None:
    say(library, init=code)
    with watching(GpuHealthSettings(**PROMPT)) as found:
        assert found is not None
        until(lambda: says in found.unknown)
        assert found.faults == ""
        assert metric("plumbline_gpus_known", source="nvml") == 0
        say(library, init=0)
        until(lambda: not found.unknown)


def test_without_a_driver_nothing_is_known() -> None:
    uninstall()
    with watching(GpuHealthSettings(**PROMPT)) as found:
        assert found is not None
        until(lambda: "Shared Library Not Found" in found.unknown)
        assert found.faults == ""


@pytest.mark.parametrize(
    ("chosen", "uuids"),
    [(None, [UUID]), ("0", [UUID]), (UUID[:8], [UUID]), (MIG, [MIG]), ("-1", [])],
)
def test_the_gpus_are_those_of_cuda(
    library: Path, monkeypatch: pytest.MonkeyPatch, chosen: str | None, uuids: list[str]
) -> None:
    if chosen is not None:
        monkeypatch.setenv(nvml.VISIBLE, chosen)
    with nvml.opened() as opened:
        assert [gpu.uuid for gpu in opened.gpus()] == uuids


def test_a_mig_device_has_its_own_memory_and_the_xids_of_its_gpu(
    library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(nvml.VISIBLE, MIG)
    with watching(GpuHealthSettings(**PROMPT)) as found:
        assert found is not None
        until(lambda: not found.unknown)
        assert metric("plumbline_gpu_memory_total_bytes", gpu=MIG) == (80 << 30) // 7
        say(library, xids=[95])
        until(lambda: f"{MIG}: The driver reported XID 95" in found.faults)


@pytest.mark.parametrize("chosen", ["7", "GPU-ffff", "MIG-none"])
def test_a_gpu_that_is_not_there_is_told(
    library: Path, monkeypatch: pytest.MonkeyPatch, chosen: str
) -> None:
    monkeypatch.setenv(nvml.VISIBLE, chosen)
    with nvml.opened() as opened, pytest.raises(NvmlError):
        opened.gpus()


def test_what_passes_in_time_is_no_fault() -> None:
    judge = Judge(GpuHealthSettings(patience_seconds=30, watts=400, memory=0.9))
    hot = Reading(celsius=95, watts=500, memory_used=95, memory_total=100)
    judge.see(hot, 0.0)
    judge.see(hot, 29.0)
    assert judge.faults == []
    judge.see(hot, 30.0)
    assert len(judge.faults) == 3
    judge.see(Reading(celsius=80), 31.0)
    judge.see(hot, 32.0)
    assert judge.faults == []
