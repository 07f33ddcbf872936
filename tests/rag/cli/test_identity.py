"""Identity of documents by the CLI and by the API, in this process: names, ids, folders."""

from __future__ import annotations

import argparse
import json
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ingest.sources.exclusion import Exclusion
from rag.build.ingest import open_ingesting
from rag.build.queue_backends import queue_backend
from rag.cli import output
from rag.cli.delete import delete
from rag.cli.in_process import client_of
from rag.cli.ingest_target import _Server
from rag.cli.output import Json
from rag.cli.status import status
from rag.cli.sync import sync
from rag.client import AsyncClient, File, NewDocument, errors
from rag.errors import NotFoundError
from rag.settings.ingest import ReaderSettings
from rag.settings.tree import Settings
from rag.types import Principal
from retrieval.embedders.embedder import BertEmbedder

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("one_loop")]


@pytest.fixture
def name() -> str:
    """A collection that no other test uses."""
    return f"c{uuid.uuid4().hex}"


@pytest.fixture(scope="module")
async def client(
    tmp_path_factory: pytest.TempPathFactory, embedder: BertEmbedder
) -> AsyncIterator[AsyncClient]:
    """A client of the API over a data folder of the module, whose queue works."""
    settings = Settings(
        data_dir=tmp_path_factory.mktemp("identity"),
        reader=ReaderSettings(ocr_languages="xyz"),  # no machine has them
    )
    async with open_ingesting(settings, embedder) as opened:
        queue = queue_backend(settings).queue(opened)
        async with client_of(opened, queue, caller=Principal()) as made:
            made.http.event_hooks["response"] = [lambda _: queue.drain()]
            yield made


async def sent(
    client: AsyncClient, name: str, *files: tuple[str, str], uri: str | None = None
) -> list[str]:
    """Sends files; returns the notices."""
    made = [File(name=file, content=text.encode(), uri=uri) for file, text in files]
    return (await client.upload_files(made, collection=name)).notices


async def stored(client: AsyncClient, name: str) -> dict[str, str]:
    """Returns the text of each document by its uri."""
    found = {}
    async for each in client.all_documents(collection=name):
        content = await client.get_content(each.id, collection=name, as_="text")
        found[each.uri] = content.text
    return found


def arguments(**given: Any) -> argparse.Namespace:
    defaults = {
        "url": None,
        "tenant": None,
        "collection": "default",
        "json": True,
        "failed": False,
        "all": False,
    }
    return argparse.Namespace(**defaults | given)


async def test_files_of_one_name_in_two_folders_are_two_documents(
    client: AsyncClient, name: str
) -> None:
    for file in ("a/readme.txt", "b/readme.txt", "c\\readme.txt", "/d/../d/readme.txt"):
        assert await sent(client, name, (file, f"From {file}.")) == []
    assert await stored(client, name) == {
        "upload:a/readme.txt": "From a/readme.txt.",
        "upload:b/readme.txt": "From b/readme.txt.",
        "upload:c/readme.txt": "From c\\readme.txt.",
        "upload:d/d/readme.txt": "From /d/../d/readme.txt.",
    }


@pytest.mark.parametrize("file", ["readme.txt", "Prüfbericht 7.md", "50% off.txt"])
async def test_another_content_under_a_bare_name_replaces_with_a_notice(
    client: AsyncClient, name: str, file: str
) -> None:
    assert await sent(client, name, (file, "One.")) == []
    assert await sent(client, name, (file, "One.")) == []
    [notice] = await sent(client, name, (file, "Two."))
    assert f"upload:{file} was sent before, with other content, and is replaced" in notice
    assert "`uri`" in notice
    assert await stored(client, name) == {f"upload:{file}": "Two."}


async def test_a_name_that_still_waits_has_a_notice_too(client: AsyncClient, name: str) -> None:
    drains, client.http.event_hooks["response"] = client.http.event_hooks["response"], []
    assert await sent(client, name, ("readme.txt", "One.")) == []
    [notice] = await sent(client, name, ("readme.txt", "Two."))
    assert "is not read yet, and is replaced if its content differs" in notice
    client.http.event_hooks["response"] = drains


async def test_with_uris_they_are_two_documents_and_a_change_is_no_news(
    client: AsyncClient, name: str
) -> None:
    for uri, text in (("x:a", "One."), ("x:b", "Two."), ("x:a", "Three.")):
        assert await sent(client, name, ("readme.txt", text), uri=uri) == []
    assert await stored(client, name) == {"x:a": "Three.", "x:b": "Two."}


async def test_one_name_twice_in_a_request_is_refused_with_a_way_out(
    client: AsyncClient, name: str
) -> None:
    with pytest.raises(
        errors.InputError, match=r"Sent twice in one request: upload:readme\.txt.*`uri`"
    ):
        await sent(client, name, ("readme.txt", "One."), ("readme.txt", "Two."))


@pytest.mark.parametrize("odd", ["\n", "\r", "\t", "\x1b", "\x7f", "\x85", "\u2028"])
async def test_a_name_with_a_control_character_is_refused(
    client: AsyncClient, name: str, odd: str
) -> None:
    for field in ("id", "uri"):
        body: NewDocument = {"text": "x", field: f"a{odd}b"}  # type: ignore[misc]
        with pytest.raises(errors.InputError, match=f"documents.0.{field}.*control character"):
            await client.submit_documents([body])
    with pytest.raises(errors.InputError, match="control character"):
        await sent(client, name, ("a.txt", "x"), uri=f"a{odd}b")


IDS = (
    "../x",
    "..",
    ".",
    "a/../../b",
    "%2e%2e/x",
    "100%",
    "%",
    "a//b/",
    "/etc",
    "x?y#z",
    "ü/日本",
    "chunks",
    "x",
)


async def test_documents_of_any_id_are_shown_and_deleted_and_no_other(
    client: AsyncClient, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    documents: list[NewDocument] = [{"id": id_, "text": f"I am {id_}."} for id_ in IDS]
    await client.submit_documents(documents, collection=name)
    for gone, id_ in enumerate(IDS, start=1):
        await status(arguments(collection=name, document=id_), client)
        assert json.loads(capsys.readouterr().out)["id"] == id_
        await delete(arguments(collection=name, documents=[id_]), client)
        assert json.loads(capsys.readouterr().out) == {"deleted": [id_]}
        left = [each.id async for each in client.all_documents(collection=name)]
        assert sorted(left) == sorted(IDS[gone:])
    assert (await client.list_collections()).collections  # `..` would have reached it


async def test_an_id_reaches_no_route_below_another_document(
    client: AsyncClient, name: str
) -> None:
    await client.submit_documents([{"id": "x", "text": "I am x."}], collection=name)
    assert (await client.list_chunks("x", collection=name)).chunks
    for id_ in ("x/chunks", "x/content", "../documents/x", "../collections", "x/../x"):
        with pytest.raises(NotFoundError, match="There is no document"):
            await status(arguments(collection=name, document=id_), client)
        with pytest.raises(NotFoundError, match="There is no document"):
            await delete(arguments(collection=name, documents=[id_]), client)
    assert list(await stored(client, name)) == ["x"]


class TestFolders:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        files = {
            "a/readme.txt": "Of a.",
            "b/readme.txt": "Of b.",
            "b/drafts/plan.md": "A plan.",
            "50% & more/x..y.md": "Odd.",
            "old.csv.txt": "Old.",
        }
        for name, text in files.items():
            (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "in" / name).write_text(text)
        Image.new("RGB", (40, 40), "white").save(tmp_path / "in" / "scan.pdf")
        return tmp_path / "in"

    async def test_a_scan_is_skipped_and_what_is_excluded_leaves(
        self, client: AsyncClient, name: str, folder: Path
    ) -> None:
        server = _Server(client, name, max_bytes=1 << 20, quiet=True)

        async def synced(*exclude: str) -> Json:
            return await sync(server, [folder], Exclusion(exclude)) | {"seconds": 0.0}

        for outcomes in ({"stored": 4, "skipped": 1}, {"unchanged": 4, "skipped": 1}):
            summary = await synced("drafts")
            assert summary["outcomes"] == outcomes
            assert (summary["counts"]["failed"], summary["failures"]) == (0, [])
            assert "1 skipped" in "".join(output.ingested(summary))
        documents = client.all_documents(collection=name)
        listed = {Path(each.uri).name: each async for each in documents}
        assert listed["scan.pdf"].state == "skipped"
        assert "tesseract" in (listed["scan.pdf"].error or "")
        assert (await synced())["outcomes"]["stored"] == 1
        assert (await synced("b/dra*", "*.csv.*", "scan.pdf"))["removed"] == 3
        left = [Path(each.uri).name async for each in client.all_documents(collection=name)]
        assert sorted(left) == ["readme.txt", "readme.txt", "x..y.md"]
