"""`rag eval compare`, `report` and `gate`: compare, report and check runs of an evaluation."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

from eval.compare import comparison, gate, gate_text, report, report_html, text
from eval.compare.gate_rules import read_rules
from eval.runs.run_folder import read_run
from rag.cli import output
from rag.cli.progress import activity
from rag.errors import StorageError


def run(args: argparse.Namespace) -> int:
    """Runs the task; returns its exit code."""
    match args.task:
        case "compare":
            return _compare(args)
        case "report":
            return _report(args)
        case _:
            return _gate(args)


def _compare(args: argparse.Namespace) -> int:
    with activity("Comparing", quiet=args.json):
        runs = [read_run(folder) for folder in (args.baseline, *args.candidates)]
        found = comparison.compare(runs, measure=args.measure)
    body = {"comparisons": [comparison.to_json(each) for each in found]}
    output.show(body, lambda _: _joined(map(text.to_text, found)), as_json=args.json)
    _write_markdown(args, _joined(map(text.to_markdown, found)))
    return 0


def _report(args: argparse.Namespace) -> int:
    with activity("Comparing", quiet=args.json):
        examined = report.examine([read_run(folder) for folder in args.runs])
        _write(args.out, report_html.to_html(examined))
    body = report.to_json(examined) | {"file": str(args.out)}
    text = _joined((report.to_text(examined), [f"The page is {args.out}."]))
    output.show(body, lambda _: text, as_json=args.json)
    _write_markdown(args, report.to_markdown(examined))
    return 0


def _gate(args: argparse.Namespace) -> int:
    rules = read_rules(args.rules)
    with activity("Comparing", quiet=args.json):
        verdict = gate.gate(read_run(args.run), read_run(args.baseline), rules)
    output.show(gate.to_json(verdict), lambda _: gate_text.to_text(verdict), as_json=args.json)
    _write_markdown(args, gate_text.to_markdown(verdict))
    return int(bool(verdict.failures))


def _joined(texts: Iterable[Iterable[str]]) -> output.Lines:
    """Yields texts with an empty line between them."""
    for place, lines in enumerate(texts):
        if place:
            yield ""
        yield from lines


def _write_markdown(args: argparse.Namespace, lines: Iterable[str]) -> None:
    if args.markdown:
        _write(args.markdown, "".join(f"{line}\n" for line in lines))


def _write(path: Path, text: str) -> None:
    try:
        # Text of a run may contain a lone surrogate, which UTF-8 cannot encode.
        path.write_text(text, encoding="utf-8", errors="replace")
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror}.") from error
