"""The embedded index at 10,000, 100,000 and 1,000,000 chunks: what it takes, what it answers in.

Random unit vectors of 384 dimensions and 80 generated words a chunk, Zipf-distributed. Built and
asked in processes of their own. Of the memory, `own` is what no file backs: the rest the kernel may
drop. Questions are a random vector and six words; the time is both legs at depth 100 and the fetch
of ten chunks, without encoding.
It takes a quarter of an hour, so it runs only where it is named: `python -m benchmarks.run scale`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks._common import Report, p50, percentile
from retrieval.indexes.sparse_files import size_of

SIZES = (10_000, 100_000, 1_000_000)
MIB = 1 << 20


def run(sizes: Sequence[int] = SIZES) -> Report:
    """Each size in a folder of its own."""
    report = Report()
    for count in sizes:
        with tempfile.TemporaryDirectory(prefix="plumbline-bench-") as name:
            folder = Path(name)
            built, answered = _child("build", folder, count), _child("ask", folder, count)
            size = size_of(folder)
        report.add(f"{count:,} chunks: written", count / built["written"], unit="chunks/s")
        report.add(f"{count:,} chunks: graph built", built["built"], unit="s")
        report.add(f"{count:,} chunks: on disk", size / MIB, unit="MiB")
        report.add(f"{count:,} chunks: resident", answered["resident"] / MIB, unit="MiB")
        report.add(f"{count:,} chunks: of it own", answered["own"] / MIB, unit="MiB")
        report.add(f"{count:,} chunks: hybrid p50", p50(answered["taken"]), unit="ms")
        report.add(f"{count:,} chunks: hybrid p95", percentile(answered["taken"], 95), unit="ms")
    return report


def _child(way: str, folder: Path, count: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks._scale_child", way, str(folder), str(count)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found
