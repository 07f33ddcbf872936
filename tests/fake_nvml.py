"""A fake of the library libnvidia-ml.so.1, under NVIDIA's own binding (nvidia-ml-py).

No GPU is involved: what the library says is in a JSON file, which a test changes while it is read.
`python -m tests.fake_nvml FILE ARGUMENT …` runs `rag` over it.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pynvml

UUID = "GPU-0af1c2d3-0000-4000-8000-000000000001"
MIG = "MIG-0af1c2d3-0000-4000-8000-0000000000aa"
HEALTHY: dict[str, Any] = {
    "init": 0,
    "celsius": 60,
    "memory": [8 << 30, 80 << 30],
    "milliwatts": 300_000,
    "ecc": 3,
    "slowed": 0,
    "events": True,
    "xids": [],
    "lost": False,
}
"""The library's answers; of None, NVML_ERROR_NOT_SUPPORTED. `init` is nvmlInit's result."""
_DEVICES = {UUID: 1, MIG: 2}
"""Handles: that of the MIG device, which is a part of the GPU, and that of the GPU."""


class FakeLibrary:
    """Has the functions of the library that are asked, by their C names."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._told = 0

    @property
    def says(self) -> Mapping[str, Any]:
        changes: dict[str, Any] = json.loads(self._file.read_text())
        return HEALTHY | changes

    def __getattr__(self, name: str) -> Callable[..., int]:
        method: Callable[..., int] | None = getattr(type(self), f"_{name}", None)
        if method is None:
            raise AttributeError(name)

        def function(*arguments: Any) -> int:  # the binding sets attributes of functions
            assert method is not None
            return method(self, *arguments)

        return function

    def _value(self, name: str, out: Any) -> int:
        says = self.says
        if says["lost"]:
            return int(pynvml.NVML_ERROR_GPU_IS_LOST)
        if says[name] is None:
            return int(pynvml.NVML_ERROR_NOT_SUPPORTED)
        out._obj.value = says[name]
        return 0

    def _nvmlInitWithFlags(self, _: int) -> int:
        return int(self.says["init"])

    def _nvmlShutdown(self) -> int:
        return 0

    def _nvmlDeviceGetCount_v2(self, out: Any) -> int:
        out._obj.value = 1
        return 0

    def _nvmlDeviceGetHandleByIndex_v2(self, _: Any, out: Any) -> int:
        return _point(out, UUID)

    def _nvmlDeviceGetHandleByUUID(self, uuid: Any, out: Any) -> int:
        name = uuid.value.decode()
        return _point(out, name) if name in _DEVICES else int(pynvml.NVML_ERROR_NOT_FOUND)

    def _nvmlDeviceGetDeviceHandleFromMigDeviceHandle(self, _: Any, out: Any) -> int:
        return _point(out, UUID)

    def _nvmlDeviceGetUUID(self, _: Any, buffer: Any, __: Any) -> int:
        buffer.value = UUID.encode()
        return 0

    def _nvmlDeviceGetTemperature(self, _: Any, __: Any, out: Any) -> int:
        return self._value("celsius", out)

    def _nvmlDeviceGetPowerUsage(self, _: Any, out: Any) -> int:
        return self._value("milliwatts", out)

    def _nvmlDeviceGetTotalEccErrors(self, _: Any, __: Any, ___: Any, out: Any) -> int:
        return self._value("ecc", out)

    def _nvmlDeviceGetCurrentClocksEventReasons(self, _: Any, out: Any) -> int:
        return self._value("slowed", out)

    def _nvmlDeviceGetMemoryInfo(self, handle: Any, out: Any) -> int:
        says = self.says
        if says["lost"]:
            return int(pynvml.NVML_ERROR_GPU_IS_LOST)
        if says["memory"] is None:
            return int(pynvml.NVML_ERROR_NOT_SUPPORTED)
        used, total = says["memory"]
        part = 7 if pynvml.cast(handle, pynvml.c_void_p).value == _DEVICES[MIG] else 1
        out._obj.used, out._obj.total = used // part, total // part
        return 0

    def _nvmlEventSetCreate(self, _: Any) -> int:
        return 0

    def _nvmlEventSetFree(self, _: Any) -> int:
        return 0

    def _nvmlDeviceRegisterEvents(self, _: Any, __: Any, ___: Any) -> int:
        return 0 if self.says["events"] else int(pynvml.NVML_ERROR_NOT_SUPPORTED)

    def _nvmlEventSetWait_v2(self, _: Any, data: Any, milliseconds: Any) -> int:
        until = time.monotonic() + milliseconds.value / 1e3
        while time.monotonic() < until:
            if self.says["lost"]:
                return int(pynvml.NVML_ERROR_GPU_IS_LOST)
            if len(xids := self.says["xids"]) > self._told:
                data._obj.eventData = xids[self._told]
                data._obj.device = pynvml.cast(_DEVICES[UUID], pynvml.c_nvmlDevice_t)
                self._told += 1
                return 0
            time.sleep(0.01)
        return int(pynvml.NVML_ERROR_TIMEOUT)


def _point(out: Any, uuid: str) -> int:
    pointer = pynvml.cast(_DEVICES[uuid], pynvml.c_nvmlDevice_t)
    pynvml.memmove(out, pynvml.byref(pointer), pynvml.sizeof(pointer))
    return 0


def install(file: Path) -> None:
    """Has the binding use the fake, in the place of the library."""
    pynvml.nvmlLib = FakeLibrary(file)
    pynvml._nvmlGetFunctionPointer_cache.clear()


def uninstall() -> None:
    """Has the binding look for the real library again."""
    pynvml.nvmlLib = None
    pynvml._nvmlGetFunctionPointer_cache.clear()


def say(file: Path, **changes: Any) -> None:
    """Changes what the library says, at once."""
    old = json.loads(file.read_text()) if file.exists() else {}
    new = file.with_suffix(".new")
    new.write_text(json.dumps(old | changes))
    new.replace(file)


if __name__ == "__main__":
    from rag.cli.main import main

    os.environ["RAG_GPU__WATCH"] = "true"
    install(Path(sys.argv[1]))
    sys.exit(main(sys.argv[2:]))
