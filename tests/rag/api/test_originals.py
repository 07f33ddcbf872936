"""The original files of documents: opened by their citations, and gone with their documents."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from ingest.cleanup import Cleanup
from ingest.sources.files import Spool, submission_of
from ingest.sources.originals import Originals
from rag.build.service import Service
from rag.catalog.tables import documents
from rag.errors import StorageError
from rag.telemetry.trace import Trace
from rag.types import Scope
from retrieval.embedders.embedder import BertEmbedder
from tests import papers
from tests.in_process import ingested, serving_here
from tests.waiting import until

pytestmark = pytest.mark.anyio
SCOPE = Scope(tenant="default", collection="default")
PAGE = b"<html><body><h1>Depot</h1><script>alert(1)</script><p>It opens at seven.</p></body></html>"
NOTE = "Das Lager öffnet um sieben. 保管".encode()


@pytest.fixture(scope="module")
async def here(
    tmp_path_factory: pytest.TempPathFactory, embedder: BertEmbedder
) -> AsyncIterator[tuple[httpx.AsyncClient, Service]]:
    async with serving_here(tmp_path_factory.mktemp("originals") / "data", embedder) as opened:
        yield opened


async def send(http: httpx.AsyncClient, name: str, data: bytes, uri: str | None = None) -> str:
    """Ingests a file; returns the id of its document."""
    form = {"uri": uri} if uri else {}
    accepted = await http.post("/v1/documents", files={"files": (name, data)}, data=form)
    assert (await ingested(http, accepted))["state"] == "succeeded"
    document_id: str = accepted.json()["documents"][0]["id"]
    return document_id


async def content(http: httpx.AsyncClient, document_id: str, **request: Any) -> httpx.Response:
    return await http.get(f"/v1/documents/{document_id}/content", **request)


def kept(service: Service) -> list[Path]:
    folder = service.settings.data_dir / "originals"
    return sorted(folder.iterdir()) if folder.is_dir() else []


def waiting(service: Service) -> list[Path]:
    return list((service.settings.data_dir / "spool").iterdir())


async def test_a_file_comes_back_as_it_was_sent(here: tuple[httpx.AsyncClient, Service]) -> None:
    http, service = here
    document_id = await send(http, "lager.txt", NOTE)
    whole = await content(http, document_id)
    assert (whole.status_code, whole.content) == (200, NOTE)
    assert whole.headers["content-type"] == "text/plain; charset=utf-8"
    assert whole.headers["content-disposition"] == 'inline; filename="lager.txt"'
    assert whole.headers["x-content-type-options"] == "nosniff"
    part = await content(http, document_id, headers={"Range": "bytes=4-8"})
    assert (part.status_code, part.content) == (206, NOTE[4:9])
    assert part.headers["content-range"] == f"bytes 4-8/{len(NOTE)}"
    last = await content(http, document_id, headers={"Range": "bytes=-3"})
    assert last.content == NOTE[-3:]
    behind = await content(http, document_id, headers={"Range": f"bytes={len(NOTE)}-"})
    assert behind.status_code == 416
    etag = whole.headers["etag"]
    same = await content(http, document_id, headers={"If-None-Match": etag})
    assert (same.status_code, same.content) == (304, b"")
    text = await content(http, document_id, params={"as": "text"})
    assert text.content == NOTE
    assert waiting(service) == []


@pytest.mark.parametrize(
    ("name", "data", "media_type"),
    [
        ("page.html", PAGE, "text/html; charset=utf-8"),
        ("drawing.xml", b"<svg xmlns='http://www.w3.org/2000/svg'><text>Depot</text></svg>",
         "application/xml"),
        ("mail.eml", b"From: a@a.example\nTo: b@a.example\nSubject: Depot\n\nIt opens.\n",
         "message/rfc822"),
    ],
)  # fmt: skip
async def test_what_a_browser_would_run_is_saved_and_sandboxed(
    here: tuple[httpx.AsyncClient, Service], name: str, data: bytes, media_type: str
) -> None:
    response = await content(here[0], await send(here[0], name, data))
    assert response.content == data
    assert response.headers["content-type"] == media_type
    assert response.headers["content-disposition"] == f'attachment; filename="{name}"'
    assert response.headers["content-security-policy"] == "default-src 'none'; sandbox"


async def test_a_text_in_another_charset_is_not_called_utf_8(
    here: tuple[httpx.AsyncClient, Service],
) -> None:
    latin = "Das Büro öffnet um neun Uhr, die Küche schließt später.".encode("latin-1")
    response = await content(here[0], await send(here[0], "büro.txt", latin))
    assert (response.content, response.headers["content-type"]) == (latin, "text/plain")
    disposition = response.headers["content-disposition"]
    assert disposition == "inline; filename*=utf-8''b%C3%BCro.txt"


async def test_names_cannot_break_the_header(here: tuple[httpx.AsyncClient, Service]) -> None:
    uri = 'https://a.example/x/%0d%0aX-Evil:%201/..%2f"a".pdf?q=1'
    response = await content(here[0], await send(here[0], "note.txt", b"Otters swim.", uri))
    assert "x-evil" not in response.headers
    name = response.headers["content-disposition"]
    assert not {"/", "\\"} & set(name.partition("''")[2] or name)
    assert name.endswith((".txt", '.txt"'))


async def test_a_json_document_has_its_text(here: tuple[httpx.AsyncClient, Service]) -> None:
    http, service = here
    before = kept(service)
    document = {"id": "otters", "text": "Otters swim at dawn."}
    await ingested(http, await http.post("/v1/documents", json={"documents": [document]}))
    response = await content(http, "otters")
    assert (response.status_code, response.text) == (200, "Otters swim at dawn.")
    alone = await content(http, "otters", params={"as": "original"})
    assert (alone.status_code, alone.json()["code"]) == (404, "no_original")
    assert kept(service) == before


async def test_it_goes_when_its_document_is_replaced_or_deleted(
    here: tuple[httpx.AsyncClient, Service],
) -> None:
    http, service = here
    before = kept(service)
    document_id = await send(http, "hours.txt", b"The office opens at eight.")
    [first] = set(kept(service)) - set(before)
    await send(http, "hours.txt", b"The office opens at eight.")  # unchanged
    assert set(kept(service)) == {*before, first}
    await send(http, "hours.txt", b"The office opens at nine.")
    # The old file goes once the new one is named in the catalog.
    await until(lambda: first not in kept(service))
    [second] = set(kept(service)) - set(before)
    assert second != first
    assert (await content(http, document_id)).content == b"The office opens at nine."
    assert (await http.delete(f"/v1/documents/{document_id}")).status_code == 204
    assert kept(service) == before
    assert (await content(http, document_id)).status_code == 404


async def test_a_local_file_is_copied(
    here: tuple[httpx.AsyncClient, Service], tmp_path: Path
) -> None:
    http, service = here
    file = tmp_path / "rules.md"
    file.write_bytes(b"# Rules\n\nNo lamps after ten.")
    sent = submission_of(file)
    job_id = await service.ingest.accept(SCOPE, [sent], Trace())
    [task] = await service.catalog.tasks.claim(9)
    assert task.job_id == job_id
    await service.ingest.ingest(task)
    file.write_bytes(b"# Other rules")
    response = await content(http, sent.document_id)
    assert response.content == b"# Rules\n\nNo lamps after ten."
    assert response.headers["content-disposition"] == 'inline; filename="rules.md"'
    await http.delete(f"/v1/documents/{sent.document_id}")
    assert file.exists()


async def test_a_document_of_an_older_version_gets_its_original_when_it_is_sent_again(
    here: tuple[httpx.AsyncClient, Service],
) -> None:
    http, service = here
    sent = b"Badgers dig at night."
    document_id = await send(http, "badgers.txt", sent)
    record = await service.catalog.documents.get(SCOPE, document_id)
    assert record.original is not None
    async with service.database.write() as db:  # as an older version left it
        its = documents.update().where(documents.c.id == record.id)
        await db.execute(its.values(original=None))
    service.originals.of(SCOPE.tenant).sweep([record.original])
    response = await content(http, document_id)
    assert (response.content, response.headers["content-type"]) == (
        sent,
        "text/plain; charset=utf-8",
    )
    assert (await content(http, document_id, params={"as": "original"})).status_code == 404
    await send(http, "badgers.txt", sent)
    again = await content(http, document_id, params={"as": "original"})
    assert again.content == sent


async def test_what_a_killed_process_left_is_swept_and_nothing_else(
    here: tuple[httpx.AsyncClient, Service],
) -> None:
    http, service = here
    document_id = await send(http, "left.txt", b"Herons wait.")
    named = kept(service)
    mine = service.originals.of(SCOPE.tenant)
    orphan = mine.path(mine.new_key())
    orphan.write_bytes(b"Replaced text.")
    cleanup = Cleanup(
        catalog=service.catalog,
        answers=service.observer.answers,
        database=service.database,
        spool=service.spool,
        originals=service.originals,
    )
    await cleanup.sweep(older_than=3600)
    assert orphan.exists()  # it may be of a task that has not ended
    await cleanup.sweep(older_than=0)
    assert kept(service) == named
    assert (await content(http, document_id)).content == b"Herons wait."


async def test_killed_between_the_file_and_the_catalog(
    here: tuple[httpx.AsyncClient, Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task runs again, from the bytes that are still there."""
    http, service = here
    succeed = service.catalog.outcomes.succeed

    async def die(*_: object, **__: object) -> None:
        raise asyncio.CancelledError

    monkeypatch.setattr(service.catalog.outcomes, "succeed", die)
    spool = service.spool.of(SCOPE.tenant)
    sent = spool.put(b"Swifts return in May.", uri="upload:swifts.txt", name="swifts.txt")
    await service.ingest.accept(SCOPE, [sent], Trace())
    [task] = await service.catalog.tasks.claim(9)
    with contextlib.suppress(asyncio.CancelledError):
        await service.ingest.ingest(task)
    monkeypatch.setattr(service.catalog.outcomes, "succeed", succeed)
    [task] = await service.catalog.tasks.claim(9)
    await service.ingest.ingest(task)
    response = await content(http, sent.document_id, params={"as": "original"})
    assert response.content == b"Swifts return in May."
    assert waiting(service) == []


async def test_nothing_is_kept_if_the_setting_says_so(
    tmp_path: Path, embedder: BertEmbedder
) -> None:
    reader = {"keep_originals": False}
    async with serving_here(tmp_path / "data", embedder, reader=reader) as (http, service):
        document_id = await send(http, "note.txt", b"Owls hunt.")
        assert kept(service) == []
        assert (await content(http, document_id)).text == "Owls hunt."


def test_a_key_of_another_tenant_is_refused(tmp_path: Path) -> None:
    originals = Originals(tmp_path / "originals", keep=True)
    spool = Spool(tmp_path / "spool").of("acme")
    sent = spool.put(b"Otters.", uri="upload:a.txt", name="a.txt")
    with pytest.raises(StorageError, match="another tenant"):
        originals.of("rival").store(sent.source, spool.path(sent.source), version="1")
    with pytest.raises(StorageError, match="another tenant"):
        originals.of("rival").path(sent.source["spool"])


async def test_an_attachment_has_its_own_route_original_and_parent(
    here: tuple[httpx.AsyncClient, Service],
) -> None:
    http, service = here
    before = kept(service)
    message = papers.mail("Depot", "See the file.", ("hours 100%.txt", NOTE))
    mail = await send(http, "depot.eml", bytes(message))
    attached = f"{mail}/attachments/hours 100%.txt"
    route = quote(attached, safe="")
    found = (await http.get(f"/v1/documents/{route}")).json()
    assert (found["id"], found["parent"], found["state"]) == (attached, mail, "succeeded")
    assert found["uri"] == "upload:depot.eml#attachments/hours%20100%25.txt"
    whole = await content(http, route)
    assert (whole.content, whole.headers["content-type"]) == (NOTE, "text/plain; charset=utf-8")
    name = "hours%20100%25.txt"
    assert whole.headers["content-disposition"] == f"inline; filename*=utf-8''{name}"
    assert (await content(http, mail)).content == bytes(message)
    assert (await http.get(f"/v1/documents/{mail}/attachments")).status_code == 404
    assert (await http.delete(f"/v1/documents/{mail}")).status_code == 204
    assert (await http.get(f"/v1/documents/{route}")).status_code == 404
    assert (kept(service), waiting(service)) == (before, [])
