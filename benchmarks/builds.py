"""This build beside an earlier one, by turns: documents in, searches out.

`RAG_BEFORE` names the other build's `rag`. Each ingests Cranfield's abstracts, a file each, into a
folder of its own. Then Cranfield's questions are searched for, alone and by 32 clients, with
servers of both builds that take turns: without a reranker, with the default one whose cache is
warm, and with the default one without a cache, so that each passage is read anew.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks._common import Report, SkippedError, Target, data_folder, p50
from benchmarks._server import RAG, serving
from benchmarks.rest import CLIENTS, PLAIN, load
from eval.datasets.corpus import read_corpus

BEFORE = os.environ.get("RAG_BEFORE")
ROUNDS, WARM_SECONDS, SECONDS = 3, 3.0, 4.0
WAYS: Mapping[str, Mapping[str, str]] = {
    "plain": PLAIN,
    "default": {},
    "default, no cache": {"RAG_RERANKER__CACHE_MB": "0"},
}
ALONE = {"plain": 0.4, "default": 0.4, "default, no cache": 0.3}
"""Most of the other build's p50."""
CROWD = {"plain": 2.0, "default": 3.5}
"""Times the other build's throughput, at least."""
APART = 0.75
"""Share of the throughput without a reranker that is left with it, at least."""
Found = Mapping[tuple[str, str], Sequence[float]]


def run() -> Report:
    """Ingests by both builds, then searches by turns."""
    if BEFORE is None:
        raise SkippedError("RAG_BEFORE names no other build")
    report = Report()
    corpus = read_corpus(data_folder("cranfield"))
    questions = [question.text for question in corpus.questions]
    with tempfile.TemporaryDirectory(prefix="plumbline-bench-") as name:
        files = Path(name) / "files"
        files.mkdir()
        passages = [passage for passage in corpus.passages if passage.text]
        for number, passage in enumerate(passages):
            text = f"{passage.title}\n\n{passage.text}\n"
            (files / f"{number:05}.txt").write_text(text, "utf-8")
        builds = {"this": RAG, "before": BEFORE}
        folders = {build: Path(name) / build for build in builds}
        seconds = {build: _ingest(rag, files, folders[build]) for build, rag in builds.items()}
        rate = {build: len(passages) / taken for build, taken in seconds.items()}
        report.add("ingest", rate["this"], unit="documents/s", floor=rate["before"])
        for way, settings in WAYS.items():
            _compare(report, way, _searched(builds, folders, settings, questions))
    plain, default = (
        next(f.value for f in report.figures if f.name == f"{way}, {CLIENTS} clients")
        for way in ("plain", "default")
    )
    target = Target(bound=APART, by="ratio", at_least=True)
    name = f"default against plain, {CLIENTS} clients"
    report.add(name, default, unit="requests/s", floor=plain, target=target)
    return report


def _ingest(rag: str, files: Path, folder: Path) -> float:
    """Returns the seconds that the command took."""
    started = time.perf_counter()
    command = [rag, "ingest", "--json", str(files)]
    subprocess.run(command, env=_env(folder), check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def _env(folder: Path) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("RAG_")}
    return own | {"RAG_DATA_DIR": str(folder)}


def _searched(
    builds: Mapping[str, str],
    folders: Mapping[str, Path],
    settings: Mapping[str, str],
    questions: Sequence[str],
) -> Found:
    """Returns ms of searches alone and requests/s of many clients, by build, over all rounds."""
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for _ in range(ROUNDS):
        for build, rag in builds.items():
            with serving({**_env(folders[build]), **settings}, rag=rag) as url:
                load(url, clients=CLIENTS, seconds=WARM_SECONDS, questions=questions)
                alone = load(url, clients=1, seconds=SECONDS, questions=questions)
                crowd = load(url, clients=CLIENTS, seconds=SECONDS, questions=questions)
            if errors := alone["errors"] + crowd["errors"]:
                raise RuntimeError(f"{build}: {errors[0]}")
            found[build, "alone"] += alone["latencies"]
            found[build, "crowd"].append(crowd["per_second"])
    return found


def _compare(report: Report, way: str, found: Found) -> None:
    report.add(
        f"{way}, p50 alone",
        p50(found["this", "alone"]),
        unit="ms",
        floor=p50(found["before", "alone"]),
        target=Target(bound=ALONE[way], by="ratio"),
    )
    bound = CROWD.get(way)
    report.add(
        f"{way}, {CLIENTS} clients",
        p50(found["this", "crowd"]),
        unit="requests/s",
        floor=p50(found["before", "crowd"]),
        target=bound and Target(bound=bound, by="ratio", at_least=True),
    )
