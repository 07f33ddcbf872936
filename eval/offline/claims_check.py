"""Checks adversarial claims about a collection's documents as the service checks a model's."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any, get_args

import numpy as np

from eval.datasets.adversarial import Change, changed, merge, names_of
from eval.datasets.building import stored_documents
from eval.datasets.rewordings import Rewording, reworded
from eval.datasets.statements import Statement, draw_statements
from eval.measures.statistics import mean_interval
from generation.grounding.claims import ClaimChecker, Verdict, claim_in, declines
from generation.grounding.quotes import quotes_for
from rag.build.service import Service
from rag.errors import InputError, StorageError
from rag.telemetry.trace import Trace
from rag.text.passages import passage_text
from rag.types import Hit, Prompt, Query, Scope

AT_ONCE = 4
"""Statements that are searched for together, at most."""
PARTNERS = 40
"""Statements behind one in their order that are tried for `merge`."""
SUPPORTED = ("as written", "row as a sentence", *get_args(Rewording))
KINDS = (*SUPPORTED, *get_args(Change))


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A claim with its verdict; `verdict` is None for a claim that is taken for "no answer"."""

    kind: str
    text: str
    document_id: str
    verdict: Verdict | None

    @property
    def shown(self) -> bool:
        """True if the claim is shown."""
        return self.verdict is not None and self.verdict.objection is None

    @property
    def wrong(self) -> bool:
        """True if it is shown though unsupported, or removed though supported."""
        return self.shown is not (self.kind in SUPPORTED)

    def to_json(self) -> dict[str, Any]:
        """Returns the line of the file."""
        verdict = self.verdict
        return {
            "kind": self.kind,
            "claim": self.text,
            "document": self.document_id,
            "verdict": "shown" if self.shown else "removed",
            "objection": verdict.objection if verdict else "declined",
            "missing": list(verdict.missing) if verdict else [],
            "support": round(verdict.support, 3) if verdict else 0.0,
        }


async def check_claims(
    service: Service,
    scope: Scope,
    file: Path,
    *,
    statements: int,
    seed: int,
    progress: Callable[[int], None],
) -> dict[str, Any]:
    """Makes claims of a collection's statements, checks them, and writes a line for each.

    Args:
        service: the service whose search and check are used.
        scope: the collection.
        file: written anew.
        statements: sentences and rows, at most.
        seed: chooses them, and what is changed.
        progress: called with the number of statements so far.

    Returns:
        The summary that `rag eval claims` prints: for each kind the claims, those that were judged
        wrongly, and their share with its 95 % interval.

    Raises:
        InputError: The file exists or its folder does not, there is no such collection, or it has
            no statement.
        StorageError: The file cannot be written.
    """
    check_new(file)
    documents = await stored_documents(service, scope)
    drawn = list(islice(draw_statements(documents, seed=seed), statements))
    if not drawn:
        raise InputError(
            f"No claim could be made of the documents of {scope.collection!r} ({len(documents):,}):"
            " they have no sentences of prose and no tables."
        )
    runner = _Runner(service, scope, drawn, seed)
    at_once = min(AT_ONCE, service.settings.limits.questions)
    checked: list[Checked] = []
    for begin in range(0, len(drawn), at_once):
        places = range(begin, min(begin + at_once, len(drawn)))
        for claims in await asyncio.gather(*map(runner.check, places)):
            checked += claims
        progress(places.stop)
    await asyncio.to_thread(_write, file, checked)
    return {
        "file": str(file),
        "collection": scope.collection,
        "documents": len(documents),
        "statements": len(drawn),
        "seed": seed,
        "kinds": list(summarised(checked)),
    }


def check_new(file: Path) -> None:
    """Raises InputError if the file exists, or its folder does not."""
    if file.exists():
        raise InputError(f"{file} is there already: name another file.")
    if not file.parent.is_dir():
        raise InputError(f"{file.parent} is no folder: make it, or name a file in another one.")


def summarised(checked: Sequence[Checked]) -> Iterator[dict[str, Any]]:
    """Yields the counts of each kind that has claims, supported ones first."""
    by_kind: dict[str, list[bool]] = defaultdict(list)
    for claim in checked:
        by_kind[claim.kind].append(claim.wrong)
    for kind in KINDS:
        if wrong := by_kind.get(kind):
            values = np.array(wrong, np.float64)
            low, high = mean_interval(values, most=1)
            yield {
                "kind": kind,
                "supported": kind in SUPPORTED,
                "claims": len(wrong),
                "wrong": sum(wrong),
                "share": float(values.mean()),
                "low": low,
                "high": high,
            }


class _Runner:
    """Makes the claims of one statement after another, and checks them."""

    def __init__(
        self, service: Service, scope: Scope, statements: Sequence[Statement], seed: int
    ) -> None:
        self._service = service
        self._scope = scope
        self._statements = statements
        self._seed = seed
        prose = [each for each in statements if each.other_row is None]
        self._names = [(each.document_id, names_of(each.passage)) for each in prose]

    async def check(self, place: int) -> list[Checked]:
        """Returns the checked claims of the statement at a place.

        The evidence is what the service finds for the statement; for a merged claim, for both of
        its statements; for `elsewhere`, the same without the statement's document.
        """
        statement = self._statements[place]
        random = Random(f"{self._seed} {place} {statement.document_id}")  # noqa: S311
        found = await self._find(statement.text)
        own = await self._evidence(statement.text, found)
        texts = [passage_text(hit.chunk) for hit in own.hits]
        names = [n for id_, each in self._names if id_ != statement.document_id for n in each]
        claims: list[tuple[str, str]] = [("as written", statement.text)]
        if statement.other_row is None:
            claims += reworded(statement.sentence)
        else:
            claims.append(("row as a sentence", statement.sentence))
        claims += await asyncio.to_thread(lambda: list(changed(statement, texts, names, random)))
        checked = [await self._judge(kind, text, statement, own) for kind, text in claims]
        if merged := merge(statement, self._statements[place + 1 : place + 1 + PARTNERS]):
            text, other = merged
            asked = f"{statement.text} {other.text}"
            both = await self._evidence(asked, await self._find(asked))
            checked.append(await self._judge("merged", text, statement, both))
        others = [hit for hit in found if hit.chunk.document_id != statement.document_id]
        without = await self._evidence(statement.text, others)
        checked.append(await self._judge("elsewhere", statement.sentence, statement, without))
        return checked

    async def _find(self, text: str) -> tuple[Hit, ...]:
        result = await self._service.query.search(Query(text=text, scope=self._scope), Trace())
        return result.hits

    async def _evidence(self, asked: str, hits: Sequence[Hit]) -> _Evidence:
        """Returns the passages as a generator gets them, with the check of claims against them."""
        reader = self._service.answering.reader
        passages = tuple(await reader.read(self._scope, hits) if reader else hits)
        prompt = Prompt(question=asked, scope=self._scope, hits=passages)
        quotes = quotes_for(prompt, self._service.answering.extractive)
        checker = self._service.answering.drafts.checker(asked, passages, quotes)
        return _Evidence(hits=passages, checker=checker)

    async def _judge(
        self, kind: str, text: str, statement: Statement, evidence: _Evidence
    ) -> Checked:
        claim = claim_in(text)
        verdict = None
        if claim and not declines(claim):
            verdict = await evidence.checker.check(claim)
        return Checked(kind=kind, text=text, document_id=statement.document_id, verdict=verdict)


@dataclass(frozen=True, slots=True)
class _Evidence:
    hits: tuple[Hit, ...]
    checker: ClaimChecker


def _write(file: Path, checked: Sequence[Checked]) -> None:
    try:
        with file.open("x", encoding="utf-8") as lines:
            lines.writelines(
                f"{json.dumps(claim.to_json(), ensure_ascii=False)}\n" for claim in checked
            )
    except OSError as error:
        raise StorageError(f"{file} cannot be written: {error.strerror}.") from error
