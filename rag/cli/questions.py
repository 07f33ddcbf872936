"""`rag query` and `rag search`."""

from __future__ import annotations

import argparse
import re
from typing import Any

from rag.cli import output
from rag.cli.argument_text import text_of
from rag.client.http import Client, Json
from rag.errors import InputError

_CONDITION = re.compile(r"([A-Za-z0-9_.-]+)\s*(>=|<=|=|>|<)\s*(.+)", re.DOTALL)
_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?")
_OPS = {"=": "eq", ">": "gt", ">=": "gte", "<": "lt", "<=": "lte"}


async def query(args: argparse.Namespace, client: Client) -> int:
    """Answers a question."""
    answer = await client.post("/v1/query", json=_question(args))
    output.show(answer, output.answer, as_json=args.json)
    return 0


async def search(args: argparse.Namespace, client: Client) -> int:
    """Finds passages."""
    found = await client.post("/v1/search", json=_question(args))
    output.show(found, output.hits, as_json=args.json)
    return 0


def _question(args: argparse.Namespace) -> Json:
    return {
        "query": text_of(" ".join(args.question)),
        "collection": args.collection,
        "top_k": args.top_k,
        "filters": [_filter(text_of(text)) for text in args.filter],
    }


def _filter(text: str) -> Json:
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


def _readings(word: str) -> list[Any]:
    if word in ("true", "false"):
        return [word, word == "true"]
    return [word, float(word)] if _NUMBER.fullmatch(word) else [word]
