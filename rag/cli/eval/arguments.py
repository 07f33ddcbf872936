"""The arguments of `rag eval`."""

from __future__ import annotations

import argparse
import contextlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    Tasks = argparse._SubParsersAction[argparse.ArgumentParser]

RUNS_TASKS = {"compare", "report", "gate"}
"""Tasks that read runs, and nothing else of this installation."""


def add_eval(
    parser: argparse.ArgumentParser,
    common: argparse.ArgumentParser,
    host: argparse.ArgumentParser,
    within: argparse.ArgumentParser,
) -> None:
    """Adds every task."""
    tasks = parser.add_subparsers(dest="task", required=True, metavar="TASK")
    _add_run(tasks, host)
    _add_runs(tasks, common)
    _add_tune(tasks, common)
    _add_sets(tasks, within)
    _add_drift(tasks, within)


def span(text: str) -> float:
    """Returns the seconds of "30m", "12h", "7d" or "2w"."""
    seconds = {"m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
    number, unit = text[:-1], text[-1:]
    if unit not in seconds or not re.fullmatch(r"0*[1-9]\d{0,4}", number, re.ASCII):
        raise argparse.ArgumentTypeError(f"{text!r} is no time: write 30m, 12h, 7d or 2w")
    return int(number) * seconds[unit]


def count(text: str) -> int:
    """Returns a number of questions."""
    if not text.isascii() or not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of questions: 1 or more")
    return int(text)


def _picture(text: str) -> Path:
    if Path(text).suffix != ".png":
        raise argparse.ArgumentTypeError(f"{text!r}: name a .png file")
    return Path(text)


def _share(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 <= float(text) <= 1:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no share: 0 to 1")


def _add_run(tasks: Tasks, host: argparse.ArgumentParser) -> None:
    run = tasks.add_parser(
        "run",
        parents=[host],
        help="put a set's questions to the pipeline",
        description="Ingests a set's documents, puts its questions to the pipeline of the settings,"
        " and writes what became of them into a folder. Run it again after it was stopped, and it"
        " goes on.",
    )
    run.add_argument(
        "sets", nargs="+", metavar="SET", help="folders, .jsonl files, irds:NAME, langfuse:NAME"
    )
    run.add_argument("--out", type=Path, required=True, metavar="DIR", help="of the run")
    run.add_argument("--config", type=Path, metavar="FILE.toml", help="instead of RAG_CONFIG")
    run.add_argument(
        "--collection", metavar="NAME", help="asked as it is, by sets without documents"
    )
    run.add_argument(
        "--sample", type=count, metavar="N", help="so many of the questions, the same each time"
    )
    run.add_argument("--search", action="store_true", help="search alone, without answers")
    run.add_argument(
        "--scores", action="store_true", help="as live answers are scored, by the judge too"
    )
    run.add_argument(
        "--measures", nargs="+", default=[], metavar="NAME", help="these alone: nDCG@5, R@20, f1 …"
    )
    run.add_argument("--top-k", type=count, default=10, metavar="N", help="hits (default: 10)")
    run.add_argument("--at-once", type=count, default=8, metavar="N", help="questions (default: 8)")
    run.add_argument("--cache", type=Path, metavar="DIR", help="default: eval in data_dir")


def _add_tune(tasks: Tasks, common: argparse.ArgumentParser) -> None:
    tune = tasks.add_parser(
        "tune",
        parents=[common],
        help="search for better settings",
        description="Tries settings on one half of a set's questions, and tells on the other half"
        " what the best of them are worth beside the settings as they are.",
    )
    tune.add_argument("set", metavar="SET", help="with documents: a folder, irds:NAME")
    tune.add_argument("--space", type=Path, required=True, metavar="FILE.toml", help="to search")
    tune.add_argument("--out", type=Path, required=True, metavar="FILE.toml", help="the best")
    tune.add_argument("--config", type=Path, metavar="FILE.toml", help="instead of RAG_CONFIG")
    tune.add_argument("--measure", default="nDCG@10", metavar="NAME", help="default: nDCG@10")
    tune.add_argument("--trials", type=count, default=30, metavar="N", help="default: 30")
    tune.add_argument("--top-k", type=count, default=10, metavar="N", help="hits (default: 10)")
    tune.add_argument(
        "--at-once", type=count, default=8, metavar="N", help="questions (default: 8)"
    )
    tune.add_argument("--seed", type=int, default=0, metavar="S", help="of the search")
    tune.add_argument("--cache", type=Path, metavar="DIR", help="default: eval in data_dir")


def _add_sets(tasks: Tasks, within: argparse.ArgumentParser) -> None:
    collect = tasks.add_parser(
        "collect",
        parents=[within],
        help="make an evaluation set of live questions",
        description="Writes live questions as JSON lines: those with low scores, those that people"
        " rated or corrected, and a share of the others.",
    )
    collect.add_argument("--out", type=Path, required=True, metavar="FILE", help="of JSON lines")
    collect.add_argument(
        "--since", type=span, default="7d", metavar="TIME", help="30m, 12h, 7d (default), 2w"
    )
    collect.add_argument(
        "--sample", type=_share, default=0.0, metavar="SHARE", help="of the others (default: 0)"
    )
    build = tasks.add_parser(
        "build",
        parents=[within],
        help="make an evaluation set of one's own documents",
        description="Writes questions about a collection's documents, with the spans that answer"
        " them: by the language model of the settings, or without one by leaving words out of"
        " sentences. It works on the data folder itself: no server may have it open.",
    )
    build.add_argument("--out", type=Path, required=True, metavar="DIR", help="new, or empty")
    build.add_argument(
        "--questions", type=count, default=100, metavar="N", help="at most (default: 100)"
    )
    build.add_argument(
        "--seed", type=int, default=0, metavar="S", help="draws other sentences (default: 0)"
    )
    claims = tasks.add_parser(
        "claims",
        parents=[within],
        help="check true and false claims about one's own documents",
        description="Makes claims of sentences and table rows of a collection's documents, true"
        " ones and ones with a wrong number, unit, date, name, negation, row or source, and tells"
        " how many the check of `citations.claims` judges wrongly. It works on the data folder"
        " itself: no server may have it open.",
    )
    claims.add_argument(
        "--out", type=Path, required=True, metavar="FILE.jsonl", help="new; a claim on each line"
    )
    claims.add_argument(
        "--questions",
        type=count,
        default=200,
        metavar="N",
        help="sentences and rows to make claims of, at most (default: 200)",
    )
    claims.add_argument(
        "--seed", type=int, default=0, metavar="S", help="draws other sentences (default: 0)"
    )


def _add_drift(tasks: Tasks, within: argparse.ArgumentParser) -> None:
    drift = tasks.add_parser(
        "drift",
        parents=[within],
        help="compare answers with those of before",
        description="Compares the answers of a window that ends now with those of the one before"
        " it. Exit code 3 where something has drifted.",
    )
    drift.add_argument(
        "--current", type=span, default="1d", metavar="TIME", help="until now (default: 1d)"
    )
    drift.add_argument(
        "--reference", type=span, default="14d", metavar="TIME", help="before (default: 14d)"
    )
    drift.add_argument("--plot", type=_picture, metavar="FILE.png", help="draw both windows")


def _add_runs(tasks: Tasks, common: argparse.ArgumentParser) -> None:
    with_markdown = argparse.ArgumentParser(add_help=False, parents=[common])
    with_markdown.add_argument(
        "--markdown", type=Path, metavar="FILE", help="write it for a pull request, too"
    )
    compare = tasks.add_parser(
        "compare",
        parents=[with_markdown],
        help="is one run better than another, where, and why",
        description="Compares runs of one set with the first of them, question by question.",
    )
    compare.add_argument("baseline", type=Path, metavar="A", help="folder of a run")
    compare.add_argument(
        "candidates", type=Path, nargs="+", metavar="B", help="folders of runs to hold against it"
    )
    compare.add_argument(
        "--measure", metavar="NAME", help="tell the questions for which this changed most"
    )
    report = tasks.add_parser(
        "report",
        parents=[with_markdown],
        help="draw runs",
        description="Writes an HTML page that stands alone: measures, slices, latency, risk, cost"
        " and questions.",
    )
    report.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folders of runs")
    report.add_argument("--out", type=Path, required=True, metavar="FILE.html", help="the page")
    gate = tasks.add_parser(
        "gate",
        parents=[with_markdown],
        help="may this run be shipped",
        description="Holds a run against the rules of a file, and against a baseline. Exit code 1"
        " where a rule is broken.",
    )
    gate.add_argument("run", type=Path, metavar="RUN", help="folder of a run")
    gate.add_argument(
        "--baseline",
        type=Path,
        required=True,
        metavar="RUN",
        help="the run it must not fall behind",
    )
    gate.add_argument(
        "--rules", type=Path, required=True, metavar="FILE.toml", help="what is asked"
    )
