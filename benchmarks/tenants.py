"""The embedded index with 10, 100 and 1,000 tenants, 20 chunks each.

Each tenant's collection is a shard with files of its own. A process writes them; another one asks
each tenant once, which opens its shard, and then once more. Memory is what no file backs; open
files, threads and memory maps are those of the process that asks.
It takes some minutes, so it runs only where it is named: `python -m benchmarks.run tenants`.
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

SIZES = (10, 100, 1_000)
KIB, MIB = 1 << 10, 1 << 20


def run(sizes: Sequence[int] = SIZES) -> Report:
    """Each number of tenants in a folder of its own."""
    report = Report()
    for count in sizes:
        with tempfile.TemporaryDirectory(prefix="plumbline-bench-") as name:
            folder = Path(name)
            built, asked = _child("build", folder, count), _child("ask", folder, count)
            size = size_of(folder)
        add = report.add
        add(f"{count:,} tenants: written", built["seconds"] / count * 1e3, unit="ms CPU/tenant")
        add(f"{count:,} tenants: on disk", size / count / KIB, unit="KiB/tenant")
        add(f"{count:,} tenants: first question p50", p50(asked["first"]), unit="ms CPU")
        add(f"{count:,} tenants: next question p50", p50(asked["next"]), unit="ms CPU")
        add(f"{count:,} tenants: next question p99", percentile(asked["next"], 99), unit="ms CPU")
        add(f"{count:,} tenants: memory of its own", asked["own"] / MIB, unit="MiB")
        add(f"{count:,} tenants: open files", asked["files"])
        add(f"{count:,} tenants: threads", asked["threads"])
        add(f"{count:,} tenants: maps", asked["maps"])
    return report


def _child(way: str, folder: Path, count: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks._tenants_child", way, str(folder), str(count)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found
