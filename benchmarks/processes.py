"""Several processes of a server: what a second core brings, and what each process takes.

A server, PostgreSQL, Redis, an index and the load generator, all pinned to one core with one
process, or to two cores with one process and with two. The cases take turns. The index answers at
once (`replay` in `benchmarks._qdrant_servers`). Searches are each another one: the question is
encoded. Hits are answers to one question, given again from the cache in Redis.

Floors of the same minute: what a second core brings to two processes that have nothing in common,
which only encode, or serve an app of one route. Where other programs run meanwhile, rates mean
little; CPU for an answer still compares.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from benchmarks import _core_floors as floors
from benchmarks._common import Report, SkippedError, Target
from benchmarks._shared_core import Case, Work, opened

SECONDS, FLOOR_SECONDS, ROUNDS = 3.0, 2.0, 2
WORK: tuple[Work, ...] = ("searches", "hits")


def run() -> Report:
    """The floors, then one core, two cores with one process, two with two, by turns."""
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        raise SkippedError("it needs two cores")
    report = Report()
    _add_floors(report, cores)
    wanted = (("1 core", cores[:1], 1), ("2 cores, 1 process", cores, 1), ("2 and 2", cores, 2))
    with opened(wanted) as cases:
        for _ in range(ROUNDS):
            for work in WORK:
                for case in cases:
                    case.ask(work, SECONDS)
        for case in cases:
            case.measure_memory()
    for work in WORK:
        _add(report, work, *cases)
    one, _, two = cases
    report.add(
        "memory, 2 processes by 1 (PSS)",
        two.memory,
        unit="MiB",
        floor=one.memory,
        target=Target(bound=1.8, by="ratio"),
    )
    errors = [e for case in cases for runs in case.runs.values() for r in runs for e in r.errors]
    report.add("errors", len(errors), target=Target(bound=0))
    report.notes += [f"error: {error}" for error in errors[:3]]
    return report


def _add_floors(report: Report, cores: Sequence[int]) -> None:
    """The rates of two independent processes, by the one of one; the best of all rounds."""
    found: dict[str, list[float]] = {}
    with (
        floors.children("encoder", cores, str(FLOOR_SECONDS)) as encoders,
        floors.children("app", cores) as apps,
    ):
        for _ in range(ROUNDS):
            for count in (1, 2):
                found.setdefault(f"encoder {count}", []).append(floors.encoders(encoders[:count]))
                rate = floors.apps(apps[:count], FLOOR_SECONDS)
                found.setdefault(f"app {count}", []).append(rate)
    for name, unit in (("encoder", "texts/s"), ("app", "answers/s")):
        one, two = (max(found[f"{name} {count}"]) for count in (1, 2))
        report.add(f"floor: 2 {name}s on 2 cores, by 1", two, unit=unit, floor=one)


def _add(report: Report, work: Work, one: Case, wide: Case, two: Case) -> None:
    rates = [case.best(work).per_second for case in (one, wide, two)]
    report.add(
        f"{work}, 2 cores and 2 processes, by 1 core",
        rates[2],
        unit="answers/s",
        floor=rates[0],
        target=Target(bound=1.8, by="ratio", at_least=True),
    )
    report.add(f"{work}, 2 cores and 1 process", rates[1], unit="answers/s", floor=rates[0])
    report.add(
        f"{work}, all CPU, 2 processes by 1",
        two.cpu_ms(work),
        unit="ms/answer",
        floor=one.cpu_ms(work),
    )
    for case in (one, wide, two):
        run = case.best(work)
        parts = ", ".join(f"{part} {ms:.2f}" for part, ms in run.cpu_ms.items())
        shares = " and ".join(f"{share:.0%}" for share in run.shares)
        report.notes.append(
            f"{work}, {case.name}: ms of CPU for an answer: {parts}; {run.busy:.0%} of the cores'"
            f" time; processes {shares}"
        )
