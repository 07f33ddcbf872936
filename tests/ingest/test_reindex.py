"""Reindexing into a version that is not searched until it is complete, and rollback."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ingest.chunkers.strategies import SectionChunker
from ingest.pipeline import IngestPipeline
from ingest.readers import versions
from ingest.readers.versions import READERS
from ingest.reindex import Reindexer
from ingest.settling import settle
from ingest.sources.files import Spool, submission_of
from rag.catalog.catalog import Catalog
from rag.catalog.sqlite_database import SqliteDatabase
from rag.catalog.unsettled import Mark
from rag.errors import (
    BusyError,
    ConfigError,
    InputError,
    NotFoundError,
    StorageError,
    UpstreamError,
)
from rag.protocols import StoredIndex
from rag.records import JobRecord, Submission, Switch
from rag.telemetry.trace import Trace
from rag.text.passages import passage_text
from rag.types import Chunk, Float32Array, Kind, Point, Query, Scope
from retrieval.bm25 import Bm25Encoder
from retrieval.hybrid import HybridRetriever
from retrieval.indexes.edge import EdgeIndex
from retrieval.indexes.qdrant import QdrantIndex
from tests.fakes import HashEmbedder, HereReader, dense_leg, sparse_leg
from tests.indexes import opened
from tests.qdrant_servers import NO_INDEXES
from tests.servers import (
    PATIENCE,
    RAG,
    all_documents,
    contents,
    environment,
    rag,
    serving,
    wait_for,
)
from tests.shallow_minilm import shallow

pytestmark = [pytest.mark.anyio, NO_INDEXES]

LEGS = [
    leg(text, limit=1000)
    for leg, text in (
        (dense_leg, "word3x7of1 says"),
        (sparse_leg, "word3x7of1 word2x1of2"),
        (sparse_leg, "paragraph says"),
    )
]


@dataclass
class Bench:
    """A collection and the parts that work on it, with any chunker and embedder."""

    folder: Path
    scope: Scope
    catalog: Catalog
    index: StoredIndex
    embedder: HashEmbedder = field(default_factory=HashEmbedder)
    max_tokens: int = 40
    stores_tokens: bool = False

    @property
    def pipeline(self) -> IngestPipeline:
        return IngestPipeline(
            reader=HereReader(max_bytes=1 << 20),
            chunker=SectionChunker(self.embedder.count_tokens, max_tokens=self.max_tokens),
            embedder=self.embedder,
            encoder=Bm25Encoder(),
            index=self.index,
            catalog=self.catalog,
            spool=Spool(self.folder / "spool"),
            passages=self.embedder if self.stores_tokens else None,
        )

    @property
    def reindexer(self) -> Reindexer:
        return Reindexer(
            pipeline=self.pipeline, embedder=self.embedder, index=self.index, catalog=self.catalog
        )

    def file(self, name: str, text: str) -> Submission:
        (self.folder / name).write_text(text)
        return submission_of(self.folder / name)

    async def ingest(self, *submissions: Submission, scope: Scope | None = None) -> JobRecord:
        scope, pipeline = scope or self.scope, self.pipeline
        await pipeline.check_collection(scope)
        job = await self.catalog.jobs.submit(scope, submissions)
        for task in await self.catalog.tasks.claim(100):
            await pipeline.ingest(task)
        return await self.catalog.jobs.get(self.scope.tenant, job)

    async def reindex(self) -> int:
        """Reindexes; returns the number of chunks in the new version."""
        cuts = await self.reindexer.reindex(self.scope, progress=lambda _done, _of: None)
        return sum(cut.chunks for cut in cuts.values())

    async def roll_back(self) -> None:
        await self.reindexer.roll_back(self.scope, progress=lambda _done, _of: None)

    async def settle(self) -> None:
        """Settles catalog and index, as the start of a process does."""
        await settle(pipeline=self.pipeline, index=self.index, catalog=self.catalog)

    async def chunks(self, scope: Scope | None = None) -> list[Chunk]:
        scope = scope or self.scope
        return await self.index.fetch(scope, sorted(await self.index.chunk_ids(scope, None)))

    async def state(self, scope: Scope | None = None) -> dict[str, Any]:
        """Returns the visible state of a collection."""
        scope = scope or self.scope
        records = await self.catalog.documents.page(scope, limit=1000)
        return {
            "chunks": await self.chunks(scope),
            "found": [dict(ranked) for ranked in await self.index.search(scope, LEGS)],
            "documents": [(r.id, r.version, r.recipe, r.chunks, r.duplicate_of) for r in records],
            "embedder": (await self.catalog.collections.get(scope)).embedder,
        }

    async def consistent(self) -> None:
        """Checks that catalog, index and texts agree."""
        chunks = await self.chunks()
        for record in await self.catalog.documents.page(self.scope, limit=1000):
            own = [chunk for chunk in chunks if chunk.document_id == record.id]
            text = await self.catalog.documents.text(self.scope, record.id)
            assert record.chunks == len(own)
            assert all(text[chunk.start : chunk.end] == chunk.text for chunk in own)
        ids = {record.id for record in await self.catalog.documents.page(self.scope, limit=1000)}
        assert {chunk.document_id for chunk in chunks} <= ids


def alike(state: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a state that equals one with another mean length for BM25: scores within 5 %."""
    return {**state, "found": [pytest.approx(scores, rel=0.05) for scores in state["found"]]}


@pytest.fixture(params=["memory", "edge", "rank_bm25", "qdrant"])
async def bench(request: pytest.FixtureRequest, folder: Path, scope: Scope) -> AsyncIterator[Bench]:
    catalog = Catalog(SqliteDatabase(folder / "catalog.sqlite"))
    await catalog.open()
    (folder / "docs").mkdir()
    async with opened(request.param, folder) as index:
        yield Bench(folder / "docs", scope, catalog, index)
    await catalog.close()


def prose(n: int, *, of: str = "") -> str:
    """Returns n paragraphs under headings, each the size of a chunk, and a table."""
    parts = [
        f"## Part {i} {of}\n\nParagraph {i} {of} says "
        + " ".join(f"word{i}x{j}{of}" for j in range(30))
        + "."
        for i in range(n)
    ]
    rows = "\n".join(f"| {of} lamp {i} | {i * 7} |" for i in range(20))
    return "\n\n".join(
        [f"---\nyear: {n}\n---\n\n# Title {of}", *parts, f"| what | n |\n|-|-|\n{rows}"]
    )


async def library(bench: Bench) -> list[Submission]:
    """Ingests documents of several chunks each, two of them with the same bytes."""
    submissions = [bench.file(f"{i}.md", prose(3 + i, of=f"of{i}")) for i in range(5)]
    submissions.append(bench.file("same.md", prose(4, of="of1")))
    await bench.ingest(*submissions)
    await bench.index.maintain(bench.scope)  # as the queue does when it is empty
    return submissions


# Forward


async def test_with_the_same_chunker_and_embedder_everything_is_as_before(bench: Bench) -> None:
    submissions = await library(bench)
    before = await bench.state()
    assert await bench.reindex() == len(before["chunks"]) > 20
    assert await bench.state() == alike(before)
    await bench.consistent()
    bench.embedder.embedded.clear()
    job = await bench.ingest(*submissions)
    assert (job.outcomes, bench.embedder.embedded) == ({"unchanged": 6}, [])


@pytest.mark.parametrize("max_tokens", [15, 40, 90])
async def test_with_another_chunk_size_it_is_what_a_clean_ingest_makes(
    bench: Bench, max_tokens: int
) -> None:
    submissions = await library(bench)
    bench.max_tokens = max_tokens
    await bench.reindex()
    await bench.consistent()
    clean = Scope(tenant=bench.scope.tenant, collection="clean")
    await bench.ingest(*submissions, scope=clean)
    assert await bench.state() == alike(await bench.state(clean))
    bench.embedder.embedded.clear()
    assert (await bench.ingest(*submissions)).outcomes == {"unchanged": 6}
    assert bench.embedder.embedded == []


async def test_another_embedder_takes_over_and_ingest_goes_on_with_it(bench: Bench) -> None:
    await library(bench)
    bench.embedder = HashEmbedder(fingerprint="hash-2")
    with pytest.raises(ConfigError, match="rag reindex"):
        await bench.ingest(bench.file("new.md", "New."))
    chunks = len(await bench.chunks())
    assert await bench.reindex() == chunks
    assert len(bench.embedder.embedded) >= chunks
    assert (await bench.state())["embedder"] == "hash-2"
    assert (await bench.ingest(bench.file("new.md", "New."))).outcomes == {"stored": 1}
    bench.embedder = HashEmbedder()
    with pytest.raises(ConfigError, match="embedder hash-2, and the settings name hash-1"):
        await bench.ingest(bench.file("new.md", "New."))
    await bench.roll_back()
    assert (await bench.state())["embedder"] == "hash-1"
    await bench.consistent()


async def test_vectors_of_another_length_are_written_beside_the_old_ones(
    folder: Path, scope: Scope
) -> None:
    catalog = Catalog(SqliteDatabase(folder / "catalog.sqlite"))
    await catalog.open()
    (folder / "docs").mkdir()
    states: list[tuple[list[Chunk], str]] = []
    for dim in (32, 48, 32):
        index = EdgeIndex(folder / "index", dim=dim)
        embedder = HashEmbedder(dim=dim, fingerprint=f"hash-{dim}")
        bench = Bench(folder / "docs", scope, catalog, index, embedder)
        match states:
            case []:
                await library(bench)
            case [_]:
                await bench.reindex()
            case _:
                await bench.roll_back()
        await bench.consistent()
        states.append((await bench.chunks(), (await bench.catalog.collections.get(scope)).embedder))
        await index.close()
    assert states[0] == states[2]
    assert [embedder for _, embedder in states] == ["hash-32", "hash-48", "hash-32"]
    await catalog.close()


async def test_token_vectors_come_to_a_collection_that_was_made_without(bench: Bench) -> None:
    submissions = await library(bench)
    before = await bench.state()

    async def by_token(scope: Scope) -> int:
        question = np.ones((1, bench.embedder.dim), np.float32)
        ids = sorted(await bench.index.chunk_ids(scope, None))
        return len(await bench.index.max_sim(scope, question, ids))

    bench.stores_tokens = True
    bench.embedder.embedded.clear()
    assert (await bench.ingest(*submissions)).outcomes == {"unchanged": 6}
    assert (await by_token(bench.scope), bench.embedder.embedded) == (0, [])
    assert await bench.reindex() == await by_token(bench.scope) == len(before["chunks"])
    assert await bench.state() == alike(before)
    await bench.roll_back()
    assert await by_token(bench.scope) == 0


async def test_a_document_that_never_could_be_read_and_one_that_failed_later(bench: Bench) -> None:
    await library(bench)
    await bench.ingest(bench.file("blank.md", " "), bench.file("0.md", " "))
    before = await bench.state()
    await bench.reindex()
    assert await bench.state() == alike(before)
    await bench.consistent()


async def test_an_empty_collection_is_indexed_again_as_well(bench: Bench) -> None:
    await bench.ingest()
    assert await bench.reindex() == 0
    await bench.ingest(bench.file("a.md", prose(2)))
    assert await bench.reindex() == len(await bench.chunks()) > 0


async def test_there_must_be_a_collection_and_one_at_a_time(bench: Bench) -> None:
    with pytest.raises(NotFoundError, match="no collection 'handbook'"):
        await bench.reindex()
    await library(bench)
    outcomes = await asyncio.gather(bench.reindex(), bench.reindex(), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [int, BusyError]


async def test_what_is_not_whole_is_not_switched_to(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await library(bench)
    before = await bench.state()
    upsert = bench.index.upsert
    bench.max_tokens = 15

    async def lossy(scope: Scope, points: Any) -> None:
        await upsert(scope, [point for point in points if point.chunk.position != 9])

    monkeypatch.setattr(bench.index, "upsert", lossy)
    with pytest.raises(StorageError, match=r"not whole: of document .* chunks are there") as caught:
        await bench.reindex()
    assert caught.value.code == "version_not_whole"
    assert await bench.state() == before
    monkeypatch.undo()
    await bench.reindex()
    await bench.consistent()


async def test_vectors_that_do_not_find_themselves_are_not_switched_to(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await library(bench)
    before = await bench.state()
    turned = HashEmbedder()
    monkeypatch.setattr(turned, "vector", lambda text: -HashEmbedder().vector(text))
    reindexer = bench.reindexer
    monkeypatch.setattr(reindexer, "_embedder", turned)
    with pytest.raises(StorageError, match="is not found by its own text"):
        await reindexer.reindex(bench.scope, progress=lambda _done, _of: None)
    assert await bench.state() == before


# Back


async def test_rolling_back_brings_the_first_back_exactly_and_again_the_second(
    bench: Bench,
) -> None:
    await library(bench)
    first = await bench.state()
    bench.max_tokens = 90
    await bench.reindex()
    second = await bench.state()
    assert first != second
    bench.embedder.embedded.clear()
    for expected in (first, second, first):
        await bench.roll_back()
        assert await bench.state() == expected
    assert len(bench.embedder.embedded) <= 3 * 16  # the samples that a search must find


async def test_only_the_version_before_is_kept(bench: Bench) -> None:
    await library(bench)
    with pytest.raises(InputError, match="has no previous version to go back to"):
        await bench.roll_back()
    for bench.max_tokens in (15, 60, 90):
        await bench.reindex()
    third = await bench.state()
    await bench.roll_back()
    assert len((await bench.state())["chunks"]) > len(third["chunks"])
    await bench.consistent()
    if isinstance(bench.index, EdgeIndex):
        home = bench.folder.parent / "index" / bench.scope.tenant / bench.scope.collection
        assert len([path for path in home.iterdir() if path.is_dir()]) == 2
    if isinstance(bench.index, QdrantIndex):
        assert len(await bench.index.versions.stored(bench.scope.collection)) == 2


async def test_what_changed_since_is_not_undone_by_rolling_back(bench: Bench) -> None:
    submissions = await library(bench)
    first = {chunk.id: chunk for chunk in await bench.chunks()}
    bench.max_tokens = 90
    await bench.reindex()
    new = bench.file("new.md", prose(2, of="new"))
    await bench.ingest(new, bench.file("2.md", prose(4, of="edited")))
    await bench.pipeline.delete(bench.scope, submissions[3].document_id)
    await bench.pipeline.delete(bench.scope, submissions[1].document_id)  # same.md takes over
    await bench.roll_back()
    await bench.consistent()
    chunks = await bench.chunks()
    of = {chunk.document_id for chunk in chunks}
    assert of == {
        s.document_id for s in (*submissions[:1], *submissions[2:3], *submissions[4:], new)
    }
    kept = {submissions[0].document_id, submissions[4].document_id}
    unchanged = {id_: chunk for id_, chunk in first.items() if chunk.document_id in kept}
    assert {chunk.id: chunk for chunk in chunks if chunk.document_id in kept} == unchanged
    edited = [chunk for chunk in chunks if chunk.document_id == submissions[2].document_id]
    assert all("edited" in passage_text(chunk) for chunk in edited)


async def test_a_document_that_changed_and_changed_back_is_whole_after_rolling_back(
    bench: Bench,
) -> None:
    await library(bench)
    first = await bench.state()
    bench.max_tokens = 90
    await bench.reindex()
    text = (bench.folder / "2.md").read_text()
    for each in (prose(4, of="edited"), text):  # the edited text replaces the old one
        await bench.ingest(bench.file("2.md", each))
    bench.max_tokens = 40
    await bench.roll_back()
    await bench.consistent()
    assert (await bench.state())["chunks"] == first["chunks"]


async def test_a_deletion_that_is_finished_after_a_switch_reaches_the_version_before(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    submissions = await library(bench)
    gone = submissions[3].document_id

    async def away(_scope: Scope, _ids: Sequence[str]) -> None:
        raise UpstreamError("The index is away.")

    monkeypatch.setattr(bench.index, "delete", away)
    with pytest.raises(UpstreamError):
        await bench.pipeline.delete(bench.scope, gone)
    monkeypatch.undo()
    await bench.reindex()
    await bench.settle()
    previous = await bench.index.previous_version(bench.scope)
    assert previous is not None
    assert await bench.index.chunk_ids(previous, gone) == set()
    assert await bench.index.chunk_ids(previous, submissions[4].document_id)


async def test_rolling_back_asks_for_the_embedder_of_then(bench: Bench) -> None:
    await library(bench)
    bench.embedder = HashEmbedder(fingerprint="hash-2")
    await bench.reindex()
    with pytest.raises(ConfigError, match=r"with the embedder hash-1.*Set the embedder back"):
        await bench.roll_back()


# Concurrent changes


async def test_nothing_that_happens_meanwhile_is_lost(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    submissions = await library(bench)
    bench.max_tokens = 15
    moments = iter(range(99))

    async def meddle() -> None:
        i = next(moments)
        await bench.ingest(
            bench.file(f"new{i}.md", prose(2, of=f"new{i}")),
            bench.file("2.md", prose(3, of=f"edit{i}")),
        )
        if i < 2:
            await bench.pipeline.delete(bench.scope, submissions[(1, 3)[i]].document_id)

    def meddled(call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def then(*args: Any) -> Any:
            result = await call(*args)
            await meddle()
            return result

        return then

    for name in ("begin_version", "maintain"):  # before and after the version is filled
        monkeypatch.setattr(bench.index, name, meddled(getattr(bench.index, name)))
    await bench.reindex()
    await bench.consistent()
    names = {"0", "2", "4", "same", "new0", "new1"}
    texts = {
        record.uri.rpartition("/")[2]
        for record in await bench.catalog.documents.page(bench.scope, limit=99)
    }
    assert texts == {f"{name}.md" for name in names}
    edited = [chunk for chunk in await bench.chunks() if chunk.uri.endswith("/2.md")]
    assert edited
    assert all("edit1" in passage_text(chunk) for chunk in edited)


class Held(HashEmbedder):
    """Waits before embedding until it is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.reached, self.opened = asyncio.Event(), asyncio.Event()

    async def embed(self, texts: Sequence[str], *, kind: Kind) -> Float32Array:
        self.reached.set()
        await self.opened.wait()
        return await super().embed(texts, kind=kind)


async def test_what_is_under_way_at_the_switch_ends_in_the_new_version(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await library(bench)
    elsewhere = replace(bench, embedder=Held())  # a worker with the old settings
    bench.max_tokens = 15
    held, under_way = elsewhere.embedder, list[asyncio.Task[JobRecord]]()
    assert isinstance(held, Held)
    stage, switch = bench.catalog.staged.add, bench.index.switch_version

    async def begun(scope: Scope, staged: Switch) -> None:
        await stage(scope, staged)
        edited = bench.file("2.md", prose(3, of="edit"))
        under_way.append(asyncio.create_task(elsewhere.ingest(edited)))
        await held.reached.wait()

    async def ended_later(scope: Scope, version: Scope) -> None:
        await switch(scope, version)
        asyncio.get_running_loop().call_later(0.05, held.opened.set)

    monkeypatch.setattr(bench.catalog.staged, "add", begun)
    monkeypatch.setattr(bench.index, "switch_version", ended_later)
    await bench.reindex()
    assert [(await task).outcomes for task in under_way] == [{"stored": 1}]
    await bench.consistent()
    assert len({recipe for _, _, recipe, _, _ in (await bench.state())["documents"]}) == 1
    edited = [chunk for chunk in await bench.chunks() if chunk.uri.endswith("/2.md")]
    assert edited
    assert all("edit" in passage_text(chunk) for chunk in edited)


@pytest.mark.parametrize("after", ["nothing", "a kill", "a kill once it is written again"])
@pytest.mark.parametrize("ends", ["before it is looked for", "later"])
async def test_a_document_that_is_first_written_at_the_switch_is_in_the_new_version(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, ends: str, after: str
) -> None:
    await library(bench)
    elsewhere = replace(bench)  # a worker with the old settings
    bench.max_tokens = 15
    written, switched, looked = asyncio.Event(), asyncio.Event(), asyncio.Event()
    stage, succeed = bench.catalog.staged.add, bench.catalog.outcomes.succeed
    switch, within = bench.index.switch_version, bench.catalog.unsettled.within
    under_way: list[asyncio.Task[JobRecord]] = []

    async def begun(scope: Scope, staged: Switch) -> None:
        await stage(scope, staged)
        new = bench.file("new.md", prose(3, of="new"))
        under_way.append(asyncio.create_task(elsewhere.ingest(new)))
        await written.wait()  # to the version of before

    async def succeed_late(*args: Any, **kwargs: Any) -> None:
        written.set()
        await (switched if ends != "later" else looked).wait()
        await succeed(*args, **kwargs)

    async def then_ends(scope: Scope, version: Scope) -> None:
        await switch(scope, version)
        switched.set()

    async def look(scope: Scope) -> Sequence[Mark]:
        if ends != "later":
            await under_way[0]
        marks = await within(scope)
        looked.set()
        if after == "a kill":
            raise KeyboardInterrupt
        return marks

    async def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(bench.catalog.staged, "add", begun)
    monkeypatch.setattr(bench.catalog.outcomes, "succeed", succeed_late)
    monkeypatch.setattr(bench.index, "switch_version", then_ends)
    monkeypatch.setattr(bench.catalog.unsettled, "within", look)
    if after == "nothing":
        await bench.reindex()
    else:
        if after == "a kill once it is written again":
            monkeypatch.setattr(bench.catalog.versions, "recut", killed)
        with pytest.raises(KeyboardInterrupt):
            await bench.reindex()
        monkeypatch.undo()
        await under_way[0]
        await bench.settle()
    assert (await under_way[0]).outcomes == {"stored": 1}
    await bench.consistent()
    assert any(chunk.uri.endswith("/new.md") for chunk in await bench.chunks())
    assert await within(bench.scope) == []


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_cut_short_between_index_and_catalog_a_switch_is_dropped_or_finished(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    await library(bench)
    old = await bench.state()
    switch = bench.index.switch_version
    bench.max_tokens = 15

    async def cut_short(scope: Scope, version: Scope) -> None:
        if moment == "after":
            await switch(scope, version)
        raise KeyboardInterrupt

    monkeypatch.setattr(bench.index, "switch_version", cut_short)
    with pytest.raises(KeyboardInterrupt):
        await bench.reindex()
    monkeypatch.undo()
    await bench.settle()
    await bench.consistent()
    if moment == "before":
        assert await bench.state() == old
        return
    new = await bench.state()
    assert len(new["chunks"]) > len(old["chunks"])
    monkeypatch.setattr(bench.index, "switch_version", cut_short)
    with pytest.raises(KeyboardInterrupt):
        await bench.roll_back()
    monkeypatch.undo()
    await bench.settle()
    assert await bench.state() == old
    await bench.roll_back()
    assert await bench.state() == new


async def test_documents_that_change_between_a_cut_short_switch_and_its_end_are_put_right(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    submissions = await library(bench)
    elsewhere = replace(bench)  # a worker with the old settings, on the same servers
    bench.max_tokens = 15
    switch = bench.index.switch_version

    async def cut_short(scope: Scope, version: Scope) -> None:
        await elsewhere.pipeline.delete(bench.scope, submissions[3].document_id)
        await elsewhere.ingest(bench.file("new.md", prose(2, of="new")))
        await switch(scope, version)
        raise KeyboardInterrupt

    staged = bench.catalog.staged.add

    async def then_cut_short(scope: Scope, named: Switch) -> None:
        await staged(scope, named)
        await cut_short(scope, replace(scope, collection=begun[0]))

    begun: list[str] = []
    begin = bench.index.begin_version

    async def noted(scope: Scope) -> Scope:
        version = await begin(scope)
        begun.append(version.collection)
        return version

    monkeypatch.setattr(bench.index, "begin_version", noted)
    monkeypatch.setattr(bench.catalog.staged, "add", then_cut_short)
    with pytest.raises(KeyboardInterrupt):
        await bench.reindex()
    monkeypatch.undo()
    await elsewhere.ingest(bench.file("2.md", prose(4, of="edited")))
    await bench.settle()
    await bench.consistent()
    names = {chunk.uri.rpartition("/")[2] for chunk in await bench.chunks()}
    assert {"new.md", "2.md"} <= names
    assert "3.md" not in names


async def test_what_fails_for_a_moment_is_tried_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await library(bench)
    before = await bench.state()
    upsert, failures = bench.index.upsert, iter(range(3))
    monkeypatch.setattr("ingest.reindex.backoff", lambda _: 0.0)

    async def flaky(scope: Scope, points: Sequence[Point]) -> None:
        if points and next(failures, None) is not None:
            raise UpstreamError("Away for a moment.")
        await upsert(scope, points)

    monkeypatch.setattr(bench.index, "upsert", flaky)
    await bench.reindex()
    assert await bench.state() == alike(before)


async def test_questions_never_see_a_gap(bench: Bench) -> None:
    await bench.ingest(*(bench.file(f"{i}.md", prose(3, of=f"of{i}")) for i in range(3)))
    await bench.index.maintain(bench.scope)
    retriever = HybridRetriever(
        embedder=HashEmbedder(), encoder=Bm25Encoder(), index=bench.index, depth=20
    )
    seen: list[int] = []

    async def ask() -> None:
        while True:
            query = Query(text="what does paragraph 2 of2 say", scope=bench.scope, top_k=5)
            seen.append(len((await retriever.retrieve(query, Trace())).hits))
            await asyncio.sleep(0)

    asking = [asyncio.create_task(ask()) for _ in range(3)]
    for bench.max_tokens in (15, 90):
        await bench.reindex()
    await bench.roll_back()
    for each in asking:
        each.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await each
    assert len(seen) > 30
    assert set(seen) == {5}


# As processes


@pytest.mark.timeout(900)  # a dozen processes that load a model: minutes on a busy machine
def test_killed_on_the_way_the_old_answers_and_the_next_one_succeeds(tmp_path: Path) -> None:
    docs, data, clean = tmp_path / "docs", tmp_path / "data", tmp_path / "clean"
    docs.mkdir()
    for i in range(40):
        (docs / f"{i}.md").write_text(prose(5, of=f"of{i}"))
    large = shallow(tmp_path)
    small = large | {"RAG_CHUNKER__MAX_TOKENS": "60"}
    home = data / "index" / "default" / "default"

    def found() -> Any:
        ran = rag("search", "paragraph 3 of31", "--json", data=data, env=large)
        assert ran.returncode == 0, ran.stderr
        return [(hit["chunk_id"], round(hit["score"], 6)) for hit in json.loads(ran.stdout)["hits"]]

    def folders() -> int:
        return len([path for path in home.iterdir() if path.is_dir()])

    assert rag("ingest", docs, data=data, env=large).returncode == 0
    before = found()
    running = subprocess.Popen(
        [*RAG, "reindex"], cwd=tmp_path, env=environment(data, small), stderr=subprocess.DEVNULL
    )
    wait_for(lambda: folders() == 2 and [*home.glob("*/segments/*")])
    running.send_signal(signal.SIGKILL)
    assert running.wait(PATIENCE) == -signal.SIGKILL
    assert found() == before
    assert folders() == 1
    ran = rag("reindex", data=data, env=small)
    assert ran.returncode == 0, ran.stderr
    assert "40 documents" in ran.stdout
    assert found() != before
    assert folders() == 2
    assert rag("ingest", docs, data=clean, env=small).returncode == 0
    with (
        serving(data, env=large) as again,
        serving(clean, env=large) as fresh,
        again.client() as a,
        fresh.client() as b,
    ):
        assert contents(a, "default") == contents(b, "default")
        assert [d["chunks"] for d in all_documents(a)] == [d["chunks"] for d in all_documents(b)]
        ran = rag("reindex", data=data, env=large)
        assert (ran.returncode, "to itself" in ran.stderr) == (2, True)
        ran = rag("reindex", data=data, env=large | {"RAG_URL": again.url})
        assert (ran.returncode, "RAG_URL names a server" in ran.stderr) == (2, True)
    assert rag("reindex", "--rollback", data=data, env=large).returncode == 0
    assert found() == before


# Documents that an older reader read


async def test_a_document_read_by_an_older_reader_is_counted_until_it_is_ingested_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def reread() -> int:
        [record] = await bench.catalog.collections.of(bench.scope.tenant, readers=READERS)
        return record.reread

    with monkeypatch.context() as older:
        older.setattr(versions, "READERS", {})
        submissions = await library(bench)
    assert await reread() == 6
    await bench.reindex()
    assert await reread() == 6, "the stored text is still the old reader's"
    bench.embedder.embedded.clear()
    assert "unchanged" not in (await bench.ingest(*submissions)).outcomes
    assert bench.embedder.embedded == []
    assert await reread() == 0
    await bench.reindex()
    assert await reread() == 0
    assert (await bench.ingest(*submissions)).outcomes == {"unchanged": 6}
