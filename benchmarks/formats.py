"""How fast, and how well, documents of every format are read.

Measured: each of the 97 test files through the product's own parser process, one after the other;
what comes out against what the manifest expects: a sentence, a refusal, nothing. The floor is
kreuzberg alone in this process, without structure, on those of the files that it accepts.
"""

from __future__ import annotations

import asyncio
import csv
import re
import time
import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks._common import Report, Target, data_folder
from ingest.reader_process import Limits, Parser
from ingest.sources.files import submission_of
from rag.errors import ReadError

FOUND, LOST, TEXT, REFUSED = "sentence found", "sentence missing", "text", "refused"
Row = Mapping[str, str]


def run() -> Report:
    """Time and outcome of each file, by format and by what is expected."""
    report = Report()
    folder = data_folder("formats")
    with (folder / "MANIFEST.tsv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    paths = [next(folder.rglob(row["file"])) for row in rows]
    alone = _kreuzberg(paths)
    seconds, outcomes = asyncio.run(_read(rows, paths))
    report.add("all files", sum(seconds), unit="s", floor=alone, target=Target(bound=60))
    _outcomes(report, rows, outcomes)
    by_format: dict[str, list[float]] = defaultdict(list)
    for row, each in zip(rows, seconds, strict=True):
        by_format[row["format"]].append(each)
    for name, times in sorted(by_format.items(), key=lambda item: -len(item[1])):
        report.add(f"{name} ({len(times)} files)", len(times) / sum(times), unit="documents/s")
    return report


def _outcomes(report: Report, rows: Sequence[Row], outcomes: Sequence[str]) -> None:
    counts: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for row, outcome in zip(rows, outcomes, strict=True):
        counts[row["handling"]][outcome] += 1
        if row["handling"] == "extract" and outcome != FOUND:
            report.notes.append(f"{row['file']}: {outcome}")
    report.add(
        "to extract: sentence found",
        counts["extract"][FOUND],
        unit="files",
        floor=sum(counts["extract"].values()),
        target=Target(bound=78, at_least=True),
    )
    for handling, bound in (("refuse", 7), ("empty", 2)):
        report.add(
            f"to {handling}: refused with a reason",
            counts[handling][REFUSED],
            unit="files",
            target=Target(bound=bound, at_least=True),
        )
    report.add(
        "to survive: survived",
        sum(counts["survive"].values()),
        unit="files",
        target=Target(bound=6, at_least=True),
    )
    recognised = ", ".join(f"{count} {outcome}" for outcome, count in counts["ocr"].items())
    report.notes.append(f"images only: {recognised}")  # fmt: skip


async def _read(rows: Sequence[Row], paths: Sequence[Path]) -> tuple[list[float], list[str]]:
    seconds: list[float] = []
    outcomes: list[str] = []
    parser = Parser(Limits())
    for row, path in zip(rows, paths, strict=True):
        submission = submission_of(path)
        started = time.perf_counter()
        try:
            document = await parser.read(submission.source, path, id_="id", uri=submission.uri)
        except ReadError:
            outcomes.append(REFUSED)
        else:
            wanted = [_plain(words) for words in row["must_contain"].split("|") if words]
            text = _plain(document.text)
            found = any(words in text for words in wanted)
            outcomes.append(TEXT if not wanted else FOUND if found else LOST)
        seconds.append(time.perf_counter() - started)
    parser.close()
    return seconds, outcomes


def _plain(text: str) -> str:
    """As the manifest compares: NFKC, hyphens at line ends joined, no white space."""
    return re.sub(r"\s", "", re.sub(r"-\n", "", unicodedata.normalize("NFKC", text)))


def _kreuzberg(paths: Sequence[Path]) -> float:
    """Seconds."""
    import kreuzberg

    config = kreuzberg.ExtractionConfig(use_cache=False)
    started = time.perf_counter()
    for path in paths:
        if path.suffix == ".asciidoc":
            continue  # it would fetch a grammar
        try:
            kreuzberg.extract_file_sync(path, config=config)
        except kreuzberg.KreuzbergError:
            continue  # refused: that is its answer
    return time.perf_counter() - started
