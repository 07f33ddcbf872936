"""The contract of `Reader`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from ingest.reader_process import Limits, Parser
from ingest.sources.fetch import Fetcher
from ingest.sources.files import Spool, submission_of
from ingest.sources.web import WebReader, submission_of_url
from rag.errors import ReadError, UpstreamError
from rag.protocols import Reader
from tests import papers
from tests.fakes import HereReader
from tests.web import Page, Web, web

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("one_loop")]

MAX_BYTES = 1 << 20
WORD = papers.docx(papers.paragraph("Otters hold hands."))
JSON = json.dumps({"text": "Otters hold hands.", "meta": {"year": 1769}}).encode()
UNREADABLE = {
    "empty.txt": b"",
    "blank.txt": b" \n\t ",
    "cut.docx": WORD[: len(WORD) // 2],
    "cut.pdf": papers.pdf("Otters hold hands.")[:80],
    "locked.pdf": papers.pdf("Otters hold hands.", encrypt=True),
    "bytes.bin": bytes(range(256)),
    "large.txt": b"x" * (MAX_BYTES + 1),
}


@pytest.fixture(scope="module")
def parser() -> Iterator[Parser]:
    made = Parser(Limits(file=MAX_BYTES))
    yield made
    made.close()


@pytest.fixture
def site() -> Iterator[Web]:
    with web({f"/{name}": Page(body) for name, body in UNREADABLE.items()}) as running:
        running.pages["/otters.docx"] = Page(WORD)
        yield running


def fetching(inner: Reader) -> WebReader:
    def loopback(address: object) -> bool:
        return address == ip_address("127.0.0.1")

    fetcher = Fetcher(max_bytes=MAX_BYTES, seconds=30.0, allows=loopback)
    return WebReader(inner, lambda: fetcher)


@pytest.fixture(params=["here", "process", "web"])
def reader(request: pytest.FixtureRequest, parser: Parser) -> Reader:
    readers: Mapping[str, Reader] = {
        "here": HereReader(max_bytes=MAX_BYTES),
        "process": parser,
        "web": fetching(parser),
    }
    return readers[request.param]


def spooled(folder: Path, data: bytes, *, name: str | None) -> tuple[Mapping[str, Any], Path]:
    spool = Spool(folder / "spool").of("acme")
    source = spool.put(data, uri="file:///elsewhere", name=name).source
    return source, spool.path(source)


async def test_a_document_has_the_id_and_uri_given_and_the_version_of_its_bytes(
    reader: Reader, folder: Path
) -> None:
    file = folder / "otters.docx"
    file.write_bytes(WORD)
    places = [
        (submission_of(file).source, file, WORD),
        (*spooled(folder, WORD, name="otters.docx"), WORD),
        (*spooled(folder, JSON, name=None), JSON),
    ]
    for number, (source, path, data) in enumerate(places):
        document = await reader.read(source, path, id_=f"id {number}", uri=f"uri://{number}")
        assert (document.id, document.uri) == (f"id {number}", f"uri://{number}")
        assert document.version == hashlib.sha256(data).hexdigest()
        assert document.text == "Otters hold hands."
        assert document.title
        assert document.media_type
        assert path.read_bytes() == data, "the bytes are the caller's"


@pytest.mark.parametrize("name", UNREADABLE)
async def test_bytes_that_cannot_be_read_raise_an_error_that_names_the_document(
    reader: Reader, folder: Path, name: str
) -> None:
    file = folder / name
    file.write_bytes(UNREADABLE[name])
    with pytest.raises(ReadError, match=name) as caught:
        await reader.read(submission_of(file).source, file, id_="id", uri="uri://1")
    assert len(str(caught.value)) < 1000


async def test_a_file_that_is_gone_and_json_that_is_no_document_cannot_be_read(
    reader: Reader, folder: Path
) -> None:
    gone = folder / "gone.txt"
    with pytest.raises(ReadError, match=r"gone\.txt"):
        await reader.read(submission_of(gone).source, gone, id_="id", uri="uri://1")
    for data in (b"{", b"[]", b'{"title": "Otters"}', b'{"text": ""}', b'{"text": 1}'):
        source, path = spooled(folder, data, name=None)
        with pytest.raises(ReadError):
            await reader.read(source, path, id_="id", uri="uri://1")
    source, path = spooled(folder, JSON, name=None)
    document = await reader.read(source, path, id_="id", uri="uri://1")
    assert (document.text, document.meta["year"]) == ("Otters hold hands.", 1769)


async def test_a_page_is_fetched_to_the_path_and_read_like_a_file(
    parser: Parser, site: Web, folder: Path
) -> None:
    path = folder / "fetched"
    source = submission_of_url(f"{site.url}/otters.docx", "key").source
    document = await fetching(parser).read(source, path, id_="id", uri="uri://1")
    assert (document.id, document.uri, document.text) == ("id", "uri://1", "Otters hold hands.")
    assert document.version == hashlib.sha256(path.read_bytes()).hexdigest()
    for name in (*UNREADABLE, "missing.txt"):
        source = submission_of_url(f"{site.url}/{name}", "key").source
        with pytest.raises(ReadError, match=name):
            await fetching(parser).read(source, path, id_="id", uri="uri://1")
    site.pages["/busy.txt"] = Page(status=503)
    source = submission_of_url(f"{site.url}/busy.txt", "key").source
    with pytest.raises(UpstreamError, match=r"busy\.txt"):
        await fetching(parser).read(source, path, id_="id", uri="uri://1")
