"""Results as text for the terminal; programs get the same as JSON."""

from __future__ import annotations

import json
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from rag.cli.printable import printable, printable_json
from rag.client import (
    Document,
    Response,
)

Json = dict[str, Any]
Body = TypeVar("Body", bound=Response | Json)
Lines = Iterator[str]
MAX_LISTED_DOCUMENTS = 20


def show(body: Body, lines: Callable[[Body], Lines], *, as_json: bool) -> None:
    """Prints a result, for programs or for people."""
    if as_json:
        text = json.dumps(json_of(body), ensure_ascii=False, indent=2)
        print(printable_json(text))  # noqa: T201
    else:
        for line in lines(body):
            print(printable(line))  # noqa: T201


def show_at_once(body: Body, lines: Callable[[Body], Lines], *, as_json: bool) -> None:
    """Prints one of several results as it comes, as JSON on a single line."""
    if as_json:
        text = json.dumps(json_of(body), ensure_ascii=False)
        print(printable_json(text), flush=True)  # noqa: T201
    else:
        for line in lines(body):
            print(printable(line), flush=True)  # noqa: T201


def json_of(body: Response | Json) -> Json:
    """Returns a result as JSON: a response has the fields that the server sent."""
    if isinstance(body, Response):
        return body.model_dump(mode="json", exclude_unset=True)
    return body


def table(rows: Sequence[Sequence[str]], *, numbers: int = 0) -> Lines:
    """Yields rows as lines of aligned columns; the last `numbers` columns are set to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    texts = len(widths) - numbers
    for row in rows:
        cells = (
            cell.ljust(width) if place < texts else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join(cells).rstrip()


def ingested(body: Json) -> Lines:
    """Yields the results of an ingestion."""
    counts, outcomes = body["counts"], body["outcomes"]
    parts = [
        f"{outcomes[kind]} {kind}"
        for kind in ("stored", "unchanged", "duplicate", "skipped")
        if kind in outcomes
    ]
    parts += [f"{counts[state]} {state}" for state in ("failed", "cancelled") if counts[state]]
    if body.get("removed"):
        parts.append(f"{body['removed']} removed")
    done = ", ".join(parts) or "nothing to do"
    yield f"{_documents(counts['total'])} in {body['seconds']:.1f} s: {done}."
    if "skipped" in outcomes:
        yield "  skipped: nothing here can read them; `rag status` says why."
    for failure in body["failures"]:
        yield f"  failed: {failure['uri']}"
        yield f"          {failure['error']}"


def reindexed(body: Json) -> Lines:
    """Yields the size of the index that is searched from now on."""
    held = f"{_documents(body['documents'])}, {body['chunks']} chunks"
    yield f"{bold(body['collection'])}: {held} in {body['seconds']:.1f} s."
    yield "The version before is kept: `rag reindex --rollback` goes back to it."


_FAULTS = {
    "missing": "{chunks} of {expected} chunks are in the index",
    "surplus": "{chunks} chunks are in the index, and the catalog counts {expected}",
    "old": "chunks of other bytes than those stored are in the index",
    "moved": "chunks have another text than the stored one at their place",
    "twice": "chunks are in the index twice, or out of order",
    "original": "the document whose duplicate it is does not hold its bytes",
    "orphan": "{chunks} chunks of it are in the index, and the catalog does not know it",
}
_MAX_LISTED_FAULTS = 20


def checked(body: Json) -> Lines:
    """Yields the findings of `rag index check`."""
    compared = f"{_documents(body['documents'])}, {body['chunks']:,} chunks"
    if body["under_way"]:
        yield f"Of {_documents(body['under_way'])} tasks are open: not compared."
    faults = sum(body["faults"].values())
    if faults:
        yield f"{body['collection']}: {compared}: catalog and index differ in {_documents(faults)}."
        yield from _faults(body, faults)
    else:
        yield f"{body['collection']}: {compared}: catalog and index agree."
    yield from _recall(body["recall"])


def _faults(body: Json, count: int) -> Lines:
    for fault in body["first_faults"][:_MAX_LISTED_FAULTS]:
        text = _FAULTS[fault["kind"]].format(**fault)
        yield f"  {fault['uri'] or fault['document_id']}: {text}"
    if count > _MAX_LISTED_FAULTS:
        yield f"  … and {count - _MAX_LISTED_FAULTS:,} more"
    if body["repaired"]:
        yield f"Repaired: {body['repaired']:,} of {count:,}."
    if not body["agrees"]:
        yield (
            "Ingest again what could not be repaired: `rag status --failed` lists it."
            if body["repaired"]
            else "`rag index check --repair` puts them in step, from the stored text."
        )


def _recall(measured: Sequence[Json]) -> Lines:
    if not measured:
        return
    yield "recall@10 of vector search: " + ", ".join(
        f"{each['recall']:.3f} {_filtered(each)}" for each in measured
    )
    low = [_filtered(each) for each in measured if not each["enough"]]
    if low:
        yield (
            f"Vector search misses more than it may {', '.join(low)}: `rag reindex` builds its"
            " graph anew."
        )


def _filtered(each: Json) -> str:
    if each["field"] is None:
        return "without a filter"
    return f"under filters on {each['field']} ({each['kind']})"


def status(body: Json) -> Lines:
    """Yields collections, then the documents of the chosen one, failed ones first."""
    if not body["collections"]:
        yield "Nothing is stored yet: `rag ingest PATH` begins."
        return
    for each in body["collections"]:
        yield f"{bold(each['name'])}: {_documents(each['documents'])}, {each['chunks']} chunks"
        if each.get("outdated"):
            indexed = f"{_documents(each['outdated'])} indexed by an older version"
            yield f"  {indexed}: `rag reindex --collection {each['name']}` brings them up."
        if reread := each.get("reread"):
            yield f"  {_documents(reread)} read by an older version: ingest again to bring up."
    documents = sorted(body["documents"], key=lambda d: (d["state"] != "failed", d["uri"]))
    if documents:
        states = Counter(d["state"] for d in documents)
        yield ""
        yield f"In {body['collection']}: " + ", ".join(
            f"{n} {s}" for s, n in sorted(states.items())
        )
    for each in documents[:MAX_LISTED_DOCUMENTS]:
        name = each["title"] or each["uri"]
        yield f"  {each['state']:<9}  {each['chunks']:>4} chunks  {each['id']}  {name}"
        if each["error"]:
            yield f"             {each['error']}"
    if len(documents) > MAX_LISTED_DOCUMENTS:
        yield f"  … and {len(documents) - MAX_LISTED_DOCUMENTS} more (--json lists all)"


def document(body: Document) -> Lines:
    """Yields one document, field by field."""
    for key, value in json_of(body).items():
        if value not in (None, "", {}):
            text = json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else value
            yield f"{key + ':':<14}{text}"


def deleted(body: Json) -> Lines:
    """Yields the names of the deleted documents."""
    for name in body["deleted"]:
        yield f"Deleted {name}"


def toml(body: Json) -> Lines:
    """Yields settings as the TOML file that would set them."""
    tables: list[tuple[str, Mapping[str, Any]]] = []
    lists: list[tuple[str, Mapping[str, Any]]] = []
    for key, value in body.items():
        if isinstance(value, dict):
            tables.append((key, value))
        elif isinstance(value, list) and value:
            lists += [(key, each) for each in value]
        else:
            yield _toml_line(key, value)
    for name, table in tables:
        yield from _toml_table(name, table)
    for name, table in lists:
        yield ""
        yield f"[[{name}]]"
        for key, value in table.items():
            yield _toml_line(key, value)


def _toml_table(name: str, table: Mapping[str, Any]) -> Lines:
    """Yields a table; a part with settings that are not set is a table of its own."""
    yield ""
    yield f"[{name}]"
    parts = {key: value for key, value in table.items() if _has_gap(value)}
    for key, value in table.items():
        if key not in parts:
            yield _toml_line(key, value)
    for key, value in parts.items():
        yield from _toml_table(f"{name}.{_toml_key(key)}", value)


def _has_gap(value: Any) -> bool:
    """Returns True for a part with a setting that is not set, at any depth."""
    return isinstance(value, dict) and any(v is None or _has_gap(v) for v in value.values())


def _toml_key(key: str) -> str:
    return key if re.fullmatch(r"[\w-]+", key, re.ASCII) else json.dumps(key)


def _toml_line(key: str, value: Any) -> str:
    return f"# {key} is not set" if value is None else f"{key} = {_toml_value(value)}"


def _toml_value(value: Any) -> str:
    """Returns a value on one line; what is not set in it is left out, as TOML has no null."""
    if isinstance(value, dict):
        given = {json.dumps(key): each for key, each in value.items() if each is not None}
        return "{" + ", ".join(f"{key} = {_toml_value(each)}" for key, each in given.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml_value, value))}]"
    return json.dumps(value)


def evaluated(body: Json) -> Lines:
    """Yields the results of an evaluation run."""
    yield f"{body['run']}: {body['questions']:,} questions of {body['set']}."
    if body["failed"]:
        yield f"{body['failed']:,} of them failed: `error` in outcomes.jsonl says why."
    if body["degraded"]:
        yield f"{body['degraded']:,} of them were degraded: `degraded` in outcomes.jsonl says how."
    yield ""
    for name, found in body["measures"].items():
        interval = f"{found['low']:.3f} to {found['high']:.3f}"
        yield f"  {name:24} {found['mean']:.3f}  ({interval}; {found['n']:,} questions)"
    for name, value in body["abstention"].items():
        yield f"  {name:24} {value:.3f}"
    total = body["latency"].get("total", {})
    if total:
        yield f"  {'latency':24} {total['p50']:.0f} ms, 95th percentile {total['p95']:.0f} ms"
    yield ""


def tuned(body: Json) -> Lines:
    """Yields the results of a search for better settings."""
    faults = [trial["fault"] for trial in body["trials"] if trial["fault"]]
    stopped = sum(trial["stopped"] for trial in body["trials"]) - len(faults)
    yield f"{len(body['trials'])} trials, {stopped} of them stopped early."
    if faults:
        yield f"{len(faults)} of them were passed over, the first for this: {faults[0]}"
    yield f"{body['asked']:,} questions asked; what was asked before was kept."
    if body["best"] == body["trials"][0]["settings"]:
        yield "None is above the settings in force by more than chance: they stay."
    for name, value in body["best"].items():
        yield f"  {name} = {value}"
    train, held = body["train"], body["held_out"]
    yield (
        f"{body['measure']} of the {train['questions']:,} questions searched with:"
        f" {train['best']:.4f}, and {train['now']:.4f} with the settings in force"
    )
    interval = f"{held['low']:+.4f} to {held['high']:+.4f}"
    yield (
        f"On {held['questions']:,} others: {held['difference']:+.4f} ({interval}; p ="
        f" {held['p']:.3f}; {held['wins']:,} better, {held['losses']:,} worse)"
    )
    if body["settings"] != body["best"]:
        yield "They are not better there: the settings in force stay, and are what is written."
    yield f"Written to {body['file']}."


def collected(body: Json) -> Lines:
    """Yields the numbers of live answers that were collected."""
    yield f"{body['cases']:,} of {body['answers']:,} answers went to {body['file']}."
    if body["to_fill_in"]:
        yield f"{body['to_fill_in']:,} of them have no right answer yet: fill in `answer`."
    if body["without_words"]:
        yield f"{body['without_words']:,} were kept without their words (privacy.capture)."


def built(body: Json) -> Lines:
    """Yields the numbers of questions that were built, and of sentences that were dropped."""
    made = f"{body['questions']:,} questions about {_documents(body['documents'])}"
    yield f"{made} went to {body['folder']}, made by {body['made_by']}."
    if body["questions"] < body["wanted"]:
        yield f"{body['wanted']:,} were wanted: there were no more good ones."
    dropped = ", ".join(f"{count:,} {reason}" for reason, count in body["dropped"].items())
    if dropped:
        yield f"Of {body['tried']:,} sentences were dropped: {dropped}."


def _documents(n: int) -> str:
    return f"{n} document" if n == 1 else f"{n} documents"


def bold(text: str) -> str:
    """Returns text that stands out on a terminal."""
    return _styled(text, "1")


def dim(text: str) -> str:
    """Returns text that stands back on a terminal."""
    return _styled(text, "2")


def _styled(text: str, code: str) -> str:
    if sys.stdout.isatty() and "NO_COLOR" not in os.environ:
        return f"\x1b[{code}m{text}\x1b[0m"
    return text
