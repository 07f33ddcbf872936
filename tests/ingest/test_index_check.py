"""The check and repair of the index against the catalog, document by document."""

from __future__ import annotations

import json
import sqlite3
from argparse import Namespace
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from ingest.chunkers.strategies import SectionChunker
from ingest.index_check import IndexCheck, Report
from ingest.pipeline import IngestPipeline
from ingest.sources.files import Spool, submission_of
from rag.catalog.catalog import Catalog
from rag.catalog.sqlite_database import SqliteDatabase
from rag.cli.index import check
from rag.errors import ConfigError, NotFoundError
from rag.protocols import StoredIndex
from rag.records import Submission
from rag.settings.tree import load_settings
from rag.types import Chunk, Scope
from retrieval.bm25 import Bm25Encoder
from retrieval.indexes.edge import EdgeIndex
from retrieval.indexes.qdrant import QdrantIndex
from tests.fakes import HashEmbedder, HereReader, make_chunk, make_points
from tests.qdrant_servers import NO_INDEXES, local_qdrant
from tests.servers import RAG, rag

pytestmark = [pytest.mark.anyio, NO_INDEXES]

TEXTS = {
    f"{name}.md": "# Title\n\n"
    + "\n\n".join(f"Paragraph {i} of {name} says " + "many words " * 10 for i in range(3))
    for name in "abcd"
}


@dataclass
class Bench:
    folder: Path
    scope: Scope
    catalog: Catalog
    index: StoredIndex
    submissions: dict[str, Submission]
    embedder: HashEmbedder

    @property
    def pipeline(self) -> IngestPipeline:
        return IngestPipeline(
            reader=HereReader(max_bytes=1 << 20),
            chunker=SectionChunker(self.embedder.count_tokens, max_tokens=30),
            embedder=self.embedder,
            encoder=Bm25Encoder(),
            index=self.index,
            catalog=self.catalog,
            spool=Spool(self.folder / "spool"),
        )

    async def ingest(self, **texts: str) -> None:
        """Ingests files given by their names without extension."""
        await self.pipeline.check_collection(self.scope)
        for name, text in texts.items():
            path = self.folder / f"{name}.md"
            path.write_text(text)
            self.submissions[name] = submission_of(path)
            await self.catalog.jobs.submit(self.scope, [self.submissions[name]])
            for task in await self.catalog.tasks.claim(9):
                await self.pipeline.ingest(task)

    async def check(self, *, repair: bool = False) -> Report:
        checking = IndexCheck(pipeline=self.pipeline, index=self.index, catalog=self.catalog)
        return await checking.run(self.scope, repair=repair, progress=lambda _: None)

    async def chunks(self, name: str) -> list[Chunk]:
        ids = await self.index.chunk_ids(self.scope, self.submissions[name].document_id)
        found = await self.index.fetch(self.scope, sorted(ids))
        return sorted(found, key=lambda chunk: chunk.position)


@pytest.fixture(params=["edge", "qdrant"])
async def bench(request: pytest.FixtureRequest, folder: Path, scope: Scope) -> AsyncIterator[Bench]:
    catalog, embedder = Catalog(SqliteDatabase(folder / "catalog.sqlite")), HashEmbedder()
    await catalog.open()
    async with local_qdrant() as server:
        edge = EdgeIndex(folder / "index", dim=embedder.dim)
        index = edge if request.param == "edge" else QdrantIndex(server, dim=embedder.dim)
        made = Bench(folder, scope, catalog, index, {}, embedder)
        await made.ingest(**{name: TEXTS[f"{name}.md"] for name in "abcd"}, same=TEXTS["a.md"])
        yield made
        await edge.close()
    await catalog.close()


async def test_where_all_agrees_nothing_is_found_and_nothing_written(bench: Bench) -> None:
    bench.embedder.embedded.clear()
    for repair in (False, True):
        report = await bench.check(repair=repair)
        assert (report.documents, report.chunks, report.agrees) == (5, 12, True)
        assert (report.faults, report.repaired, report.under_way) == ([], 0, 0)
    assert bench.embedder.embedded == []


async def test_each_kind_of_fault_is_found_and_put_right(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.document_check.PAGE", 2)
    before = {name: await bench.chunks(name) for name in "abcd"}
    first = {name: chunks[0] for name, chunks in before.items()}
    await bench.index.delete(bench.scope, [first["a"].id])
    moved = [replace(first["b"], start=1, end=1 + len(first["b"].text))]
    old = [replace(chunk, version="of other bytes") for chunk in before["c"]]
    await bench.index.upsert(bench.scope, make_points([*moved, *old]))
    twice = make_chunk(first["d"].text, document_id=first["d"].document_id, position=77)
    stranger = make_chunk("nobody's", document_id="stranger")
    await bench.index.upsert(bench.scope, make_points([twice, stranger]))
    report = await bench.check()
    assert not report.agrees
    assert {(fault.document_id, fault.kind) for fault in report.faults} == {
        (bench.submissions["a"].document_id, "missing"),
        (bench.submissions["b"].document_id, "moved"),
        (bench.submissions["c"].document_id, "old"),
        (bench.submissions["d"].document_id, "surplus"),
        ("stranger", "orphan"),
    }
    bench.embedder.embedded.clear()
    report = await bench.check(repair=True)
    assert (report.agrees, report.repaired, report.counts.total()) == (True, 5, 5)
    assert len(bench.embedder.embedded) == 1  # of the chunk that was missing
    assert (await bench.check()).faults == []
    assert {name: await bench.chunks(name) for name in "abcd"} == before


async def test_an_orphan_with_chunks_on_several_pages_is_counted_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("retrieval.indexes.edge_reads.PAGE", 4)
    monkeypatch.setattr("retrieval.indexes.qdrant_tenants.PAGE", 4)
    monkeypatch.setattr("ingest.index_check.MAX_LISTED_FAULTS", 1)
    strangers = [
        make_chunk(f"{i} of {name}", document_id=name, position=i)
        for name in ("one", "two")
        for i in range(9)
    ]
    await bench.index.upsert(bench.scope, make_points(strangers))
    report = await bench.check()
    assert (report.counts, len(report.faults)) == ({"orphan": 2}, 1)
    report = await bench.check(repair=True)
    assert (report.counts, report.repaired) == ({"orphan": 2}, 2)
    assert (await bench.check()).agrees


async def test_two_chunks_in_one_place_are_found(bench: Bench) -> None:
    *others, last = await bench.chunks("d")
    again = replace(last, position=0)
    await bench.index.upsert(bench.scope, make_points([again]))
    report = await bench.check(repair=True)
    assert [(fault.kind, report.agrees) for fault in report.faults] == [("twice", True)]
    assert await bench.chunks("d") == [*others, last]


async def test_a_duplicate_whose_original_is_gone_gets_chunks_of_its_own(bench: Bench) -> None:
    gone = bench.submissions["a"].document_id
    await bench.catalog.documents.delete(bench.scope, gone)
    await bench.catalog.unsettled.remove(bench.scope, gone)  # as nobody is to
    report = await bench.check(repair=True)
    same = bench.submissions["same"].document_id
    assert [(f.document_id, f.kind) for f in report.faults] == [
        (same, "original"),
        (gone, "orphan"),
    ]
    assert report.agrees
    assert len(await bench.chunks("same")) == 3
    assert await bench.chunks("a") == []
    assert (await bench.check()).faults == []


async def test_what_a_task_is_yet_to_write_is_no_fault(bench: Bench) -> None:
    [first, *_] = await bench.chunks("b")
    await bench.index.delete(bench.scope, [first.id])
    await bench.catalog.jobs.submit(bench.scope, [bench.submissions["b"]])
    report = await bench.check(repair=True)
    assert (report.under_way, report.faults, report.agrees) == (1, [], True)
    for task in await bench.catalog.tasks.claim(9):
        await bench.pipeline.ingest(task)
    report = await bench.check()
    assert (report.under_way, report.faults) == (0, [])
    assert len(await bench.chunks("b")) == 3


async def test_what_cannot_be_repaired_is_told(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NotFoundError, match="no collection 'nowhere'"):
        await replace(bench, scope=replace(bench.scope, collection="nowhere")).check()
    other = replace(bench, embedder=HashEmbedder(fingerprint="hash-2"))
    assert (await other.check()).agrees
    with pytest.raises(ConfigError, match="made with the embedder hash-1"):
        await other.check(repair=True)


def test_the_command_compares_and_repairs(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for name in ("a.md", "b.md"):
        (tmp_path / name).write_text(TEXTS[name])
    assert rag("ingest", tmp_path / "a.md", tmp_path / "b.md", data=data).returncode == 0
    with closing(sqlite3.connect(data / "catalog.sqlite")) as catalog:
        catalog.execute("UPDATE documents SET chunks = chunks + 4 WHERE uri LIKE '%/a.md'")
        catalog.commit()
    found = rag("index", "check", data=data, command=RAG)
    assert found.returncode == 1
    assert "catalog and index differ in 1 document" in found.stdout
    assert "a.md: 1 of 5 chunks are in the index" in found.stdout
    repaired = rag("index", "check", "--repair", "--json", data=data)
    assert repaired.returncode == 0, repaired.stderr
    body = json.loads(repaired.stdout)
    assert (body["agrees"], body["faults"], body["repaired"]) == (True, {"missing": 1}, 1)
    plain = {"field": None, "kind": None, "queries": 2, "recall": 1.0, "enough": True}
    assert body["recall"] == [plain]
    found = rag("index", "check", data=data)
    assert (found.returncode, "catalog and index agree" in found.stdout) == (0, True)
    assert "recall@10 of vector search: 1.000 without a filter\n" in found.stdout
    refused = rag("index", "check", data=data, env={"RAG_URL": "http://127.0.0.1:1"})
    assert (refused.returncode, "RAG_URL names a server" in refused.stderr) == (2, True)


async def test_recall_below_the_bound_is_an_alarm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    (tmp_path / "a.md").write_text(TEXTS["a.md"])
    assert rag("ingest", tmp_path / "a.md", data=data).returncode == 0
    asked = Namespace(collection="default", tenant=None, repair=False, json=False)
    assert await check(asked, load_settings(data_dir=data)) == 0
    assert "misses" not in capsys.readouterr().out
    monkeypatch.setattr("retrieval.recall.ENOUGH", 1.01)
    assert await check(asked, load_settings(data_dir=data)) == 1
    printed = " ".join(capsys.readouterr().out.split())
    assert "misses more than it may without a filter: `rag reindex` builds its graph" in printed
