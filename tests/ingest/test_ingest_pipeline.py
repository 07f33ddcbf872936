from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ingest.chunkers.strategies import SectionChunker
from ingest.pipeline import IngestPipeline
from ingest.retries import backoff
from ingest.settler import LOST
from ingest.settling import settle, settling
from ingest.sources.files import Spool, submission_of
from ingest.sources.originals import Originals
from rag.catalog.catalog import Catalog
from rag.catalog.sqlite_database import SqliteDatabase
from rag.catalog.tables import texts
from rag.catalog.unsettled import Mark
from rag.errors import (
    BusyError,
    ConfigError,
    InputError,
    NotFoundError,
    StorageError,
    UpstreamError,
)
from rag.protocols import PassageEmbedder
from rag.records import ATTEMPTS, DocumentRecord, JobRecord, Submission, Task
from rag.telemetry.trace import Trace
from rag.text.passages import passage_text
from rag.types import Chunk, Document, Float32Array, Kind, Point, Scope, SparseVector
from retrieval.bm25 import Bm25Encoder
from tests.fakes import HashEmbedder, HereReader, MemoryIndex, sparse_leg
from tests.waiting import until

pytestmark = pytest.mark.anyio

MAX_BYTES = 1 << 20


@dataclass
class Bench:
    """A pipeline and everything it writes to."""

    folder: Path
    scope: Scope
    database: SqliteDatabase
    catalog: Catalog
    spool: Spool
    index: MemoryIndex
    embedder: HashEmbedder

    def pipeline(
        self,
        *,
        max_tokens: int = 40,
        embedder: HashEmbedder | None = None,
        passages: PassageEmbedder | None = None,
        encoder: Bm25Encoder | None = None,
        originals: Originals | None = None,
    ) -> IngestPipeline:
        embedder = embedder or self.embedder
        return IngestPipeline(
            reader=HereReader(max_bytes=MAX_BYTES),
            chunker=SectionChunker(embedder.count_tokens, max_tokens=max_tokens),
            embedder=embedder,
            encoder=encoder or Bm25Encoder(),
            index=self.index,
            catalog=self.catalog,
            spool=self.spool,
            originals=originals,
            passages=passages,
        )

    def file(self, name: str, text: str) -> Submission:
        (self.folder / name).write_text(text)
        return submission_of(self.folder / name)

    def sent(self, text: str, *, id_: str) -> Submission:
        body = json.dumps({"text": text}).encode()
        return self.spool.of(self.scope.tenant).put(body, uri=f"doc:{id_}", document_id_=id_)

    def place(self, submission: Submission) -> Path:
        """Returns the file of a submission's uploaded bytes."""
        return self.spool.of(self.scope.tenant).path(submission.source)

    async def ingest(
        self, *submissions: Submission, pipeline: IngestPipeline | None = None
    ) -> JobRecord:
        """Runs all tasks of one job concurrently; returns the job."""
        pipeline = pipeline or self.pipeline()
        await pipeline.check_collection(self.scope)
        job = await self.catalog.jobs.submit(self.scope, submissions)
        tasks = await self.catalog.tasks.claim(100)
        await asyncio.gather(*(pipeline.ingest(task) for task in tasks))
        return await self.catalog.jobs.get(self.scope.tenant, job)

    async def record(self, submission: Submission) -> DocumentRecord:
        return await self.catalog.documents.get(self.scope, submission.document_id)

    async def chunks(self, submission: Submission | None = None) -> list[Chunk]:
        document_id = submission.document_id if submission else None
        ids = await self.index.chunk_ids(self.scope, document_id)
        found = await self.index.fetch(self.scope, sorted(ids))
        return sorted(found, key=lambda chunk: (chunk.document_id, chunk.position))

    async def consistent(self, *submissions: Submission) -> None:
        """Checks that catalog, index and texts agree on these documents, and hold no others."""
        for submission in submissions:
            record, chunks = await self.record(submission), await self.chunks(submission)
            text = await self.catalog.documents.text(self.scope, submission.document_id)
            assert record.state == "succeeded"
            assert record.chunks == len(chunks)
            assert [chunk.position for chunk in chunks] == list(range(len(chunks)))
            assert all(text[chunk.start : chunk.end] == chunk.text for chunk in chunks)
            assert {chunk.uri for chunk in chunks} <= {submission.uri}
            assert {chunk.version for chunk in chunks} <= {record.version}
        ids = {submission.document_id for submission in submissions}
        assert {chunk.document_id for chunk in await self.chunks()} <= ids


@pytest.fixture
async def bench(folder: Path, scope: Scope) -> AsyncIterator[Bench]:
    database = SqliteDatabase(folder / "catalog.sqlite")
    catalog = Catalog(database)
    await catalog.open()
    (folder / "docs").mkdir()
    yield Bench(
        folder / "docs",
        scope,
        database,
        catalog,
        Spool(folder / "spool"),
        MemoryIndex(),
        HashEmbedder(),
    )
    await catalog.close()


def prose(n: int, *, changed: int = -1) -> str:
    """Returns n paragraphs, each the size of a chunk."""
    return "# Title\n\n" + "\n\n".join(
        f"Paragraph {i} {'was edited and is longer now' if i == changed else 'says'} "
        + " ".join(f"word{i}x{j}" for j in range(30))
        + "."
        for i in range(n)
    )


# One document


async def test_a_document_is_stored_with_chunks_that_slice_its_text(bench: Bench) -> None:
    doc = bench.file("a.md", prose(3))
    job = await bench.ingest(doc)
    assert (job.state, job.outcomes) == ("succeeded", {"stored": 1})
    assert (await bench.record(doc)).chunks == 3
    assert (await bench.record(doc)).title == "Title"
    await bench.consistent(doc)


async def test_an_unchanged_document_embeds_nothing(bench: Bench) -> None:
    doc = bench.file("a.md", prose(3))
    await bench.ingest(doc)
    bench.embedder.embedded.clear()
    job = await bench.ingest(doc)
    assert job.outcomes == {"unchanged": 1}
    assert bench.embedder.embedded == []
    await bench.consistent(doc)


async def test_an_edited_paragraph_embeds_its_own_chunks_and_moves_the_others(
    bench: Bench,
) -> None:
    doc = bench.file("a.md", prose(100))
    await bench.ingest(doc)
    before = {chunk.id for chunk in await bench.chunks()}
    assert len(before) == 100
    bench.embedder.embedded.clear()
    await bench.ingest(bench.file("a.md", prose(100, changed=50)))
    assert 1 <= len(bench.embedder.embedded) <= 3
    after = {chunk.id for chunk in await bench.chunks()}
    assert len(after & before) >= 97
    await bench.consistent(doc)


class OlderEncoder(Bm25Encoder):
    """Makes the terms of an older build: no identifiers."""

    fingerprint = "terms-1"

    def encode(self, texts: Sequence[str]) -> list[SparseVector]:
        return super().encode([text.replace("-", " ") for text in texts])


async def test_terms_of_an_older_build_are_told_and_made_anew(bench: Bench) -> None:
    doc = bench.file("a.md", "The gauge KM-T40 was returned.")
    leg = sparse_leg("kmt40")
    await bench.ingest(doc, pipeline=bench.pipeline(encoder=OlderEncoder()))
    assert (await bench.catalog.collections.get(bench.scope)).outdated == 1
    assert await bench.index.search(bench.scope, [leg]) == [[]]
    assert await bench.index.search(bench.scope, [sparse_leg("returned")]) != [[]]
    job = await bench.ingest(doc)
    assert job.outcomes == {"stored": 1}
    assert (await bench.catalog.collections.get(bench.scope)).outdated == 0
    [[match]] = await bench.index.search(bench.scope, [leg])
    assert {match.chunk_id} == await bench.index.chunk_ids(bench.scope, doc.document_id)


async def by_token(bench: Bench) -> set[str]:
    """The chunks whose token vectors are stored."""
    ids = sorted(await bench.index.chunk_ids(bench.scope, None))
    question = np.ones((1, bench.embedder.dim), np.float32)
    return set(await bench.index.max_sim(bench.scope, question, ids))


async def test_token_vectors_are_stored_from_the_same_pass_as_the_chunk_s_own(
    bench: Bench,
) -> None:
    await bench.ingest(bench.file("without.md", prose(2)))
    assert await by_token(bench) == set()
    storing = bench.pipeline(passages=bench.embedder)
    bench.embedder.embedded.clear()
    doc = bench.file("a.md", prose(20))
    await bench.ingest(doc, pipeline=storing)
    chunks = await bench.chunks(doc)
    assert bench.embedder.embedded == [passage_text(chunk) for chunk in chunks]
    assert await by_token(bench) == {chunk.id for chunk in chunks}
    text = passage_text(chunks[7])
    found = await bench.index.max_sim(
        bench.scope, bench.embedder.tokens(text).astype(np.float32), [chunks[7].id]
    )
    assert found[chunks[7].id] == pytest.approx(len(text.split()), rel=0.2)
    vectors = await bench.index.vectors(bench.scope, [chunks[7].id])
    np.testing.assert_array_equal(vectors[chunks[7].id], bench.embedder.vector(text))


async def test_an_edited_paragraph_leaves_the_others_their_token_vectors(bench: Bench) -> None:
    storing = bench.pipeline(passages=bench.embedder)
    await bench.ingest(bench.file("a.md", prose(20)), pipeline=storing)
    bench.embedder.embedded.clear()
    await bench.ingest(bench.file("a.md", prose(20, changed=5)), pipeline=storing)
    assert 1 <= len(bench.embedder.embedded) <= 3
    assert await by_token(bench) == {chunk.id for chunk in await bench.chunks()}
    await bench.ingest(bench.file("a.md", prose(20)))  # the setting is off again
    assert len(await by_token(bench)) in range(17, 20)


async def test_a_chunk_without_tokens_is_stored_without_token_vectors(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    none = np.empty((0, bench.embedder.dim), np.float16)
    monkeypatch.setattr(bench.embedder, "tokens", lambda _text: none)
    storing = bench.pipeline(passages=bench.embedder)
    await bench.ingest(bench.file("a.txt", "\u200b!"), pipeline=storing)
    assert len(await bench.chunks()) == 1
    assert await by_token(bench) == set()


async def test_a_shorter_document_leaves_no_chunk_behind(bench: Bench) -> None:
    await bench.ingest(bench.file("a.md", prose(5)))
    doc = bench.file("a.md", prose(2))
    await bench.ingest(doc)
    assert len(await bench.chunks()) == 2
    await bench.consistent(doc)


async def test_another_chunk_size_cuts_an_unchanged_document_anew(bench: Bench) -> None:
    doc = bench.file("a.md", prose(4))
    await bench.ingest(doc)
    job = await bench.ingest(doc, pipeline=bench.pipeline(max_tokens=80))
    assert job.outcomes == {"stored": 1}
    assert len(await bench.chunks()) == 2
    await bench.consistent(doc)


async def test_sent_bytes_are_gone_once_nobody_wants_them(bench: Bench) -> None:
    pipeline = bench.pipeline()
    await pipeline.check_collection(bench.scope)
    first, second = bench.sent("one", id_="twice"), bench.sent("two", id_="twice")
    for submission in (first, second):
        await bench.catalog.jobs.submit(bench.scope, [submission])
    other = bench.sent("else", id_="other")
    job = await bench.catalog.jobs.submit(bench.scope, [other])
    await pipeline.cancel(bench.scope.tenant, job)
    assert not bench.place(other).exists()
    await pipeline.delete(bench.scope, "twice")
    assert bench.spool.keys(older_than=0) == set()


async def test_another_tenant_cancels_nothing(bench: Bench) -> None:
    doc = bench.sent("some text", id_="a")
    job = await bench.catalog.jobs.submit(bench.scope, [doc])
    with pytest.raises(NotFoundError, match="no job"):
        await bench.pipeline().cancel("rival", job)
    assert (await bench.catalog.jobs.get(bench.scope.tenant, job)).state == "pending"
    assert bench.place(doc).exists()


async def test_bytes_that_are_sent_again_while_their_document_is_deleted_are_not_left(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline, forget = bench.pipeline(), bench.catalog.documents.delete
    await bench.ingest(bench.sent("some text", id_="a"))

    async def sent_before(scope: Scope, document_id: str) -> set[str]:
        again = bench.sent("some text", id_="a")
        await pipeline.accept(scope, [again], Trace())
        return await forget(scope, document_id)

    monkeypatch.setattr(bench.catalog.documents, "delete", sent_before)
    await pipeline.delete(bench.scope, "a")
    assert await bench.catalog.documents.all_spooled() == set()
    assert bench.spool.keys(older_than=0) == set()
    assert await bench.chunks() == []


async def test_bytes_that_failed_are_kept_until_others_are_sent(bench: Bench) -> None:
    bad, good = bench.sent("", id_="a"), bench.sent("text", id_="a")
    await bench.ingest(bad)
    assert bench.place(bad).exists()
    await bench.pipeline().accept(bench.scope, [good], Trace())
    assert bench.spool.keys(older_than=0) == {good.source["spool"]}


async def test_bytes_of_a_task_that_comes_too_late_are_dropped(bench: Bench) -> None:
    old, new = bench.sent("old", id_="a"), bench.sent("new", id_="a")
    await bench.ingest(old)  # makes the collection
    old = bench.sent("older", id_="a")
    for submission in (old, new):
        await bench.catalog.jobs.submit(bench.scope, [submission])
    late, first = await bench.catalog.tasks.claim(2)
    await bench.pipeline().ingest(first)
    await bench.pipeline().ingest(late)  # overtaken
    assert bench.spool.keys(older_than=0) == set()


async def test_a_text_that_an_older_version_cleaned_is_read_again(bench: Bench) -> None:
    doc = bench.sent("\ufeffone\r\ntwo", id_="a")
    await bench.ingest(doc)
    async with bench.database.write() as db:
        await db.execute(texts.update().values(text="one\ntwo"))
    again = bench.sent("\ufeffone\r\ntwo", id_="a")
    assert (await bench.ingest(again)).outcomes == {"stored": 1}
    assert await bench.catalog.documents.text(bench.scope, "a") == "\ufeffone\r\ntwo"
    await bench.consistent(again)


async def test_sent_bytes_are_gone_once_ingested_and_kept_for_another_try_where_that_failed(
    bench: Bench,
) -> None:
    doc, bad = bench.sent("some text", id_="mine"), bench.sent("", id_="bad")
    await bench.ingest(doc, bad)
    assert not bench.place(doc).exists()
    assert bench.place(bad).exists()
    assert await bench.catalog.documents.all_spooled() == {bad.source["spool"]}
    await bench.consistent(doc)


async def test_a_failing_document_fails_alone(bench: Bench) -> None:
    good = bench.file("good.md", prose(1))
    blank, gone = bench.file("blank.md", " \n"), bench.file("gone.md", "x")
    (bench.folder / "gone.md").unlink()
    job = await bench.ingest(blank, gone, good)
    assert (job.state, job.counts) == ("partial", {"failed": 2, "succeeded": 1})
    errors = {failure["uri"]: failure["error"] for failure in job.failures}
    assert "cannot be read: No such file" in errors[gone.uri]
    assert (await bench.record(blank)).error == errors[blank.uri]
    await bench.consistent(good)


async def test_a_document_that_fails_keeps_what_was_stored_of_it(bench: Bench) -> None:
    doc = bench.file("a.md", prose(3))
    await bench.ingest(doc)
    job = await bench.ingest(bench.file("a.md", "   "))
    assert job.state == "failed"
    assert (await bench.record(doc)).chunks == len(await bench.chunks()) == 3


async def test_a_crash_nobody_foresaw_is_told_of_its_own_document(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def crash(texts: Sequence[str], *, kind: Kind) -> Float32Array:
        raise RuntimeError("boom")

    monkeypatch.setattr(bench.embedder, "embed", crash)
    job = await bench.ingest(bench.file("a.md", prose(1)))
    assert job.error is not None
    assert "Internal error, please report it: RuntimeError." in job.error
    assert "boom" not in job.error
    assert "Ingesting" in caplog.text


class Down(HashEmbedder):
    """Fails `times`, then works."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    async def embed(self, texts: Sequence[str], *, kind: Kind) -> Float32Array:
        if self.times:
            self.times -= 1
            raise UpstreamError("The embedder is down.")
        return await super().embed(texts, kind=kind)


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest.retries.backoff", lambda _: 0.0)


@pytest.mark.usefixtures("no_waiting")
async def test_what_may_go_through_later_is_tried_again(bench: Bench) -> None:
    doc = bench.file("a.md", prose(2))
    pipeline = bench.pipeline(embedder=Down(ATTEMPTS - 1))
    job = await bench.ingest(doc, pipeline=pipeline)
    for tries in range(1, ATTEMPTS):
        assert (job.state, (await bench.record(doc)).error) == ("pending", "The embedder is down.")
        [task] = await bench.catalog.tasks.claim(9)
        assert task.attempts == tries
        await pipeline.ingest(task)
        job = await bench.catalog.jobs.get(bench.scope.tenant, job.id)
    assert (job.state, (await bench.record(doc)).error) == ("succeeded", None)
    await bench.consistent(doc)


@pytest.mark.usefixtures("no_waiting")
async def test_what_never_goes_through_fails_and_can_be_retried(bench: Bench) -> None:
    doc = bench.sent("Some text.", id_="mine")
    pipeline = bench.pipeline(embedder=Down(ATTEMPTS))
    job = await bench.ingest(doc, pipeline=pipeline)
    for _ in range(1, ATTEMPTS):
        [task] = await bench.catalog.tasks.claim(9)
        await pipeline.ingest(task)
    job = await bench.catalog.jobs.get(bench.scope.tenant, job.id)
    assert (job.state, job.error) == ("failed", "The embedder is down. Tried 5 times.")
    assert (await bench.catalog.jobs.retry(bench.scope.tenant, job.id)).state == "pending"
    [task] = await bench.catalog.tasks.claim(9)
    assert task.attempts == 0
    await pipeline.ingest(task)
    assert (await bench.catalog.jobs.get(bench.scope.tenant, job.id)).state == "succeeded"
    assert (await bench.record(doc)).state == "succeeded"


def test_tries_come_further_and_further_apart_and_never_all_at_once() -> None:
    waits = [[backoff(n) for _ in range(200)] for n in range(12)]
    for n, found in enumerate(waits):
        longest = min(60.0, 2.0**n)
        assert longest / 2 <= min(found) < max(found) <= longest


async def test_bytes_that_were_put_off_do_not_replace_newer_ones(bench: Bench) -> None:
    await bench.pipeline().check_collection(bench.scope)
    await bench.catalog.jobs.submit(bench.scope, [bench.sent("Older words.", id_="a")])
    [older] = await bench.catalog.tasks.claim(9)
    await bench.catalog.tasks.postpone(older, "The embedder is away.", seconds=30)
    await bench.ingest(newer := bench.sent("Newer words.", id_="a"))
    await bench.pipeline().ingest(older)
    assert [chunk.text for chunk in await bench.chunks(newer)] == ["Newer words."]
    await bench.consistent(newer)


async def test_a_task_that_is_delivered_twice_is_done_once(bench: Bench) -> None:
    doc = bench.file("a.md", prose(2))
    await bench.pipeline().check_collection(bench.scope)
    await bench.catalog.jobs.submit(bench.scope, [doc])
    [task] = await bench.catalog.tasks.claim(9)
    pipeline = bench.pipeline()
    outcomes = await asyncio.gather(
        *(pipeline.ingest(task, wait=False) for _ in range(3)), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes] == [type(None), BusyError, BusyError]
    embedded = len(bench.embedder.embedded)
    await pipeline.ingest(task)  # it is done: nothing is left to do
    assert len(bench.embedder.embedded) == embedded
    await bench.consistent(doc)


# Equal contents


async def test_two_files_with_the_same_content_are_stored_once_and_both_listed(
    bench: Bench,
) -> None:
    a, b = bench.file("a.md", prose(2)), bench.file("b.md", prose(2))
    job = await bench.ingest(a, b)
    assert job.outcomes == {"stored": 1, "duplicate": 1}
    records = [await bench.record(a), await bench.record(b)]
    [original] = [r for r in records if r.duplicate_of is None]
    [copy] = [r for r in records if r.duplicate_of is not None]
    assert (copy.duplicate_of, copy.chunks, original.chunks) == (original.id, 0, 2)
    assert len(await bench.chunks()) == 2
    await bench.consistent(a, b)


async def test_deleting_the_original_hands_its_chunks_over(bench: Bench) -> None:
    a, b, c = [bench.file(f"{name}.md", prose(2)) for name in "abc"]
    for doc in (a, b, c):
        await bench.ingest(doc)
    await bench.pipeline().delete(bench.scope, a.document_id)
    assert len(await bench.chunks(b)) == len(await bench.chunks()) == 2
    assert (await bench.record(b)).duplicate_of is None
    assert (await bench.record(c)).duplicate_of == b.document_id
    await bench.consistent(b, c)
    await bench.pipeline().delete(bench.scope, b.document_id)
    assert len(await bench.chunks(c)) == 2
    await bench.pipeline().delete(bench.scope, c.document_id)
    assert await bench.chunks() == []


async def test_chunks_that_were_handed_over_are_those_the_heir_would_have_made(
    bench: Bench,
) -> None:
    a, b = bench.file("a.md", prose(3)), bench.file("b.md", prose(3))
    await bench.ingest(a)
    await bench.ingest(b)
    await bench.pipeline().delete(bench.scope, a.document_id)
    inherited = await bench.chunks(b)
    bench.index = MemoryIndex()
    await bench.ingest(b, pipeline=bench.pipeline(max_tokens=41))
    assert [(c.id, c.start, c.end) for c in await bench.chunks(b)] == [
        (c.id, c.start, c.end) for c in inherited
    ]


async def test_editing_the_original_hands_its_chunks_over(bench: Bench) -> None:
    a, b = bench.file("a.md", prose(2)), bench.file("b.md", prose(2))
    await bench.ingest(a)
    await bench.ingest(b)
    await bench.ingest(bench.file("a.md", prose(3, changed=1)))
    assert (len(await bench.chunks(a)), len(await bench.chunks(b))) == (3, 2)
    await bench.consistent(a, b)


async def test_editing_a_duplicate_stores_it_on_its_own(bench: Bench) -> None:
    a, b = bench.file("a.md", prose(2)), bench.file("b.md", prose(2))
    await bench.ingest(a)
    await bench.ingest(b)
    await bench.ingest(bench.file("b.md", prose(3)))
    assert (await bench.record(b)).duplicate_of is None
    assert (len(await bench.chunks(a)), len(await bench.chunks(b))) == (2, 3)
    await bench.consistent(a, b)


async def test_a_document_that_becomes_equal_to_another_gives_up_its_chunks(
    bench: Bench,
) -> None:
    a, b = bench.file("a.md", prose(2)), bench.file("b.md", prose(3))
    await bench.ingest(a)
    await bench.ingest(b)
    await bench.ingest(bench.file("b.md", prose(2)))
    assert (await bench.record(b)).duplicate_of == a.document_id
    assert await bench.chunks(b) == []
    await bench.consistent(a, b)


async def test_another_chunk_size_reaches_originals_and_duplicates(bench: Bench) -> None:
    a, b = bench.file("a.md", prose(4)), bench.file("b.md", prose(4))
    await bench.ingest(a)
    await bench.ingest(b)
    await bench.ingest(a, b, pipeline=bench.pipeline(max_tokens=80))
    assert len(await bench.chunks()) == 2
    await bench.consistent(a, b)


async def test_a_duplicate_that_inherits_chunks_of_another_size_is_cut_anew(bench: Bench) -> None:
    a, b = bench.file("a.md", prose(4)), bench.file("b.md", prose(4))
    await bench.ingest(a)
    await bench.ingest(b)
    larger = bench.pipeline(max_tokens=80)
    await bench.ingest(b, pipeline=larger)
    await larger.delete(bench.scope, a.document_id)
    assert len(await bench.chunks(b)) == 4
    await bench.ingest(b, pipeline=larger)
    assert len(await bench.chunks(b)) == 2
    await bench.consistent(b)


async def test_two_originals_that_trade_contents_at_once_keep_both(bench: Bench) -> None:
    a, b = bench.file("a.md", prose(2)), bench.file("b.md", prose(3))
    await bench.ingest(a, b)
    await bench.ingest(bench.file("a.md", prose(3)), bench.file("b.md", prose(2)))
    assert (len(await bench.chunks(a)), len(await bench.chunks(b))) == (3, 2)
    await bench.consistent(a, b)


async def test_contents_that_move_on_from_file_to_file_at_once_are_all_kept(bench: Bench) -> None:
    logs = [bench.file(f"log.{i}.md", prose(2 + i)) for i in range(4)]
    await bench.ingest(*logs)
    await bench.ingest(*(bench.file(f"log.{i}.md", prose(1 + i)) for i in range(4)))
    assert [len(await bench.chunks(log)) for log in logs] == [1, 2, 3, 4]
    await bench.consistent(*logs)


async def test_a_copy_that_arrives_while_its_original_is_deleted_is_stored(bench: Bench) -> None:
    a = bench.file("a.md", prose(2))
    pipeline = bench.pipeline()
    await bench.ingest(a, pipeline=pipeline)
    b = bench.file("b.md", prose(2))
    await asyncio.gather(
        bench.ingest(b, pipeline=pipeline), pipeline.delete(bench.scope, a.document_id)
    )
    assert len(await bench.chunks(b)) == len(await bench.chunks()) == 2
    await bench.consistent(b)


async def test_an_id_that_is_its_contents_hash_is_an_id_like_any_other(bench: Bench) -> None:
    data = b"# Title\n\nSome text."
    sent = bench.spool.of(bench.scope.tenant).put(
        data, uri="upload:a.md", name="a.md", document_id_=hashlib.sha256(data).hexdigest()
    )
    async with asyncio.timeout(5):
        job = await bench.ingest(sent)
    assert job.state == "succeeded"


async def test_ids_of_the_callers_own_are_never_merged(bench: Bench) -> None:
    a, b = bench.sent("the same text", id_="a"), bench.sent("the same text", id_="b")
    job = await bench.ingest(a, b)
    assert job.outcomes == {"stored": 2}
    assert len(await bench.chunks(a)) == len(await bench.chunks(b)) == 1
    await bench.consistent(a, b)


# Crashes and races


@pytest.mark.parametrize("texts", [("", 3), (3, 4)], ids=["new", "edited"])
async def test_a_crash_before_the_catalog_is_told_doubles_nothing_when_run_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, texts: tuple[Any, int]
) -> None:
    async def crash(*_: object, **__: object) -> None:
        raise asyncio.CancelledError  # as when the process is stopped

    before, after = texts
    if before:
        await bench.ingest(bench.file("a.md", prose(before)))
    doc = bench.file("a.md", prose(after))
    with monkeypatch.context() as patch:
        patch.setattr(bench.catalog.outcomes, "succeed", crash)
        with pytest.raises(asyncio.CancelledError):
            await bench.ingest(doc)
    assert len(await bench.chunks()) == after  # searchable all the while
    await bench.catalog.tasks.release()  # the next start
    bench.embedder.embedded.clear()
    [task] = await bench.catalog.tasks.claim(9)
    await bench.pipeline().ingest(task)
    assert bench.embedder.embedded == []
    assert len(await bench.chunks()) == after
    await bench.consistent(doc)


async def test_a_crash_while_chunks_are_handed_over_loses_and_doubles_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = bench.file("a.md", prose(2)), bench.file("b.md", prose(2))
    await bench.ingest(a)
    await bench.ingest(b)
    pipeline = bench.pipeline()

    async def full(*_: object, **__: object) -> None:
        raise StorageError("The disk is full.")

    for owner, name in (
        (bench.catalog.documents, "delete"),
        (bench.index, "upsert"),
        (bench.catalog.documents, "inherit"),
        (bench.index, "delete"),
        (bench.catalog.unsettled, "remove"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, full)
            with pytest.raises(StorageError):
                await pipeline.delete(bench.scope, a.document_id)
    await pipeline.delete(bench.scope, a.document_id)
    assert len(await bench.chunks()) == len(await bench.chunks(b)) == 2
    await bench.consistent(b)


# Cut short


DELETING = [
    ("index", "upsert"),
    ("documents", "inherit"),
    ("index", "delete"),
    ("unsettled", "remove"),
]


def owner_of(bench: Bench, name: str) -> Any:
    return {
        "index": bench.index,
        "documents": bench.catalog.documents,
        "tasks": bench.catalog.tasks,
        "outcomes": bench.catalog.outcomes,
        "unsettled": bench.catalog.unsettled,
    }[name]


async def settled(bench: Bench) -> None:
    """Releases the tasks and settles catalog and index, as the next start does."""
    await bench.catalog.tasks.release()
    await settle(pipeline=bench.pipeline(), index=bench.index, catalog=bench.catalog)


async def cut_short(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, at: tuple[str, str], work: Awaitable[Any]
) -> None:
    """Runs the work up to this call, where it is cancelled: handlers of errors do not run."""
    owner, name = owner_of(bench, at[0]), at[1]

    async def stopped(*_: object, **__: object) -> None:
        raise asyncio.CancelledError

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, stopped)
        with pytest.raises(asyncio.CancelledError):
            await work


@pytest.mark.parametrize("at", DELETING)
async def test_a_deletion_that_was_cut_short_is_finished_at_the_next_start(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, at: tuple[str, str]
) -> None:
    a, b = bench.file("a.md", prose(3)), bench.file("b.md", prose(3))
    await bench.ingest(a)
    await bench.ingest(b)
    await cut_short(bench, monkeypatch, at, bench.pipeline().delete(bench.scope, a.document_id))
    with pytest.raises(NotFoundError):
        await bench.record(a)
    listed = await bench.catalog.documents.page(bench.scope, limit=9)
    assert [record.id for record in listed] == [b.document_id]
    await settled(bench)
    assert len(await bench.chunks()) == len(await bench.chunks(b)) == 3
    await bench.consistent(b)
    assert (await bench.ingest(a)).outcomes == {"duplicate": 1}


@pytest.mark.parametrize("at", DELETING[2:])
async def test_a_deletion_that_was_cut_short_can_be_asked_for_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, at: tuple[str, str]
) -> None:
    doc = bench.sent("some text", id_="mine")
    await bench.ingest(doc)
    await cut_short(bench, monkeypatch, at, bench.pipeline().delete(bench.scope, "mine"))
    await bench.pipeline().delete(bench.scope, "mine")
    assert await bench.chunks() == []
    with pytest.raises(NotFoundError):
        await bench.pipeline().delete(bench.scope, "mine")


@pytest.mark.parametrize("at", DELETING)
async def test_what_is_sent_while_its_deletion_is_half_done_is_ingested_anew(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, at: tuple[str, str]
) -> None:
    a, b = bench.file("a.md", prose(3)), bench.file("b.md", prose(3))
    await bench.ingest(a)
    await bench.ingest(b)
    await cut_short(bench, monkeypatch, at, bench.pipeline().delete(bench.scope, a.document_id))
    job = await bench.catalog.jobs.submit(bench.scope, [bench.file("a.md", prose(5, changed=1))])
    await settled(bench)  # the open task handles it
    for task in await bench.catalog.tasks.claim(9):
        await bench.pipeline().ingest(task)
    assert (await bench.catalog.jobs.get(bench.scope.tenant, job)).outcomes == {"stored": 1}
    assert (len(await bench.chunks(a)), len(await bench.chunks(b))) == (5, 3)
    await bench.consistent(a, b)


async def test_the_index_forgets_after_the_catalog(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    doc = bench.sent("some text", id_="mine")
    await bench.ingest(doc)
    delete = bench.pipeline().delete(bench.scope, "mine")
    await cut_short(bench, monkeypatch, ("documents", "delete"), delete)
    await bench.consistent(doc)


async def test_unchanged_means_that_the_index_has_the_chunks(bench: Bench) -> None:
    doc = bench.file("a.md", prose(3))
    await bench.ingest(doc)
    [chunk, *_] = await bench.chunks()
    await bench.index.delete(bench.scope, [chunk.id])
    bench.embedder.embedded.clear()
    assert (await bench.ingest(doc)).outcomes == {"stored": 1}
    assert len(bench.embedder.embedded) == 1
    await bench.consistent(doc)


async def test_a_duplicate_stands_for_itself_where_its_original_holds_nothing(
    bench: Bench,
) -> None:
    a, b = bench.file("a.md", prose(3)), bench.file("b.md", prose(3))
    await bench.ingest(a)
    await bench.ingest(b)
    await bench.index.delete(bench.scope, [chunk.id for chunk in await bench.chunks()])
    assert (await bench.ingest(b)).outcomes == {"stored": 1}
    assert (await bench.record(b)).duplicate_of is None
    await bench.consistent(b)


async def test_what_was_begun_and_then_cancelled_is_put_back(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    doc = bench.file("a.md", prose(3))
    await bench.ingest(doc)
    new = bench.file("new.md", prose(2))
    bench.file("a.md", prose(5, changed=1))
    job = await bench.catalog.jobs.submit(bench.scope, [doc, new])
    for task in await bench.catalog.tasks.claim(9):
        await cut_short(bench, monkeypatch, ("outcomes", "succeed"), bench.pipeline().ingest(task))
    assert len(await bench.chunks()) > 3
    await bench.catalog.tasks.release()
    await bench.catalog.jobs.cancel(bench.scope.tenant, job)
    await settled(bench)
    assert len(await bench.chunks()) == len(await bench.chunks(doc)) == 3
    bench.file("a.md", prose(3))
    assert (await bench.ingest(doc)).outcomes == {"unchanged": 1}
    await bench.consistent(doc)


async def test_what_failed_half_way_is_put_back(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    doc = bench.file("a.md", prose(3))
    await bench.ingest(doc)

    async def full(*_: object) -> None:
        raise StorageError("The disk is full.")

    with monkeypatch.context() as patch:
        patch.setattr(bench.index, "delete", full)
        job = await bench.ingest(bench.file("a.md", prose(5, changed=1)))
    assert job.state == "failed"
    assert len(await bench.chunks()) > 3
    await settled(bench)
    assert len(await bench.chunks()) == (await bench.record(doc)).chunks == 3
    assert (await bench.record(doc)).state == "failed"


async def test_what_cannot_be_put_back_has_failed_and_says_so(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    doc = bench.file("a.md", prose(3))
    await bench.ingest(doc)
    await bench.catalog.unsettled.add(bench.scope, doc.document_id)
    await bench.index.delete(bench.scope, [chunk.id for chunk in await bench.chunks()])

    async def only_text(*_: object) -> Document:
        raise InputError("Only the text is kept.")

    monkeypatch.setattr(bench.catalog.documents, "stored", only_text)
    await settled(bench)
    record = await bench.record(doc)
    assert (record.state, record.error) == ("failed", LOST)
    assert (await bench.ingest(doc)).outcomes == {"stored": 1}
    await bench.consistent(doc)


async def test_what_another_embedder_made_stays_open(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    doc = bench.file("a.md", prose(3))
    await bench.ingest(doc)
    await bench.catalog.unsettled.add(bench.scope, doc.document_id)
    other = bench.pipeline(embedder=HashEmbedder(fingerprint="hash-2"))
    await settle(pipeline=other, index=bench.index, catalog=bench.catalog)
    assert "stays half done: Collection 'handbook' was made with" in caplog.text
    assert await bench.catalog.unsettled.of(bench.scope, doc.document_id)
    await settled(bench)
    assert await bench.catalog.unsettled.of(bench.scope, doc.document_id) is None
    await bench.consistent(doc)


async def test_a_cause_that_keeps_documents_open_is_logged_once_while_it_lasts(
    bench: Bench, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.settling.EVERY_SECONDS", 0.01)
    docs = [bench.file(name, prose(1)) for name in ("a.md", "b.md")]
    await bench.ingest(*docs)
    for doc in docs:
        await bench.catalog.unsettled.add(bench.scope, doc.document_id)
    other = bench.pipeline(embedder=HashEmbedder(fingerprint="hash-2"))
    tried = Counter[Scope]()
    check = other.check_collection

    async def counted(scope: Scope) -> None:
        tried[scope] += 1
        await check(scope)

    monkeypatch.setattr(other, "check_collection", counted)
    async with settling(pipeline=other, index=bench.index, catalog=bench.catalog):
        await until(lambda: tried.total() >= 3 * len(docs))
    assert caplog.text.count("stays half done") == 1


async def test_a_first_look_that_takes_long_goes_on_beside_the_block(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.settling.FIRST_SECONDS", 0.01)
    doc = bench.file("a.md", prose(1))
    await bench.ingest(doc)
    await bench.catalog.unsettled.add(bench.scope, doc.document_id)
    pipeline, may = bench.pipeline(), asyncio.Event()
    settle_one = pipeline.settler.settle

    async def slow(mark: Mark) -> None:
        await may.wait()
        await settle_one(mark)

    monkeypatch.setattr(pipeline.settler, "settle", slow)

    async def settled() -> bool:
        return await bench.catalog.unsettled.of(bench.scope, doc.document_id) is None

    async with settling(pipeline=pipeline, index=bench.index, catalog=bench.catalog):
        assert not await settled()
        may.set()
        await until(settled)


async def test_what_another_process_left_is_found_while_one_runs(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.settling.EVERY_SECONDS", 0.01)
    doc = bench.sent("some text", id_="mine")
    await bench.ingest(doc)
    running = [
        settling(pipeline=bench.pipeline(), index=bench.index, catalog=bench.catalog)
        for _ in range(2)
    ]
    async with running[0], running[1]:
        await bench.catalog.documents.delete(bench.scope, "mine")
        for _ in range(1000):
            if await bench.catalog.unsettled.of(bench.scope, "mine") is None:
                break
            await asyncio.sleep(0.05)
    assert await bench.chunks() == []


# Deleted


async def test_a_document_deleted_while_pending_is_not_ingested(bench: Bench) -> None:
    doc = bench.sent("some text", id_="mine")
    await bench.pipeline().check_collection(bench.scope)
    job = await bench.catalog.jobs.submit(bench.scope, [doc])
    await bench.pipeline().delete(bench.scope, "mine")
    assert await bench.catalog.tasks.claim(9) == []
    assert (await bench.catalog.jobs.get(bench.scope.tenant, job)).state == "cancelled"
    assert not bench.place(doc).exists()


async def test_a_document_deleted_just_before_its_task_runs_leaves_nothing(bench: Bench) -> None:
    doc = bench.file("a.md", prose(2))
    pipeline = bench.pipeline()
    await bench.catalog.jobs.submit(bench.scope, [doc])
    [task] = await bench.catalog.tasks.claim(9)
    await pipeline.delete(bench.scope, doc.document_id)
    await pipeline.ingest(task)
    assert await bench.chunks() == []
    with pytest.raises(NotFoundError):
        await bench.record(doc)


async def test_a_document_deleted_while_it_is_embedded_is_gone_in_the_end(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached, opened = asyncio.Event(), asyncio.Event()
    embed = bench.embedder.embed

    async def slow(texts: Sequence[str], *, kind: Kind) -> Float32Array:
        reached.set()
        await opened.wait()
        return await embed(texts, kind=kind)

    monkeypatch.setattr(bench.embedder, "embed", slow)
    doc, pipeline = bench.file("a.md", prose(2)), bench.pipeline()
    ingested = asyncio.create_task(bench.ingest(doc, pipeline=pipeline))
    await reached.wait()
    deleted = asyncio.create_task(pipeline.delete(bench.scope, doc.document_id))
    await asyncio.sleep(0.01)
    opened.set()
    await asyncio.gather(ingested, deleted)
    assert await bench.chunks() == []
    with pytest.raises(NotFoundError):
        await bench.record(doc)


async def test_a_document_that_is_submitted_twice_at_once_is_embedded_once(bench: Bench) -> None:
    doc = bench.file("a.md", prose(3))
    pipeline = bench.pipeline()
    for _ in range(2):
        await bench.catalog.jobs.submit(bench.scope, [doc])
    tasks: list[Task] = await bench.catalog.tasks.claim(9)
    await asyncio.gather(*(pipeline.ingest(task) for task in tasks))
    assert len(bench.embedder.embedded) == 3
    await bench.consistent(doc)


async def test_deleting_an_unknown_document_is_an_error(bench: Bench) -> None:
    with pytest.raises(NotFoundError):
        await bench.pipeline().delete(bench.scope, "nobody")


async def test_a_collection_made_with_another_embedder_is_refused(bench: Bench) -> None:
    await bench.pipeline().check_collection(bench.scope)
    other = bench.pipeline(embedder=HashEmbedder(fingerprint="hash-2"))
    with pytest.raises(
        ConfigError, match="made with the embedder hash-1, and the settings name hash-2"
    ) as caught:
        await other.check_collection(bench.scope)
    assert caught.value.code == "embedder_mismatch"


async def test_where_an_original_is_lost_its_duplicates_are_not(bench: Bench) -> None:
    docs = [bench.file(name, "# T\n\nA cat sat.") for name in ("a.md", "b.md", "c.md")]
    for doc in docs:  # the first stands for the others
        await bench.ingest(doc)
    lost = docs[0].document_id
    async with bench.database.write() as db:  # as versions that stored only the text left it
        await db.execute(texts.update().where(texts.c.document_id == lost).values(structure=None))
    await bench.index.delete(bench.scope, sorted(await bench.index.chunk_ids(bench.scope, lost)))
    await bench.catalog.unsettled.add(bench.scope, lost)
    for _ in range(2):
        await settle(pipeline=bench.pipeline(), index=bench.index, catalog=bench.catalog)
    assert (await bench.record(docs[0])).error == LOST
    heirs = [await bench.record(doc) for doc in docs[1:]]
    assert sorted(heir.chunks for heir in heirs) == [0, 1]
    [heir] = [heir for heir in heirs if heir.chunks]
    assert {other.duplicate_of for other in heirs} == {None, heir.id}
    await bench.consistent(*docs[1:])


async def test_what_is_sent_to_a_collection_of_another_embedder_is_not_kept(bench: Bench) -> None:
    await bench.pipeline().check_collection(bench.scope)
    sent = [bench.sent("A cat.", id_="a"), bench.file("b.md", "A dog.")]
    assert bench.spool.keys(older_than=0)
    other = bench.pipeline(embedder=HashEmbedder(fingerprint="hash-2"))
    with pytest.raises(ConfigError):
        await other.accept(bench.scope, sent, Trace())
    assert not bench.spool.keys(older_than=0)
    assert (bench.folder / "b.md").exists()  # somebody's own file


async def test_a_long_document_is_embedded_and_written_in_parts(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.writing.WRITE_CHUNKS", 4)
    writes: list[int] = []
    upsert = bench.index.upsert

    async def counted(scope: Scope, points: Sequence[Point]) -> None:
        writes.append(len(points))
        await upsert(scope, points)

    monkeypatch.setattr(bench.index, "upsert", counted)
    doc = bench.file("a.md", prose(10))
    await bench.ingest(doc)
    assert [n for n in writes if n] == [4, 4, 2]
    await bench.consistent(doc)
