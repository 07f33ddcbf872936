"""Kills a service repeatedly and checks its data each time: `python -m tests.killing`.

One process loads everything and forks; each fork opens the folder as a start of the service does,
checks it, and works on it until it is killed: at a random call of catalog or index, or at a random
moment.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import json
import os
import random
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ingest.chunkers.strategies import SectionChunker
from ingest.cleanup import Cleanup
from ingest.index_check import IndexCheck
from ingest.pipeline import IngestPipeline
from ingest.reindex import Reindexer
from ingest.settling import settle
from ingest.sources.files import Spool, TenantSpool, file_uri, submission_of
from ingest.sources.originals import Originals, TenantOriginals
from rag.catalog.answers import Answers
from rag.catalog.catalog import Catalog
from rag.catalog.sqlite_database import SqliteDatabase
from rag.errors import InputError, NotFoundError
from rag.records import DocumentRecord, Submission
from rag.text.passages import passage_text
from rag.types import DEFAULT, Document, Readers, Scope, stored_acl
from retrieval.bm25 import Bm25Encoder
from retrieval.indexes.edge import EdgeIndex
from tests import papers
from tests.fakes import HashEmbedder, HereReader
from workers.local_queue import LocalQueue

SCOPE = Scope(tenant="default", collection="default")
NAMES = [*(f"{i}.md" for i in range(5)), "5.eml", "6.eml"]
BUDGETS = (15, 40, 90)
TEXTS = [
    "# Title\n\n"
    + "\n\n".join(
        f"Paragraph {i} of text {n if i % 2 else 'any'} says "
        + " ".join(f"word{(n * i) % 7}x{j}" for j in range(18))
        for i in range(2 + n)
    )
    for n in range(4)
]
MAILS = [
    bytes(
        papers.mail(
            f"{n}", f"Words of mail {n}.", *((f"{i}.md", TEXTS[i].encode()) for i in range(n))
        )
    )
    for n in range(4)
]
"""Mail `n` has the first `n` texts attached; files with the same bytes are its duplicates."""
OPERATIONS = ["upload"] * 4 + ["delete"] * 3 + ["permit"] * 2
OPERATIONS += ["sync", "cancelled", "reindex", "roll_back", "remove"]
ACLS: list[Readers | None] = [
    None,
    frozenset({"public"}),
    frozenset({"user:anna"}),
    frozenset({"group:sales", "user:anna"}),
    frozenset({"group:sales", "user:bert"}),
]
WORDS = sorted(frozenset({DEFAULT}).union(*(acl for acl in ACLS if acl)))
OPERATIONS_EACH = 12
LONGEST = 0.6
"""Seconds within which a fork is killed that is killed at a random moment."""
WATCHED = {
    "tasks": ["begin", "claim"],
    "outcomes": ["succeed", "unchanged"],
    "jobs": ["submit"],
    "documents": ["delete", "inherit"],
    "versions": ["recut"],
    "unsettled": ["add", "note", "remove", "of"],
    "staged": ["add", "drop"],
    "acls": ["set"],
    "removals": ["begin", "clear", "end"],
    "index": [
        *("upsert", "delete", "chunk_ids", "set_acl", "remove"),
        *("begin_version", "switch_version", "maintain"),
    ],
    "originals": ["store"],
    "spool": ["write"],
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """A kill at one of the first `calls` watched calls, while these operations run."""

    calls: int
    watched: Mapping[str, Sequence[str]] = field(default_factory=lambda: WATCHED)
    operations: Sequence[str] = tuple(OPERATIONS)
    recovering: bool = False


KILLS = {
    "recovering": Kill(calls=30, recovering=True),
    "working": Kill(calls=120),
    "switching": Kill(
        calls=6,
        watched={"staged": ["add"], "index": ["switch_version"]},
        operations=["upload", "reindex", "roll_back"],
    ),
    "storing": Kill(
        calls=24,
        watched={"originals": ["store"], "spool": ["write"], "outcomes": ["succeed", "unchanged"]},
        operations=["upload", "upload", "upload", "delete"],
    ),
    "deleting": Kill(
        calls=16,
        watched={
            "documents": ["delete", "inherit"],
            "unsettled": ["remove"],
            "index": ["delete"],
        },
        operations=["upload", "upload", "delete"],
    ),
    "permitting": Kill(
        calls=16,
        watched={
            "acls": ["set"],
            "unsettled": ["note", "remove"],
            "index": ["set_acl", "upsert"],
        },
        operations=["upload", "permit", "permit"],
    ),
    "removing": Kill(
        calls=10,
        watched={"removals": ["begin", "clear", "running", "end"], "index": ["remove", "upsert"]},
        operations=["upload", "upload", "remove"],
    ),
}


class Journal:
    """A file of the operations begun and done on each document; it outlives the process."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def note(self, word: str, name: str, text: int | None) -> None:
        """Writes `may` before an operation begins, `is` once it is done."""
        with self._file.open("a") as file:
            file.write(json.dumps([word, name, text]) + "\n")

    def allowed(self) -> dict[str, set[int | None]]:
        """The texts that each document may have now, by number; None: it is not stored."""
        found: dict[str, set[int | None]] = {name: {None} for name in NAMES}
        for line in self._file.read_text().splitlines() if self._file.exists() else ():
            word, name, text = json.loads(line)
            if name not in found:
                continue
            found[name] = {text} if word == "is" else found[name] | {text}
        return found

    def changing(self) -> tuple[str, int, int] | None:
        """The document whose ACL was being changed, its ACL before and the new one, by number."""
        name, before, after = "", 0, 0
        for line in self._file.read_text().splitlines() if self._file.exists() else ():
            word, about, acl = json.loads(line)
            if word == "from":
                name, before = about, acl
            elif word == "to":
                after = acl
            elif word == "permitted":
                name = ""
        return (name, before, after) if name else None


@dataclass(slots=True)
class Service:
    """The catalog, index and journal of a folder."""

    folder: Path
    dice: random.Random
    catalog: Catalog
    index: EdgeIndex
    journal: Journal
    counts: Counter[str] = field(default_factory=Counter)
    budget: int = BUDGETS[1]

    @property
    def spool(self) -> Spool:
        return Spool(self.folder / "spool")

    @property
    def originals(self) -> Originals:
        return Originals(self.folder / "originals", keep=True)

    @property
    def pipeline(self) -> IngestPipeline:
        embedder = HashEmbedder()
        return IngestPipeline(
            reader=HereReader(max_bytes=1 << 20),
            chunker=SectionChunker(embedder.count_tokens, max_tokens=self.budget),
            embedder=embedder,
            encoder=Bm25Encoder(),
            index=self.index,
            catalog=self.catalog,
            spool=self.spool,
            originals=self.originals,
        )

    def queue(self) -> LocalQueue:
        pipeline = self.pipeline
        return LocalQueue(
            catalog=self.catalog, ingest=pipeline.ingest, maintain=self.index.maintain
        )

    def reindexer(self) -> Reindexer:
        return Reindexer(
            pipeline=self.pipeline,
            embedder=HashEmbedder(),
            index=self.index,
            catalog=self.catalog,
        )

    def submission(self, name: str, text: int) -> Submission:
        path = self.folder / "docs" / name
        new = self.folder / "new"
        new.write_bytes(MAILS[text] if path.suffix == ".eml" else TEXTS[text].encode())
        new.replace(path)  # an earlier task may be reading it
        return submission_of(path)

    # Operations

    async def upload(self) -> None:
        """Submits one to three documents, new or replaced; notes them as done once submitted."""
        names = self.dice.sample(NAMES, self.dice.randint(1, 3))
        await self._submit({name: self.dice.randrange(len(TEXTS)) for name in names})

    async def _submit(self, chosen: dict[str, int]) -> str:
        for name, text in chosen.items():
            self.journal.note("may", name, text)
        submissions = [self.submission(name, text) for name, text in chosen.items()]
        job = await self.catalog.jobs.submit(SCOPE, submissions)
        for name, text in chosen.items():
            self.journal.note("is", name, text)
        return job

    async def cancelled(self) -> None:
        """Submits a document and cancels its job at once: it may be ingested or stay as before."""
        name, before = self.dice.choice(NAMES), self.journal.allowed()
        job = await self._submit({name: self.dice.randrange(len(TEXTS))})
        for text in before[name]:
            self.journal.note("may", name, text)
        await self.catalog.jobs.cancel(SCOPE.tenant, job)

    async def delete(self) -> None:
        await self._delete(self.dice.choice(NAMES))

    async def _delete(self, name: str) -> None:
        uri = file_uri(self.folder / "docs" / name)
        self.journal.note("may", name, None)
        with contextlib.suppress(NotFoundError):
            await self.pipeline.delete(SCOPE, submission_of_uri(uri))
        self.journal.note("is", name, None)

    async def sync(self) -> None:
        """Submits some of the documents and deletes the others, as a sync of a folder does."""
        kept = self.dice.sample(NAMES, self.dice.randint(2, 5))
        await self._submit({name: self.dice.randrange(len(TEXTS)) for name in kept})
        for name in sorted(set(NAMES) - set(kept)):
            await self._delete(name)

    async def permit(self) -> None:
        """Gives a document another ACL."""
        name, acl = self.dice.choice(NAMES), self.dice.randrange(len(ACLS))
        id_ = submission_of_uri(file_uri(self.folder / "docs" / name))
        with contextlib.suppress(NotFoundError):
            before = await self.catalog.documents.get(SCOPE, id_)
            self.journal.note("from", name, ACLS.index(before.acl))
            self.journal.note("to", name, acl)
            await self.pipeline.permissions.change(SCOPE, id_, ACLS[acl])
        self.journal.note("permitted", name, acl)

    async def remove(self) -> None:
        """Deletes the collection, and makes it anew."""
        for name in NAMES:
            self.journal.note("may", name, None)
        await self.pipeline.removal.remove(SCOPE)
        for name in NAMES:
            self.journal.note("is", name, None)
        await self.pipeline.check_collection(SCOPE)

    async def reindex(self) -> None:
        self.budget = self.dice.choice(BUDGETS)
        await self.reindexer().reindex(SCOPE, progress=lambda _done, _of: None)

    async def roll_back(self) -> None:
        with contextlib.suppress(InputError):  # there is nothing to go back to yet
            await self.reindexer().roll_back(SCOPE, progress=lambda _done, _of: None)


def submission_of_uri(uri: str) -> str:
    from rag.text.uris import document_id

    return document_id(uri)


@contextlib.asynccontextmanager
async def opened(folder: Path, dice: random.Random) -> AsyncIterator[Service]:
    """Opens the folder as a start of the service does."""
    (folder / "docs").mkdir(exist_ok=True)
    database = SqliteDatabase(folder / "catalog.sqlite")
    catalog = Catalog(database)
    await catalog.open()
    await catalog.tasks.release()
    index = EdgeIndex(folder / "index", dim=HashEmbedder().dim)
    service = Service(folder, dice, catalog, index, Journal(folder / "journal"))
    service.budget = dice.choice(BUDGETS)
    cleanup = Cleanup(
        catalog=catalog,
        answers=Answers(database),
        database=database,
        spool=service.spool,
        originals=service.originals,
    )
    await cleanup.sweep(older_than=0)
    yield service
    await index.close()
    await catalog.close()


async def recover(service: Service) -> None:
    """Settles as a start does, drains the queue, and settles once more."""
    pipeline = service.pipeline
    await pipeline.removal.finish()
    await pipeline.check_collection(SCOPE)
    await settle(pipeline=pipeline, index=service.index, catalog=service.catalog)
    await service.queue().drain()
    await settle(pipeline=pipeline, index=service.index, catalog=service.catalog)


async def verify(service: Service) -> None:
    """Checks that nothing is lost, doubled, outdated or orphaned; notes the texts it found."""
    checking = IndexCheck(pipeline=service.pipeline, index=service.index, catalog=service.catalog)
    report = await checking.run(SCOPE, repair=False, progress=lambda _: None)
    assert report.agrees, report
    assert not report.under_way, report
    records = {r.uri: r for r in await service.catalog.documents.page(SCOPE, limit=100)}
    allowed, chunks = service.journal.allowed(), 0
    for name in NAMES:
        record = records.get(file_uri(service.folder / "docs" / name))
        text = await text_of(service, record)
        assert text in allowed[name], (name, text, allowed[name], record)
        if record is not None:
            chunks += await verify_chunks(service, record, records)
            chunks += await verify_attachments(service, record, records)
            await verify_acl(service, record, records)
        service.journal.note("is", name, text)
    assert len(await service.index.chunk_ids(SCOPE, None)) == chunks
    for deleted in (True, False):
        left = await service.catalog.unsettled.abandoned(deleted=deleted, after=None, limit=9)
        assert not left, left
    assert not await service.catalog.staged.scopes()
    known = {file_uri(service.folder / "docs" / name) for name in NAMES}
    assert {uri.partition("#")[0] for uri in records} <= known
    verify_files(service, list(records.values()))


def verify_files(service: Service, records: Sequence[DocumentRecord]) -> None:
    """Checks that each document has its original, and that no other file is left."""
    named = {record.original: record for record in records if record.original}
    assert service.originals.keys(older_than=0) == named.keys()
    for key, record in named.items():
        data = service.originals.of(SCOPE.tenant).path(key).read_bytes()
        assert hashlib.sha256(data).hexdigest() == record.version, record
    lacking = [r for r in records if r.version and not r.original and r.state == "succeeded"]
    # A file that changed before it was copied is sent again by the life that changed it.
    assert not [record for record in lacking if record.parent], lacking
    assert not service.spool.keys(older_than=0)


async def verify_attachments(
    service: Service, mail: DocumentRecord, records: dict[str, DocumentRecord]
) -> int:
    """Checks that a mail has the attachments of its text; returns the count of their chunks."""
    attached = [record for record in records.values() if record.parent == mail.id]
    names = {record.id.rpartition("/")[2] for record in attached}
    expected = {f"{n}.md" for n in range(int(mail.title))} if mail.meta.get("author") else set()
    assert names == expected, (mail, names)
    chunks = 0
    for record in attached:
        if record.state != "cancelled":
            assert await text_of(service, record) == int(record.id[-4])
            assert record.meta["subject"] == mail.title
        chunks += await verify_chunks(service, record, records)
    return chunks


async def check_permissions(service: Service) -> None:
    """Checks that a document whose ACL was being changed is shown by the old one or the new one.

    In between it may be shown to those alone whom both allow.
    """
    if (change := service.journal.changing()) is None:
        return
    name, before, after = change
    id_ = submission_of_uri(file_uri(service.folder / "docs" / name))
    with contextlib.suppress(NotFoundError):
        record = await service.catalog.documents.get(SCOPE, id_)
        old, new = stored_acl(ACLS[before]), stored_acl(ACLS[after])
        shown = await words_of(service, id_)
        assert record.words in (old, new), (record, old, new)
        assert shown <= old & new or shown in (old, record.words), (shown, old, new, record)
        assert shown <= old or record.words == new, (shown, old, new, record)


async def words_of(service: Service, id_: str) -> Readers:
    """Returns the words by which the index shows any of a document's chunks."""
    return frozenset(
        [
            word
            for word in WORDS
            if await service.index.chunk_ids(replace(SCOPE, readers=frozenset({word})), id_)
        ]
    )


async def text_of(service: Service, record: DocumentRecord | None) -> int | None:
    if record is None or not record.version:
        return None
    assert record.state in ("succeeded", "cancelled"), record
    if record.uri.endswith(".eml"):
        return int(record.title)
    return TEXTS.index(await service.catalog.documents.text(SCOPE, record.id))


async def verify_chunks(
    service: Service, record: DocumentRecord, records: dict[str, DocumentRecord]
) -> int:
    """Checks that a document's chunks and vectors are those of one chunker; returns their count."""
    ids = await service.index.chunk_ids(SCOPE, record.id)
    if record.duplicate_of or not record.version:
        originals = {r.id: r for r in records.values()}
        assert not ids, record
        if record.duplicate_of:
            assert originals[record.duplicate_of].version == record.version, record
        return 0
    document = await service.catalog.documents.stored(SCOPE, record.id)
    assert ids in [cut(document, budget) for budget in BUDGETS], record
    vectors = await service.index.vectors(SCOPE, sorted(ids))
    for chunk in await service.index.fetch(SCOPE, sorted(ids)):
        made = HashEmbedder().vector(passage_text(chunk))
        np.testing.assert_allclose(vectors[chunk.id], made, atol=1e-5)
    return len(ids)


async def verify_acl(
    service: Service, record: DocumentRecord, records: dict[str, DocumentRecord]
) -> None:
    """Checks that the index shows all of a document's chunks to its readers, and to nobody else."""
    if record.duplicate_of:
        originals = {r.id: r for r in records.values()}
        assert originals[record.duplicate_of].acl == record.acl, record
    ids = await service.index.chunk_ids(SCOPE, record.id)
    for word in WORDS:
        seen = await service.index.chunk_ids(replace(SCOPE, readers=frozenset({word})), record.id)
        assert seen == (ids if word in record.words else set()), (record, word)


def cut(document: Document, budget: int) -> set[str]:
    chunker = SectionChunker(HashEmbedder().count_tokens, max_tokens=budget)
    return {chunk.id for chunk in chunker.chunk(document)}


# Kills


def kill_at(service: Service, call: int, names: Mapping[str, Sequence[str]]) -> None:
    """Kills this process at step `call`: each of these calls is two steps, before and after it."""
    left = iter(range(call, -1, -1))

    def watched(work: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(work)
        async def then(*args: Any, **kwargs: Any) -> Any:
            if next(left) == 0:
                die()
            result = await work(*args, **kwargs)
            if next(left) == 0:
                die()
            return result

        @functools.wraps(work)
        def then_here(*args: Any, **kwargs: Any) -> Any:
            if next(left) == 0:
                die()
            result = work(*args, **kwargs)
            if next(left) == 0:
                die()
            return result

        return then if asyncio.iscoroutinefunction(work) else then_here

    owners: dict[str, Any] = {
        "tasks": service.catalog.tasks,
        "outcomes": service.catalog.outcomes,
        "jobs": service.catalog.jobs,
        "documents": service.catalog.documents,
        "versions": service.catalog.versions,
        "unsettled": service.catalog.unsettled,
        "staged": service.catalog.staged,
        "acls": service.catalog.acls,
        "removals": service.catalog.removals,
        "index": service.index,
        "originals": TenantOriginals,
        "spool": TenantSpool,
    }
    for owner, name in [(owner, name) for owner, called in names.items() for name in called]:
        setattr(owners[owner], name, watched(getattr(owners[owner], name)))


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


async def live(folder: Path, seed: int, kill: Kill | None, *, works: bool) -> None:
    """Recovers, verifies, and then works if `works`."""
    dice = random.Random(seed)
    call = dice.randrange(kill.calls) if kill else 0
    async with opened(folder, dice) as service:
        await check_permissions(service)
        if kill and kill.recovering:
            kill_at(service, call, kill.watched)
        await recover(service)
        await verify(service)
        service.journal.note("permitted", "", 0)  # an ACL that was being changed is settled
        log(folder, "verified")
        if kill and not kill.recovering:
            kill_at(service, call, kill.watched)
        async with service.queue().started():
            for _ in range(OPERATIONS_EACH if works else 0):
                name = dice.choice(kill.operations if kill else OPERATIONS)
                log(folder, name)
                await getattr(service, name)()
                await asyncio.sleep(dice.choice((0, 0, 0.005, 0.02)))


def log(folder: Path, word: str) -> None:
    with (folder / "log").open("a") as file:
        file.write(f"{word}\n")


def fork(
    folder: Path,
    seed: int,
    *,
    kill: Kill | None = None,
    seconds: float | None = None,
    works: bool = True,
) -> bool:
    """Runs one life in a forked process; True if it was killed."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            asyncio.run(live(folder, seed, kill, works=works))
            code = 0
        except BaseException:  # noqa: BLE001 - a fork must not go on as its parent
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0, f"seed {seed}, {kill}, seconds {seconds}"
    return False


def main(folder: Path, seed: int, kills: int, seconds: float) -> None:
    """Repeats kills up to `kills` or `seconds`, then runs a last life that is not killed."""
    dice = random.Random(seed)
    killed: Counter[str] = Counter()
    until = time.monotonic() + seconds
    fork(folder, seed, works=False)  # the tables are made
    for _ in range(3 * kills):
        if killed.total() == kills or time.monotonic() > until:
            break
        life = dice.randrange(1 << 30)
        when = dice.choice([*KILLS, "at a moment"])
        if when in KILLS:
            killed[when] += fork(folder, life, kill=KILLS[when])
        else:
            killed[when] += fork(folder, life, seconds=dice.uniform(0.05, LONGEST))
    fork(folder, seed, works=False)
    print(json.dumps({"kills": killed, "did": Counter((folder / "log").read_text().split())}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
