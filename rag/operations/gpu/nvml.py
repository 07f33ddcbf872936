"""NVML, by its own binding: https://docs.nvidia.com/deploy/nvml-api/.

What a GPU does not support is None. A GPU that is lost, and a library that cannot be asked, are
errors of their own.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from rag.errors import UpstreamError
from rag.process.extras import needing
from rag.telemetry.gpu_metrics import SLOWDOWNS

T = TypeVar("T")
WAIT_MS = 500
"""Milliseconds of one wait for an event: the end of the process waits no longer."""
VISIBLE = "CUDA_VISIBLE_DEVICES"
_MIG = "MIG-"


class NvmlError(UpstreamError):
    """NVML cannot be asked: there is no driver, or not the one that the library is for."""

    code = "nvml"


class LostError(UpstreamError):
    """A GPU is lost, or has to be reset."""

    code = "gpu_lost"


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU, or a MIG device: `device` is the handle of the GPU, `own` that of the device."""

    uuid: str
    device: Any
    own: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The state of a GPU; None: it does not say.

    Attributes:
        celsius: temperature of its die.
        memory_used: bytes.
        memory_total: bytes.
        watts: power that it draws.
        ecc: uncorrected errors of its memory since the driver was loaded.
        slowed: reasons for which its clocks are lower than they could be.
    """

    celsius: float | None = None
    memory_used: int | None = None
    memory_total: int | None = None
    watts: float | None = None
    ecc: int | None = None
    slowed: frozenset[str] | None = None


class Nvml:
    """The open library."""

    def __init__(self, binding: Any) -> None:
        self._nvml = binding
        self._events: Any = None
        bits = (
            binding.nvmlClocksEventReasonSwThermalSlowdown,
            binding.nvmlClocksEventReasonSwPowerCap,
            binding.nvmlClocksEventReasonHwSlowdown,
            binding.nvmlClocksEventReasonHwThermalSlowdown,
            binding.nvmlClocksEventReasonHwPowerBrakeSlowdown,
        )
        self._slowdowns = dict(zip(SLOWDOWNS, bits, strict=True))

    def gpus(self) -> list[Gpu]:
        """Returns the GPUs that CUDA shows to this process, all if it does not choose.

        A number is NVML's, which is CUDA's with CUDA_DEVICE_ORDER=PCI_BUS_ID, and wherever all GPUs
        are alike.

        Raises:
            NvmlError: They cannot be listed, or one of them is not there.
        """
        nvml = self._nvml
        count = self._asked(nvml.nvmlDeviceGetCount)
        handles = [self._asked(nvml.nvmlDeviceGetHandleByIndex, n) for n in range(count)]
        every = [Gpu(self._asked(nvml.nvmlDeviceGetUUID, each), each, each) for each in handles]
        chosen = os.environ.get(VISIBLE)
        if chosen is None:
            return every
        return [self._chosen(name.strip(), every) for name in _visible(chosen)]

    def _chosen(self, name: str, every: Sequence[Gpu]) -> Gpu:
        nvml = self._nvml
        if name.startswith(_MIG):
            own = self._asked(nvml.nvmlDeviceGetHandleByUUID, name)
            device = self._asked(nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle, own)
            return Gpu(name, device, own)
        if name.isdigit() and int(name) < len(every):
            return every[int(name)]
        found = [each for each in every if name and each.uuid.startswith(name)]
        if len(found) != 1:
            raise NvmlError(f"{VISIBLE} names {name!r}, and NVML has no such GPU.")
        return found[0]

    def read(self, gpu: Gpu) -> Reading:
        """Returns the state of a GPU.

        Raises:
            LostError: It is lost, or has to be reset.
            NvmlError: The library failed otherwise.
        """
        nvml = self._nvml
        memory = self._supported(nvml.nvmlDeviceGetMemoryInfo, gpu.own)
        milliwatts = self._supported(nvml.nvmlDeviceGetPowerUsage, gpu.device)
        slowed = self._supported(nvml.nvmlDeviceGetCurrentClocksEventReasons, gpu.device)
        return Reading(
            celsius=self._supported(
                nvml.nvmlDeviceGetTemperature, gpu.device, nvml.NVML_TEMPERATURE_GPU
            ),
            memory_used=memory and memory.used,
            memory_total=memory and memory.total,
            watts=None if milliwatts is None else milliwatts / 1e3,
            ecc=self._supported(
                nvml.nvmlDeviceGetTotalEccErrors,
                *(gpu.device, nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, nvml.NVML_VOLATILE_ECC),
            ),
            slowed=None if slowed is None else self._reasons(slowed),
        )

    def listen(self, gpus: Sequence[Gpu]) -> bool:
        """Registers for the XIDs of these GPUs; returns False if none of them reports any."""
        nvml = self._nvml
        self._events = self._asked(nvml.nvmlEventSetCreate)
        xids = nvml.nvmlEventTypeXidCriticalError
        heard = [
            self._supported(
                _true_after(nvml.nvmlDeviceRegisterEvents), gpu.device, xids, self._events
            )
            for gpu in gpus
        ]
        return any(heard)

    def xid(self, gpus: Sequence[Gpu]) -> tuple[list[Gpu], int] | None:
        """Waits for an XID; returns its devices and its number, None if there was none.

        Devices of one GPU share its XIDs.

        Raises:
            LostError: A GPU is lost.
            NvmlError: The library failed.
        """
        try:
            event = self._asked(self._nvml.nvmlEventSetWait_v2, self._events, WAIT_MS)
        except _TimeoutError:
            return None
        where = _address(event.device)
        return [gpu for gpu in gpus if _address(gpu.device) == where], int(event.eventData)

    def close(self) -> None:
        """Closes the library."""
        with contextlib.suppress(NvmlError, LostError):  # it is lost, or gone: nothing to close
            if self._events is not None:
                self._asked(self._nvml.nvmlEventSetFree, self._events)
            self._asked(self._nvml.nvmlShutdown)

    def _reasons(self, mask: int) -> frozenset[str]:
        return frozenset(name for name, bit in self._slowdowns.items() if mask & bit)

    def _supported(self, function: Callable[..., T], *arguments: Any) -> T | None:
        """Calls a function of the library; None if the GPU has no such thing to tell."""
        nvml = self._nvml
        try:
            return self._asked(function, *arguments)
        except NvmlError as error:
            cause = error.__cause__
            silent = (
                nvml.NVML_ERROR_NOT_SUPPORTED,
                nvml.NVML_ERROR_FUNCTION_NOT_FOUND,
                nvml.NVML_ERROR_NO_PERMISSION,
            )
            if getattr(cause, "value", None) in silent:
                return None
            raise

    def _asked(self, function: Callable[..., T], *arguments: Any) -> T:
        nvml = self._nvml
        try:
            return function(*arguments)
        except nvml.NVMLError as error:
            if error.value == nvml.NVML_ERROR_TIMEOUT:
                raise _TimeoutError from error
            if error.value in (nvml.NVML_ERROR_GPU_IS_LOST, nvml.NVML_ERROR_RESET_REQUIRED):
                raise LostError(f"{error}.") from error
            raise NvmlError(f"NVML: {str(error).rstrip('.')}.") from error


class _TimeoutError(Exception):
    """No event came."""


@contextlib.contextmanager
def opened() -> Iterator[Nvml]:
    """Opens NVML for the block.

    Raises:
        NvmlError: There is no driver, or another one than the library is for.
    """
    binding = load()
    try:
        binding.nvmlInit()
    except binding.NVMLError as error:
        raise NvmlError(f"NVML cannot be opened: {str(error).rstrip('.')}.") from error
    library = Nvml(binding)
    try:
        yield library
    finally:
        library.close()


def load() -> Any:
    """Returns the binding.

    Raises:
        ConfigError: It is not installed.
    """
    with needing("nvml", for_="gpu.watch"):
        import pynvml
    return pynvml


def _visible(chosen: str) -> Iterator[str]:
    """Yields the devices of CUDA_VISIBLE_DEVICES: an invalid number ends the list."""
    for name in filter(None, chosen.split(",")):
        if name.strip().startswith("-"):
            return
        yield name


def _address(handle: Any) -> int | None:
    return ctypes.cast(handle, ctypes.c_void_p).value


def _true_after(function: Callable[..., object]) -> Callable[..., bool]:
    """Returns a function that calls `function`, which returns nothing, and then returns True."""

    def call(*arguments: Any) -> bool:
        function(*arguments)
        return True

    return call
