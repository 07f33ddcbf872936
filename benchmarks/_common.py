"""Shared parts of the benchmarks: figures, their table, test data, a temporary service.

A figure is printed next to its floor, and both were measured in the same run, by turns, so that
noise hits both alike. Timings are never asserted; one that misses its target is marked.
"""

from __future__ import annotations

import contextlib
import platform
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np

from rag.build.running import start
from rag.build.service import Service
from rag.errors import RagError
from rag.process.cores import core_count
from rag.protocols import Queue
from rag.records import Submission
from rag.settings.tree import load_settings
from rag.types import DEFAULT_TENANT, Scope

DATA = Path("../shared/data")
EXAMPLES = Path(__file__).parent.parent / "examples" / "peps"

By = Literal["value", "ratio", "difference"]
"""The value that a target bounds: the figure itself, figure / floor, or figure - floor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A bound on a figure, or on what it is compared with its floor."""

    bound: float
    by: By = "value"
    at_least: bool = False

    def __str__(self) -> str:
        sign = "≥" if self.at_least else "≤"
        return f"{self.by} {sign} {self.bound:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line of a report."""

    name: str
    value: float
    unit: str = ""
    floor: float | None = None
    target: Target | None = None

    def compared(self, by: By) -> float | None:
        """The figure by its floor; None where it has none, or the ratio would be to 0."""
        if by == "value":
            return self.value
        if self.floor is None or (by == "ratio" and self.floor == 0):
            return None
        return self.value / self.floor if by == "ratio" else self.value - self.floor

    def missed(self) -> bool:
        """True if there is a target and it is not met."""
        if self.target is None:
            return False
        found = self.compared(self.target.by)
        if found is None:
            raise ValueError(f"{self.name}: its target compares it with a floor, and it has none")
        met = found >= self.target.bound if self.target.at_least else found <= self.target.bound
        return not met


@dataclass(slots=True, kw_only=True)
class Report:
    """The result of a benchmark: figures, and notes on how they were measured."""

    figures: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, name: str, value: float, **rest: Any) -> None:
        """Adds a figure."""
        self.figures.append(Figure(name=name, value=value, **rest))


class SkippedError(Exception):
    """The benchmark cannot run here; the message says what is missing."""


def data_folder(name: str) -> Path:
    """A test set's folder.

    Raises:
        SkippedError: it is not there.
    """
    if not DATA.is_dir():
        raise SkippedError(f"no {DATA}")
    if not (DATA / name).is_dir():
        raise SkippedError(f"no {DATA / name}")
    return DATA / name


def p50(values: Sequence[float]) -> float:
    """The median."""
    return percentile(values, 50)


def percentile(values: Sequence[float], q: float) -> float:
    """The q-th percentile, interpolated linearly."""
    return float(np.percentile(np.asarray(values), q))


def table(figures: Sequence[Figure]) -> str:
    """Figures with their floors, ratios, differences, targets and verdicts, in columns."""
    rows = [["figure", "value", "floor", "ratio", "difference", "target", ""]]
    rows += [_row(figure) for figure in figures]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            [row[0].ljust(widths[0])]
            + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        ).rstrip()
        for row in rows
    )


def _row(figure: Figure) -> list[str]:
    verdict = "" if figure.target is None else "MISSED" if figure.missed() else "met"
    numbers = (figure.floor, figure.compared("ratio"), figure.compared("difference"))
    return [
        figure.name,
        f"{_number(figure.value)} {figure.unit}".strip(),
        *map(_number, numbers),
        str(figure.target or ""),
        verdict,
    ]


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def hardware() -> str:
    """CPU and GPU, cores this process may use, and the dtype that the embedder chooses here."""
    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return f"{model}, {core_count()} cores{_engine()}"


def _engine() -> str:
    from rag.inference.int8 import is_exact
    from retrieval.embedders.loading import sees_gpu

    if not sees_gpu():
        dtype = "int8" if is_exact() else "float32"
        return f"; onnxruntime {version('onnxruntime')}, {dtype}"
    import torch

    from retrieval.embedders.bert_model import torch_dtype

    dtype = str(torch_dtype("auto", torch.device("cuda"))).removeprefix("torch.")
    return f"; {torch.cuda.get_device_name()}; torch {torch.__version__}, {dtype}"


@contextlib.asynccontextmanager
async def temporary_service(**settings: Any) -> AsyncIterator[tuple[Service, Queue]]:
    """A service on an empty data folder that is gone afterwards, and its queue, not running."""
    with tempfile.TemporaryDirectory(prefix="plumbline-bench-") as folder:
        async with start(load_settings(data_dir=folder, **settings)) as (service, queue):
            yield service, queue


async def ingest(
    service: Service, queue: Queue, submissions: Sequence[Submission], *, collection: str
) -> Scope:
    """Takes documents all the way: the catalog, the queue, the pipeline, the index's maintenance.

    Raises:
        RagError: one of them failed.
    """
    scope = Scope(tenant=DEFAULT_TENANT, collection=collection)
    await service.ingest.check_collection(scope)
    job_id = await service.catalog.jobs.submit(scope, submissions)
    await queue.drain()
    job = await service.catalog.jobs.get(scope.tenant, job_id)
    if job.state != "succeeded":
        raise RagError(f"Ingesting for a benchmark ended {job.state}: {job.failures[:3]}")
    return scope
