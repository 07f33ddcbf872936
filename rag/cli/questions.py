"""`rag query` and `rag search`."""

from __future__ import annotations

import argparse
import re
from typing import Literal

from rag.cli import answer_lines, output
from rag.cli.argument_text import text_of
from rag.cli.last_answer import remember
from rag.client import AsyncClient, Filter
from rag.errors import InputError

_CONDITION = re.compile(r"([A-Za-z0-9_.-]+)\s*(>=|<=|=|>|<)\s*(.+)", re.DOTALL)
_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?")
_OPS: dict[str, Literal["gt", "gte", "lt", "lte"]] = {
    ">": "gt",
    ">=": "gte",
    "<": "lt",
    "<=": "lte",
}


async def query(args: argparse.Namespace, client: AsyncClient) -> int:
    """Answers a question."""
    answer = await client.ask(
        _question(args), collection=args.collection, top_k=args.top_k, filters=filters(args)
    )
    output.show(answer, answer_lines.answer, as_json=args.json)
    if not args.json:
        remember(answer, args)
    return 0


async def search(args: argparse.Namespace, client: AsyncClient) -> int:
    """Finds passages."""
    found = await client.search(
        _question(args), collection=args.collection, top_k=args.top_k, filters=filters(args)
    )
    output.show(found, answer_lines.hits, as_json=args.json)
    if not args.json:
        remember(found, args)
    return 0


def filters(args: argparse.Namespace) -> list[Filter]:
    """Returns the conditions that `--filter` names."""
    return [_filter(text_of(text)) for text in args.filter]


def _question(args: argparse.Namespace) -> str:
    return text_of(" ".join(args.question))


def _filter(text: str) -> Filter:
    match = _CONDITION.fullmatch(text)
    if match is None:
        raise InputError(f"--filter {text!r}: write FIELD=VALUE, or >=, >, <=, < instead of =.")
    field, sign, value = match.groups()
    if sign != "=":
        number = float(value) if _NUMBER.fullmatch(value) else value
        return {"field": field, "op": _OPS[sign], "value": number}
    # On the command line 8 may mean the number or the word: both are tried.
    values = [each for word in value.split(",") for each in _readings(word.strip())]
    return {"field": field, "op": "in", "value": values}


def _readings(word: str) -> list[str | bool | float]:
    if word in ("true", "false"):
        return [word, word == "true"]
    return [word, float(word)] if _NUMBER.fullmatch(word) else [word]
