"""Builds a set from a collection's documents: questions with evidence, in the BEIR layout."""

from __future__ import annotations

import asyncio
import csv
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from eval.datasets.excerpts import Excerpt, draw_excerpts, folded
from eval.datasets.loading import ID_LENGTH
from eval.datasets.question_writers import ClozeDrafter, Draft, Drafter, DroppedError, ModelDrafter
from generation.grounding.groundedness import Grounding, load_grounding
from rag.build.service import Service
from rag.errors import InputError, RagError, StorageError, UpstreamError
from rag.pipeline.query import QueryPipeline
from rag.telemetry.trace import Trace
from rag.types import Document, Query, Scope
from retrieval.embedders.token_cache import TokenCache

AT_ONCE = 8
"""Excerpts asked about together, at most: a model server batches them."""
TRIES = 10
"""Excerpts tried for each question that is wanted, at most."""
TOP_K = 10
"""Passages searched for another one that answers the question."""
ELSEWHERE = 0.5
"""Groundedness from which another passage more likely than not says the same."""
PAGE = 500
CACHE_BYTES = 64 << 20
"""Bytes of cached token vectors: passages are compared with many questions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A question of the set and the sentence that answers it."""

    draft: Draft
    excerpt: Excerpt

    @property
    def id(self) -> str:
        """An id that is the same for the same question about the same sentence."""
        key = (self.excerpt.document_id, self.excerpt.start, self.draft.question)
        return hashlib.sha256(json.dumps(key).encode()).hexdigest()[:ID_LENGTH]


@dataclass(slots=True, kw_only=True)
class Built:
    """The questions, the number of excerpts tried, and why those without a question have none."""

    made: list[Made] = field(default_factory=list)
    tried: int = 0
    dropped: Counter[str] = field(default_factory=Counter)


class SetBuilder:
    """Makes questions and keeps the good ones."""

    def __init__(
        self,
        *,
        drafter: Drafter,
        search: QueryPipeline,
        grounding: Grounding,
        scope: Scope,
        at_once: int,
    ) -> None:
        """Make a builder.

        Args:
            drafter: writes the questions.
            search: finds other passages that may answer a question.
            grounding: scores whether they do.
            scope: the scope of the documents.
            at_once: excerpts asked about together.
        """
        self._drafter = drafter
        self._search = search
        self._grounding = grounding
        self._scope = scope
        self._at_once = at_once

    async def build(
        self, excerpts: Iterator[Excerpt], wanted: int, progress: Callable[[int], None]
    ) -> Built:
        """Tries excerpts in order until there are as many questions as wanted.

        Args:
            excerpts: at most `TRIES` for each question are tried.
            wanted: the number of questions.
            progress: called with the number of questions so far.

        Raises:
            InputError, UpstreamError: Model or search failed for all excerpts of a batch.
        """
        built = Built()
        questions: set[str] = set()
        tries = islice(excerpts, wanted * TRIES)
        while len(built.made) < wanted and (batch := list(islice(tries, self._at_once))):
            outcomes = await asyncio.gather(*(self._try(excerpt) for excerpt in batch))
            failures = [outcome for outcome in outcomes if isinstance(outcome, RagError)]
            if len(failures) == len(batch):
                raise failures[0]
            for excerpt, outcome in zip(batch, outcomes, strict=True):
                if len(built.made) < wanted:
                    _take(built, questions, excerpt, outcome)
            progress(len(built.made))
        return built

    async def _try(self, excerpt: Excerpt) -> Draft | DroppedError | RagError:
        try:
            draft = await self._drafter.draft(excerpt)
            elsewhere = await self._is_elsewhere(draft, excerpt)
        except (DroppedError, InputError, UpstreamError) as error:
            return error
        return DroppedError("answered elsewhere too") if elsewhere else draft

    async def _is_elsewhere(self, draft: Draft, excerpt: Excerpt) -> bool:
        query = Query(text=draft.question, scope=self._scope, top_k=TOP_K)
        result = await self._search.search(query, Trace())
        others = [hit.chunk for hit in result.hits if not excerpt.overlaps(hit.chunk)]
        return bool((await self._grounding.score([draft.claim], others))[0] >= ELSEWHERE)


def _take(
    built: Built, questions: set[str], excerpt: Excerpt, outcome: Draft | DroppedError | RagError
) -> None:
    built.tried += 1
    match outcome:
        case RagError():
            built.dropped["model or search failed"] += 1
        case DroppedError():
            built.dropped[str(outcome)] += 1
        case Draft() if folded(outcome.question) in questions:
            built.dropped["asked before"] += 1
        case Draft():
            questions.add(folded(outcome.question))
            built.made.append(Made(draft=outcome, excerpt=excerpt))


async def build_set(
    service: Service,
    scope: Scope,
    folder: Path,
    *,
    questions: int,
    seed: int,
    progress: Callable[[int], None],
) -> dict[str, Any]:
    """Builds a set from a collection's documents, and returns a summary of it.

    The service's language model writes the questions if there is one; otherwise words are left out
    of sentences.

    Raises:
        InputError: The folder is not empty, there is no such collection, or it yields no question.
        UpstreamError: The language model fails.
        StorageError: The folder cannot be written.
    """
    check_empty(folder)
    documents = await stored_documents(service, scope)
    drafter: Drafter = (
        ModelDrafter(service.model)
        if service.model
        else ClozeDrafter((document.text for document in documents), seed=seed)
    )
    tokens = TokenCache(service.embedder, max_bytes=CACHE_BYTES)
    grounding = Grounding(tokens, load_grounding())
    builder = SetBuilder(
        drafter=drafter,
        search=service.query,
        grounding=grounding,
        scope=scope,
        at_once=min(AT_ONCE, service.settings.limits.questions),
    )
    built = await builder.build(draw_excerpts(documents, seed=seed), questions, progress)
    if not built.made:
        raise InputError(
            f"No question could be made of the {len(documents):,} documents of"
            f" {scope.collection!r}: {_reasons(built)}."
        )
    manifest = {
        "collection": scope.collection,
        "documents": len(documents),
        "questions": len(built.made),
        "wanted": questions,
        "made_by": drafter.name,
        "seed": seed,
        "tried": built.tried,
        "dropped": dict(built.dropped.most_common()),
    }
    await asyncio.to_thread(write_set, folder, documents, built.made, manifest)
    return {"folder": str(folder), **manifest}


def check_empty(folder: Path) -> None:
    """Raises InputError if the path exists and is not an empty folder."""
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise InputError(f"{folder} is there already: name a folder that is new, or empty.")


async def stored_documents(service: Service, scope: Scope) -> list[Document]:
    """Returns all stored documents, in the order of their ids; one of those with equal bytes.

    Raises:
        NotFoundError: There is no such collection.
    """
    await service.catalog.collections.check_exists(scope)
    documents: list[Document] = []
    after = ""
    while page := await service.catalog.documents.page(scope, limit=PAGE, after=after):
        after = page[-1].id
        stored = [r.id for r in page if r.version and not r.duplicate_of]
        documents += [await service.catalog.documents.stored(scope, id_) for id_ in stored]
    return documents


def _reasons(built: Built) -> str:
    """Lists the reasons why there are no more questions."""
    reasons = (f"{count:,} {reason}" for reason, count in built.dropped.most_common())
    return ", ".join(reasons) or "they have no sentences of prose"


def write_set(
    folder: Path, documents: Iterable[Document], made: Sequence[Made], manifest: dict[str, Any]
) -> None:
    """Writes a set in the BEIR layout, and `build.json`, which describes how it was made.

    Raises:
        StorageError: The set cannot be written.
    """
    try:
        (folder / "qrels").mkdir(parents=True, exist_ok=True)
        _write_lines(folder / "corpus.jsonl", (_passage(document) for document in documents))
        _write_lines(
            folder / "queries.jsonl", (_question(each, manifest["made_by"]) for each in made)
        )
        with (folder / "qrels" / "test.tsv").open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file, delimiter="\t", lineterminator="\n")
            table.writerow(("query-id", "corpus-id", "score"))
            table.writerows((each.id, each.excerpt.document_id, 1) for each in made)
        (folder / "build.json").write_text(
            json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )
    except OSError as error:
        raise StorageError(f"{folder} cannot be written: {error.strerror}.") from error


def _passage(document: Document) -> dict[str, Any]:
    return {
        "_id": document.id,
        "title": document.title,
        "text": document.text,
        "metadata": {"uri": document.uri},
    }


def _question(made: Made, by: str) -> dict[str, Any]:
    excerpt = made.excerpt
    return {
        "_id": made.id,
        "text": made.draft.question,
        "metadata": {
            "doc": excerpt.document_id,
            "spans": [[excerpt.start, excerpt.end]],
            "quotes": [excerpt.text],
            "answers": [made.draft.answer],
            "answerable": True,
            "above": list(excerpt.above),
            "made_by": by,
        },
    }


def _write_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
