"""Prints every figure next to the floor that was measured with it.

    python -m benchmarks.run [NAME …] [--seconds S]

Each run also writes benchmarks/results/DATE.json. A figure that misses its target is marked; no
timing is ever asserted.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks._common import Report, SkippedError, hardware, table

NAMES = (
    *("formats", "chunks", "ingest", "workers", "retrieval", "rerank"),
    *(
        "batching",
        "rest",
        "client",
        "cold",
        "start",
        "quality",
        "answers",
        "support",
        "groundedness",
        "evaluation",
    ),
    "vllm",
)
LONG = (
    "acl",
    "backlog",
    "backup",
    "builds",
    "cache",
    "claim_check",
    "claims",
    "copies",
    "coverage",
    "dense",
    "dispatch",
    "drift",
    "gateway",
    "graph",
    "idf",
    "leaks",
    "lists",
    "mcp",
    "model_steps",
    "page",
    "plan",
    "power",
    "processes",
    "qdrant",
    "ranks",
    "rehearsal",
    "replicas",
    "rollouts",
    "routing",
    "scale",
    "tables",
    "tenants",
    "tracing",
)
"""Parts that run only where they are named."""
RESULTS = Path(__file__).parent / "results"


def main() -> int:
    """Runs the parts that are named, or all; always 0: nothing is asserted."""
    options = _options()
    started = datetime.now(UTC)
    machine = hardware()
    print(machine, flush=True)
    parts = {name: _part(name, options.seconds) for name in options.names or NAMES}
    RESULTS.mkdir(exist_ok=True)
    record = {"started": started.isoformat(timespec="seconds"), "hardware": machine, "parts": parts}
    file = RESULTS / f"{started:%Y-%m-%dT%H%M%S}.json"
    file.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    missed = sum(figure["missed"] for part in parts.values() for figure in part["figures"])
    print(f"\n{missed} figures missed their targets; written to {file}")
    return 0


def _part(name: str, seconds: float) -> Mapping[str, Any]:
    """Runs one part, prints it, and makes JSON of it."""
    print(f"\n{name}", flush=True)
    started = time.perf_counter()
    try:
        report = _measure(name, seconds)
    except SkippedError as missing:
        print(f"skipped: {missing}", flush=True)
        return {"skipped": str(missing), "figures": []}
    report.notes.append(f"{time.perf_counter() - started:.0f} s in all")
    print(table(report.figures))
    for note in report.notes:
        print(f"  {note}", flush=True)
    figures = [
        asdict(figure) | {"target": str(figure.target or ""), "missed": figure.missed()}
        for figure in report.figures
    ]
    return {"figures": figures, "notes": report.notes}


def _measure(name: str, seconds: float) -> Report:
    part = import_module(f"benchmarks.{name}")
    report: Report = part.run(seconds) if name == "rest" else part.run()
    return report


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run")
    listed = ", ".join((*NAMES, *LONG))
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {listed} (default: all but the last)"
    )
    parser.add_argument("--seconds", type=float, default=60, help="of load on the REST API")
    options = parser.parse_args()
    if unknown := set(options.names) - {*NAMES, *LONG}:
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {listed}")
    return options


if __name__ == "__main__":
    sys.exit(main())
