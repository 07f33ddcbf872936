"""The command line of calibrations: their data, and the record that they write."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eval.datasets.corpus import Corpus, read_corpus

DATASET = "squad2-dev-a"
ELSEWHERE = "xquad"
"""Another collection; only its English part is used."""


def options_of(
    argv: Sequence[str] | None, *, prog: str, description: str | None, out: Path
) -> argparse.Namespace:
    """Returns the arguments: `data` has the data sets, `out` is the record, `docs` is for plots."""
    parser = argparse.ArgumentParser(description=description, prog=prog)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=out)
    parser.add_argument("--docs", type=Path, default=Path("docs"), help="folder of the pictures")
    parser.add_argument(
        "--every", type=int, default=1, metavar="N", help="ask every Nth question (1: all)"
    )
    return parser.parse_args(argv)


def read_data(data: Path) -> tuple[Corpus, Corpus] | None:
    """Returns both data sets; None, after a line that names it, if one is missing."""
    folders = [data / name for name in (DATASET, ELSEWHERE)]
    for folder in folders:
        if not folder.is_dir():
            sys.stdout.write(f"Skipped: {folder} is missing. --data names the folder it is in.\n")
            return None
    corpus, elsewhere = map(read_corpus, folders)
    return corpus, elsewhere


def write_record(record: Mapping[str, Any], out: Path) -> None:
    """Writes the record to its file and to standard output."""
    text = json.dumps(record, indent=2) + "\n"
    out.write_text(text, encoding="utf-8")
    sys.stdout.write(text)
