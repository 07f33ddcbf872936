"""Watches the GPUs of this process, on a thread: NVML blocks."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from rag.errors import RagError, UpstreamError
from rag.operations.gpu.judging import Judge
from rag.operations.gpu.nvml import Gpu, LostError, Nvml, NvmlError, load, opened
from rag.privacy.redaction import words
from rag.settings.gpu import GpuHealthSettings
from rag.telemetry import gpu_metrics

AGAIN_SECONDS = 30.0
"""Seconds until NVML is opened again after it failed."""
_log = logging.getLogger(__name__)


class GpuWatch:
    """The state of the GPUs of this process."""

    def __init__(self, settings: GpuHealthSettings) -> None:
        """Makes a watch.

        Raises:
            ConfigError: NVML's binding is not installed.
        """
        load()
        self._settings = settings
        self._judges: dict[str, Judge] = {}
        self._unknown = "NVML was not asked yet."
        self._faults: list[str] = []
        self._ended = threading.Event()

    @property
    def faults(self) -> str:
        """The faults of the GPUs, for operators; empty if they are healthy, or not known."""
        return " ".join(self._faults)

    @property
    def unknown(self) -> str:
        """The reason for which the state is not known; empty if it is known."""
        return self._unknown

    async def check_health(self) -> None:
        """Checks that no GPU has a fault.

        Raises:
            UpstreamError: One has.
        """
        if self._faults:
            raise UpstreamError(self.faults, code="gpu_unhealthy")

    async def check_known(self) -> None:
        """Checks that NVML answers.

        Raises:
            UpstreamError: It does not.
        """
        if self._unknown:
            raise UpstreamError(self._unknown, code="nvml")

    @contextlib.contextmanager
    def started(self) -> Iterator[None]:
        """Watches until the end of the block."""
        gpu_metrics.known(answers=False)
        thread = threading.Thread(target=self._run, name="gpus", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join()

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                with opened() as nvml:
                    self._watch(nvml)
            except RagError as error:
                self._tell_unknown(str(error))
            except Exception as error:  # noqa: BLE001 - otherwise nobody would watch any more
                self._tell_unknown(f"The watch failed: {words(error)}.")
            self._ended.wait(AGAIN_SECONDS)

    def _tell_unknown(self, message: str) -> None:
        gpu_metrics.known(answers=False)
        if message != self._unknown:
            _log.error("The health of the GPUs is not known: %s", message)
        self._unknown = message

    def _watch(self, nvml: Nvml) -> None:
        """Reads and listens until the end of the watch.

        Raises:
            NvmlError: The library failed.
        """
        gpus = nvml.gpus()
        if not gpus:
            raise NvmlError("NVML has no GPU for this process.")
        for gpu in gpus:
            self._judges.setdefault(gpu.uuid, Judge(self._settings))
        listens = nvml.listen(gpus)
        while not self._ended.is_set():
            for gpu in gpus:
                self._read(nvml, gpu)
            self._unknown = ""
            gpu_metrics.known(answers=True)
            self._tell()
            until = time.monotonic() + self._settings.seconds
            if listens:
                listens = self._listen(nvml, gpus, until)
            self._ended.wait(max(0.0, until - time.monotonic()))

    def _read(self, nvml: Nvml, gpu: Gpu) -> None:
        judge = self._judges[gpu.uuid]
        try:
            reading = nvml.read(gpu)
        except LostError as error:
            judge.lost(str(error))
        else:
            judge.see(reading, time.monotonic())
            gpu_metrics.reading(gpu.uuid, **asdict(reading))

    def _listen(self, nvml: Nvml, gpus: Sequence[Gpu], until: float) -> bool:
        """Waits for XIDs until a time; returns False if a lost GPU ended that."""
        while not self._ended.is_set() and time.monotonic() < until:
            try:
                event = nvml.xid(gpus)
            except LostError:  # the next reading says which one
                return False
            if event:
                found, xid = event
                for gpu in found:
                    self._judges[gpu.uuid].heard(xid)
                    gpu_metrics.xid(gpu.uuid, xid)
                _log.error("XID %d of %s.", xid, ", ".join(gpu.uuid for gpu in found))
                self._tell()
        return True

    def _tell(self) -> None:
        """Has the metrics and the log follow the judges."""
        found = []
        for uuid, judge in self._judges.items():
            gpu_metrics.healthy(uuid, is_healthy=not judge.faults)
            found += [f"{uuid}: {fault}" for fault in judge.faults]
        if found != self._faults:
            _log.error("GPUs: %s", " ".join(found) or "all are healthy again.")
        self._faults = found


@contextlib.contextmanager
def watching(settings: GpuHealthSettings) -> Iterator[GpuWatch | None]:
    """Watches the GPUs until the end of the block; None if the settings do not say so.

    Raises:
        ConfigError: NVML's binding is not installed.
    """
    if not settings.watch:
        yield None
        return
    watch = GpuWatch(settings)
    with watch.started():
        yield watch
