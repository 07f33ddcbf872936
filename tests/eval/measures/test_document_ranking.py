"""Rankings of documents, from as many chunks as they need."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from eval.measures.document_ranking import MOST, RankedDocuments, rank_documents
from eval.runs.run_folder import read_run
from rag.telemetry.trace import Trace
from rag.types import Chunk, Hit, Query, Scope, SearchResult
from tests.servers import rag

pytestmark = pytest.mark.anyio


def hits(documents: str) -> list[Hit]:
    """Returns a hit for each letter; the letter is its document."""
    return [
        Hit(
            chunk=Chunk(
                id=f"{name}{place}",
                document_id=name,
                version="",
                text="",
                position=place,
                start=0,
                end=0,
                title="",
                uri="",
            ),
            score=-place,
            source="fused",
            ranks={},
        )
        for place, name in enumerate(documents)
    ]


class Collection:
    """Returns its chunks in order and records how many were requested."""

    def __init__(self, documents: str) -> None:
        self.hits = hits(documents)
        self.asked: list[int] = []

    async def search(self, query: Query, trace: Trace) -> SearchResult:
        self.asked.append(query.top_k)
        return SearchResult(hits=tuple(self.hits[: query.top_k]), degraded=(), timings={})

    async def ranked(self, top_k: int) -> RankedDocuments:
        query = Query(text="?", scope=Scope(tenant="t", collection="c"), top_k=top_k)
        return await rank_documents(self.search, query, self.hits[:top_k], None)


async def test_nothing_is_searched_where_every_hit_is_another_document() -> None:
    collection = Collection("abcde")
    assert await collection.ranked(3) == RankedDocuments(("a", "b", "c"), 3)
    assert collection.asked == []


async def test_chunks_are_asked_for_until_there_are_as_many_documents() -> None:
    collection = Collection("aaab" + "a" * 7 + "cd")
    assert await collection.ranked(3) == RankedDocuments(("a", "b", "c"), 12)
    assert collection.asked == [6, 12]


async def test_it_ends_where_no_more_chunks_are_found() -> None:
    collection = Collection("aaaab")
    assert await collection.ranked(4) == RankedDocuments(("a", "b"), 8)
    assert collection.asked == [8]
    assert await Collection("").ranked(4) == RankedDocuments((), 4)


async def test_it_ends_where_one_document_has_all_the_chunks() -> None:
    collection = Collection("a" * 1000)
    assert await collection.ranked(2) == RankedDocuments(("a",), 2 * MOST)


def test_a_document_of_many_chunks_pushes_no_other_out(tmp_path: Path) -> None:
    """Six long documents about harbours: the first ten chunks belong to one or two of them."""
    folder = tmp_path / "harbours"
    (folder / "qrels").mkdir(parents=True)
    places = ("Nantes", "Bremen", "Malmo", "Porto", "Split", "Cadiz")
    corpus = [
        {
            "_id": place,
            "title": f"The harbour of {place}",
            "text": " ".join(
                f"Berth {berth} of the harbour of {place} takes ships of {berth + 20} metres."
                for berth in range(200)
            ),
        }
        for place in places
    ]
    (folder / "corpus.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in corpus))
    question = {"_id": "q", "text": "Which harbour takes ships of 60 metres?"}
    (folder / "queries.jsonl").write_text(json.dumps(question) + "\n")
    rows = "".join(f"q\t{place}\t1\n" for place in places)
    (folder / "qrels" / "test.tsv").write_text(rows)
    done = rag(
        *("eval", "run", "harbours", "--search", "--top-k", "6", "--out", "run"),
        *("--measures", "R@6", "nDCG@5"),
        data=tmp_path / "data",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    run = read_run(tmp_path / "run")
    [outcome] = run.outcomes
    assert len({hit.document_id for hit in outcome.hits}) < len(outcome.hits) == 6
    assert set(outcome.documents) == set(places)
    assert outcome.measures == {"R@6": 1, "nDCG@5": 1}
    assert run.summary["chunks_asked"]["p50"] == outcome.chunks_asked > 6
    assert len((tmp_path / "run" / "run.trec").read_text().splitlines()) == 6
