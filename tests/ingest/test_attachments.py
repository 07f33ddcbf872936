"""Attachments of mails are documents of their own, and live and go with their mail."""

from __future__ import annotations

import asyncio
from email.message import EmailMessage

import pytest

from ingest.document_trace import DocumentTraces
from ingest.parse_stage import Parsing
from ingest.pipeline import IngestPipeline
from ingest.settling import settle
from ingest.sources.files import submission_of
from ingest.sources.originals import Originals
from rag.errors import NotFoundError
from rag.records import DocumentRecord, JobRecord, Submission
from tests import papers
from tests.fakes import HereReader
from tests.ingest.readers.test_formats import deep_slides
from tests.ingest.test_ingest_pipeline import MAX_BYTES, Bench, bench, prose
from workers.local_queue import LocalQueue

pytestmark = pytest.mark.anyio
__all__ = ["bench"]

PRICES = b"Item,Price\nCup,3\nPlate,5\nFork,1\n"


def offer(*attachments: tuple[str, bytes], subject: str = "Offer") -> EmailMessage:
    return papers.mail(subject, "Please see the files that I attached.", *attachments)


def save(bench: Bench, message: EmailMessage, name: str = "offer.eml") -> Submission:
    (bench.folder / name).write_bytes(bytes(message))
    return submission_of(bench.folder / name)


async def drained(
    bench: Bench, *submissions: Submission, pipeline: IngestPipeline | None = None
) -> JobRecord:
    """Submits documents and works until no task is left; returns the job."""
    pipeline = pipeline or bench.pipeline()
    await pipeline.check_collection(bench.scope)
    job = await bench.catalog.jobs.submit(bench.scope, submissions)
    await queue(bench, pipeline).drain()
    return await bench.catalog.jobs.get(bench.scope.tenant, job)


def queue(bench: Bench, pipeline: IngestPipeline) -> LocalQueue:
    return LocalQueue(catalog=bench.catalog, ingest=pipeline.ingest, maintain=bench.index.maintain)


async def listed(bench: Bench) -> dict[str, DocumentRecord]:
    """Returns the documents by the end of their ids, which names an attachment."""
    page = await bench.catalog.documents.page(bench.scope, limit=100)
    return {record.id.rpartition("/")[2] if record.parent else "mail": record for record in page}


async def test_each_attachment_is_a_document_with_its_own_structure(bench: Bench) -> None:
    sent = save(
        bench,
        offer(
            ("prices.csv", PRICES),
            ("plan.md", b"# Plan\n\n## Costs\n\nTen crowns."),
            ("report.pdf", papers.pdf("Chapter one says little.", "Chapter two says more.")),
        ),
    )
    job = await drained(bench, sent)
    assert (job.state, job.counts) == ("succeeded", {"succeeded": 4})
    found = await listed(bench)
    assert set(found) == {"mail", "prices.csv", "plan.md", "report.pdf"}
    mail, prices = found["mail"], found["prices.csv"]
    assert mail.meta["attachments"] == ["prices.csv", "plan.md", "report.pdf"]
    assert prices.id == f"{mail.id}/attachments/prices.csv"
    assert prices.uri == f"{mail.uri}#attachments/prices.csv"
    assert (prices.parent, prices.media_type) == (mail.id, "text/csv")
    assert prices.meta == {
        "parent": mail.id,
        "subject": "Offer",
        "from": "ann@example.com",
        "sent": "2024-10-01T12:34:56-05:00",
    }
    assert (found["plan.md"].title, prices.title) == ("Plan", "prices.csv")
    stored = await bench.catalog.documents.stored(bench.scope, prices.id)
    assert [table.header for table in stored.tables] == ["Item | Price"]
    assert "Cup" not in await bench.catalog.documents.text(bench.scope, mail.id)
    chunks = await bench.chunks()
    report = await bench.catalog.documents.stored(bench.scope, found["report.pdf"].id)
    assert [report.text[start:][:11] for start in report.pages] == ["Chapter one", "Chapter two"]
    assert {chunk.page for chunk in chunks if chunk.document_id == report.id} == {1}
    for chunk in chunks:
        text = await bench.catalog.documents.text(bench.scope, chunk.document_id)
        assert text[chunk.start : chunk.end] == chunk.text
    assert not list(bench.spool.keys(older_than=0))


async def test_a_changed_mail_updates_adds_and_deletes_and_embeds_what_is_new(
    bench: Bench,
) -> None:
    kept = ("kept.md", prose(3).encode())
    await drained(
        bench, save(bench, offer(kept, ("old.md", b"Old words."), ("both.md", b"Before.")))
    )
    embedded = len(bench.embedder.embedded)
    sent = save(bench, offer(("new.md", b"New words."), kept, ("both.md", b"After.")))
    job = await drained(bench, sent)
    assert job.state == "succeeded"
    assert job.outcomes == {"stored": 3, "unchanged": 1}
    found = await listed(bench)
    assert set(found) == {"mail", "kept.md", "new.md", "both.md"}
    texts = {chunk.text for chunk in await bench.chunks()}
    assert {"New words.", "After."} <= texts
    assert not texts & {"Old words.", "Before."}
    assert len(bench.embedder.embedded) == embedded + 2
    again = await drained(bench, sent)
    assert again.outcomes == {"unchanged": 4}
    assert len(bench.embedder.embedded) == embedded + 2


async def test_another_subject_is_seen_in_attachments_that_stay(bench: Bench) -> None:
    await drained(bench, save(bench, offer(("prices.csv", PRICES))))
    embedded = len(bench.embedder.embedded)
    sent = save(bench, offer(("prices.csv", PRICES), subject="Last offer"))
    await drained(bench, sent)
    assert (await listed(bench))["prices.csv"].meta["subject"] == "Last offer"
    [chunk] = [chunk for chunk in await bench.chunks() if "Cup" in chunk.text]
    assert chunk.meta["subject"] == "Last offer"
    assert not [text for text in bench.embedder.embedded[embedded:] if "Cup" in text]


async def test_equal_names_and_odd_ones_stay_apart(bench: Bench) -> None:
    names = [
        "a.txt",
        "a.txt",
        "2-a.txt",
        "../b c%2f#?.txt",
        "é\r\n" * 3 + ".txt",
        "x" * 900 + ".txt",
    ]
    sent = save(bench, offer(*((name, f"Words {n}.".encode()) for n, name in enumerate(names))))
    job = await drained(bench, sent)
    assert job.counts == {"succeeded": 7}
    found = await listed(bench)
    assert {"a.txt", "2-a.txt", "2-2-a.txt", "b c%2f#?.txt"} <= set(found)
    assert found["b c%2f#?.txt"].uri.endswith("#attachments/b%20c%252f%23%3F.txt")
    assert {chunk.text for chunk in await bench.chunks()} >= {f"Words {n}." for n in range(6)}


async def test_deleting_the_mail_deletes_its_attachments(bench: Bench) -> None:
    inner = papers.mail("Inner", "Forwarded words.", ("deep.txt", b"Deep words."))
    sent = save(bench, offer(("prices.csv", PRICES), ("inner.eml", bytes(inner))))
    other = bench.file("other.md", "Other words.")
    await drained(bench, sent, other)
    found = await listed(bench)
    assert found["deep.txt"].parent == found["inner.eml"].id
    assert found["deep.txt"].uri == f"{found['inner.eml'].uri}/attachments/deep.txt"
    await bench.pipeline().delete(bench.scope, sent.document_id)
    assert {record.id for record in (await listed(bench)).values()} == {other.document_id}
    assert {chunk.text for chunk in await bench.chunks()} == {"Other words."}


async def test_an_attachment_can_be_deleted_and_comes_back_with_its_mail(bench: Bench) -> None:
    sent = save(bench, offer(("prices.csv", PRICES)))
    await drained(bench, sent)
    await bench.pipeline().delete(bench.scope, f"{sent.document_id}/attachments/prices.csv")
    assert set(await listed(bench)) == {"mail"}
    await drained(bench, sent)
    assert set(await listed(bench)) == {"mail", "prices.csv"}


async def test_what_cannot_be_read_is_named_and_fails_nothing(bench: Bench) -> None:
    sent = save(
        bench,
        offer(
            ("tool.zip", papers.zipped({"x": "y"})),
            ("broken.docx", papers.zipped({"word/document.xml": "<not xml"})),
            ("deep.odp", deep_slides()),
            ("empty.txt", b""),
            ("prices.csv", PRICES),
        ),
    )
    job = await drained(bench, sent)
    assert (job.state, job.failures) == ("succeeded", [])
    found = await listed(bench)
    assert found["mail"].state == "succeeded"
    assert found["mail"].meta["unread"] == ["tool.zip", "empty.txt"]
    assert any("tool.zip: cannot be read: an archive" in n for n in found["mail"].meta["notes"])
    assert found["broken.docx"].state == "skipped"
    assert "broken.docx: the file is damaged" in (found["broken.docx"].error or "")
    assert "deep.odp: the file is damaged" in (found["deep.odp"].error or "")
    assert found["prices.csv"].state == "succeeded"
    assert not list(bench.spool.keys(older_than=0))


async def test_the_same_file_in_two_mails_is_stored_once(bench: Bench) -> None:
    one = save(bench, offer(("prices.csv", PRICES)), "1.eml")
    two = save(bench, offer(("prices.csv", PRICES), subject="Again"), "2.eml")
    await drained(bench, one, two)
    page = await bench.catalog.documents.page(bench.scope, limit=9)
    copies = [record for record in page if record.parent]
    assert sorted(bool(record.duplicate_of) for record in copies) == [False, True]
    first = next(record for record in copies if not record.duplicate_of)
    assert first.parent is not None
    await bench.pipeline().delete(bench.scope, first.parent)
    [chunk] = [chunk for chunk in await bench.chunks() if "Cup" in chunk.text]
    assert chunk.document_id != first.id


async def test_messages_in_messages_have_a_floor(bench: Bench) -> None:
    message = papers.mail("m0", "words 0")
    for depth in range(1, 9):
        message = papers.mail(f"m{depth}", f"words {depth}", ("m.eml", bytes(message)))
    await drained(bench, save(bench, message))
    assert {chunk.text for chunk in await bench.chunks()} == {f"words {n}" for n in (8, 7, 6, 5)}
    page = await bench.catalog.documents.page(bench.scope, limit=9)
    assert page[-1].meta["unread"] == ["m.eml"]


async def test_a_mailbox_has_the_attachments_of_all_its_messages(bench: Bench) -> None:
    import mailbox

    box = mailbox.mbox(bench.folder / "team.mbox")
    for n in (1, 2):
        box.add(offer(("note.txt", f"Words {n}.".encode()), subject=f"Subject {n}"))
    box.close()
    await drained(bench, submission_of(bench.folder / "team.mbox"))
    found = await listed(bench)
    assert {name: record.meta.get("subject") for name, record in found.items()} == {
        "mail": None,
        "note.txt": "Subject 1",
        "2-note.txt": "Subject 2",
    }


async def test_originals_of_attachments_are_their_own_bytes(bench: Bench) -> None:
    originals = Originals(bench.folder.parent / "originals", keep=True)
    pipeline = bench.pipeline(originals=originals)
    sent = save(bench, offer(("prices.csv", PRICES)))
    await drained(bench, sent, pipeline=pipeline)
    key = (await listed(bench))["prices.csv"].original
    assert key is not None
    assert originals.of(bench.scope.tenant).path(key).read_bytes() == PRICES
    await pipeline.delete(bench.scope, sent.document_id)
    assert not originals.keys(older_than=0)


async def test_two_stages_make_the_same_documents(bench: Bench) -> None:
    sent = save(bench, offer(("prices.csv", PRICES), ("plan.md", b"# Plan\n\nTen crowns.")))
    pipeline = bench.pipeline()
    parsing = Parsing(
        reader=HereReader(max_bytes=MAX_BYTES),
        catalog=bench.catalog,
        spool=bench.spool,
        traces=DocumentTraces(),
    )
    await pipeline.check_collection(bench.scope)
    job = await bench.catalog.jobs.submit(bench.scope, [sent])
    for _ in range(2):  # the mail, then what it brings
        for task in await bench.catalog.tasks.claim(9):
            await parsing.parse(task)
            assert bench.spool.keys(older_than=0) <= await bench.catalog.documents.all_spooled()
        for task in await bench.catalog.tasks.claim(9):
            await pipeline.ingest(task)
    done = await bench.catalog.jobs.get(bench.scope.tenant, job)
    assert (done.state, done.counts) == ("succeeded", {"succeeded": 3})
    assert set(await listed(bench)) == {"mail", "prices.csv", "plan.md"}
    assert not bench.spool.keys(older_than=0)


async def test_a_stage_that_is_delivered_twice_keeps_what_attachments_need(bench: Bench) -> None:
    sent = save(bench, offer(("prices.csv", PRICES)))
    parsing = Parsing(
        reader=HereReader(max_bytes=MAX_BYTES),
        catalog=bench.catalog,
        spool=bench.spool,
        traces=DocumentTraces(),
    )
    await bench.pipeline().check_collection(bench.scope)
    await bench.catalog.jobs.submit(bench.scope, [sent])
    [task] = await bench.catalog.tasks.claim(1)
    await parsing.parse(task)
    [task] = await bench.catalog.tasks.claim(1)
    await bench.pipeline().ingest(task)
    await bench.pipeline().ingest(task)
    await queue(bench, bench.pipeline()).drain()
    assert (await listed(bench))["prices.csv"].state == "succeeded"


async def test_a_deletion_cut_short_takes_the_attachments_at_the_next_start(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = save(bench, offer(("prices.csv", PRICES)))
    await drained(bench, sent)

    async def stopped(*_: object, **__: object) -> None:
        raise asyncio.CancelledError

    with monkeypatch.context() as cut:
        cut.setattr(bench.catalog.documents, "attached", stopped)
        with pytest.raises(asyncio.CancelledError):
            await bench.pipeline().delete(bench.scope, sent.document_id)
    assert set(await listed(bench)) == {"prices.csv"}
    await settle(pipeline=bench.pipeline(), index=bench.index, catalog=bench.catalog)
    assert not await listed(bench)
    assert not await bench.chunks()
    with pytest.raises(NotFoundError):
        await bench.pipeline().delete(bench.scope, sent.document_id)
