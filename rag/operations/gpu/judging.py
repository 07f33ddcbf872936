"""Faults of a GPU, by what it says and the thresholds of the settings."""

from __future__ import annotations

from collections.abc import Iterator

from rag.operations.gpu.nvml import Reading
from rag.settings.gpu import GpuHealthSettings

BY_HARDWARE = frozenset({"hardware_slowdown", "hardware_thermal", "power_brake"})
"""Reasons of slow clocks that are faults: heat, or power that is missing. A power cap is not."""


class Judge:
    """The faults of one GPU.

    Heat, throttling, memory and power are faults while they last, once they lasted for
    `gpu.patience_seconds`. A lost GPU, an XID and ECC errors stay faults until the process ends:
    what was computed since may be wrong.
    """

    def __init__(self, settings: GpuHealthSettings) -> None:
        self._settings = settings
        self._since: dict[str, float] = {}
        self._passing: list[str] = []
        self._lasting: list[str] = []
        self._first_ecc: int | None = None

    @property
    def faults(self) -> list[str]:
        """The faults, as sentences."""
        return [*self._lasting, *self._passing]

    def see(self, reading: Reading, now: float) -> None:
        """Takes a reading at a time in seconds."""
        if self._first_ecc is None:
            self._first_ecc = reading.ecc
        elif reading.ecc is not None:
            self._count_ecc(reading.ecc - self._first_ecc)
        found = dict(self._above(reading))
        self._since = {name: self._since.get(name, now) for name in found}
        patience = self._settings.patience_seconds
        self._passing = [
            says for name, says in found.items() if now - self._since[name] >= patience
        ]

    def heard(self, xid: int) -> None:
        """Takes an XID."""
        if xid in self._settings.xids:
            self._keep(f"The driver reported XID {xid} (gpu.xids).")

    def lost(self, message: str) -> None:
        """Takes the loss of the GPU."""
        self._keep(f"It is lost: {message}")

    def _count_ecc(self, new: int) -> None:
        if new >= self._settings.ecc_errors:
            self._lasting = [says for says in self._lasting if not says.startswith("Its memory")]
            self._keep(f"Its memory has {new} new uncorrected ECC errors (gpu.ecc_errors).")

    def _keep(self, says: str) -> None:
        if says not in self._lasting:
            self._lasting.append(says)

    def _above(self, reading: Reading) -> Iterator[tuple[str, str]]:
        """Yields the thresholds that a reading is above, and what that is."""
        settings = self._settings
        if reading.celsius is not None and reading.celsius > settings.celsius:
            yield "celsius", f"It has more than {settings.celsius:g} °C (gpu.celsius)."
        if slowed := (reading.slowed or frozenset()) & BY_HARDWARE:
            yield "slowed", f"Its clocks are slowed: {', '.join(sorted(slowed))}."
        if settings.memory is not None and reading.memory_total:
            used = (reading.memory_used or 0) / reading.memory_total
            if used > settings.memory:
                yield (
                    "memory",
                    f"More than {settings.memory:.0%} of its memory is used (gpu.memory).",
                )
        if settings.watts is not None and (reading.watts or 0) > settings.watts:
            yield "watts", f"It draws more than {settings.watts:g} W (gpu.watts)."
