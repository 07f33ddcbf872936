"""Both clients and a real `rag serve`: every endpoint, with keys."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from rag.client import (
    AnswerEvent,
    AsyncClient,
    CitationEvent,
    Client,
    ConflictError,
    File,
    ForbiddenError,
    HitsEvent,
    Job,
    NewDocument,
    NotFoundError,
    TokenEvent,
    UnauthenticatedError,
)
from tests.servers import PATIENCE, Server, launched, rag, serving

pytestmark = pytest.mark.anyio
ENV = {"RAG_GATEWAY__ENABLED": "true"}
QUESTION = "When does the office close on Fridays?"
TEXT = "The office opens at nine. On Fridays it closes at four."


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("client") / "data"


@pytest.fixture(scope="module")
def key(data: Path) -> str:
    made = rag(
        *("keys", "create", "test", "--scopes", "ask,read,write,admin,metrics", "--json"),
        data=data,
        env=ENV,
    )
    found: str = json.loads(made.stdout)["key"]
    return found


@pytest.fixture(scope="module")
def server(data: Path, key: str) -> Iterator[Server]:
    with serving(data, env=ENV) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: Server, key: str) -> Iterator[Client]:
    with Client(server.url, key=key, timeout=PATIENCE) as made:
        made.submit_documents(
            [{"id": "hours", "title": "Hours", "text": TEXT, "meta": {"year": 2024}}]
        ).wait()
        yield made


@pytest.fixture
async def asynchronous(server: Server, client: Client, key: str) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(server.url, key=key, timeout=PATIENCE) as made:
        yield made


def test_ten_lines_ask_and_stream(client: Client) -> None:
    answer = client.ask(QUESTION)
    quote = answer.citations[0].quote
    assert quote == "On Fridays it closes at four."
    assert TEXT[answer.citations[0].start : answer.citations[0].end] == quote
    with client.stream(QUESTION) as events:
        first, *between, last = events
    assert isinstance(first, HitsEvent)
    assert [hit.chunk_id for hit in first.hits] == [hit.chunk_id for hit in answer.hits]
    written = "".join(each.text for each in between if isinstance(each, TokenEvent))
    assert written == answer.answer
    assert [each.quote for each in between if isinstance(each, CitationEvent)] == [quote]
    assert isinstance(last, AnswerEvent)
    assert last.citations == answer.citations


async def test_the_asynchronous_client_does_the_same(asynchronous: AsyncClient) -> None:
    several = [asynchronous.ask(QUESTION) for _ in range(8)]
    answers = await asyncio.gather(*several)
    assert {each.citations[0].quote for each in answers} == {"On Fridays it closes at four."}
    async with asynchronous.stream(messages=[{"role": "user", "content": QUESTION}]) as events:
        types = [each.type async for each in events]
    assert (types[0], types[-1]) == ("hits", "answer")
    found = await asynchronous.search(
        "office", filters=[{"field": "year", "op": "gte", "value": 2024}], top_k=1
    )
    assert [hit.document_id for hit in found.hits] == ["hours"]


def test_feedback(client: Client) -> None:
    answer = client.ask(QUESTION)
    client.give_feedback(answer.answer_id, rating="down", correction="At five.")
    with pytest.raises(NotFoundError) as caught:
        client.give_feedback("0" * 32, rating="up")
    assert caught.value.code == "unknown_answer"
    assert caught.value.request_id


def test_files_are_uploaded_with_progress_and_waited_for(client: Client, tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("# Notes\n\n" + "The kettle is red. " * 20_000)
    seen: list[tuple[int, int]] = []
    looks: list[Job] = []
    sent = client.upload_files(
        [tmp_path / "notes.md", File(name="b/notes.md", content=b"The kettle is blue.")],
        collection="kitchen",
        acl={"public": True},
        on_progress=lambda done, of: seen.append((done, of)),
    )
    job = sent.wait(timeout=PATIENCE, on_progress=looks.append)
    assert job.ended
    assert (job.state, job.counts["succeeded"]) == ("succeeded", 2)
    assert looks[-1] == job
    assert seen[-1][0] == seen[-1][1] > 300_000
    listed = list(client.all_documents(collection="kitchen", limit=1))
    assert {each.uri for each in listed} == {"upload:notes.md", "upload:b/notes.md"}
    [id_] = (each.id for each in listed if each.uri == "upload:b/notes.md")
    assert client.get_content(id_, collection="kitchen", as_="text").text == "The kettle is blue."
    kept = client.get_content(id_, collection="kitchen")
    assert (kept.data, kept.media_type) == (b"The kettle is blue.", "text/markdown")
    assert kept.name == "notes.md"
    assert client.get_acl(id_, collection="kitchen").public
    with pytest.raises(ConflictError, match="`uri`"):
        client.upload_files([File(name="a", content=b"1"), File(name="a", content=b"2")])
    client.delete_collection("kitchen")
    assert [each.name for each in client.list_collections().collections] == ["default"]


async def test_uploads_of_the_asynchronous_client(
    asynchronous: AsyncClient, tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_text("The depot is green.")
    seen: list[int] = []
    sent = await asynchronous.upload_files(
        [tmp_path / "a.txt"], collection="depot", on_progress=lambda done, _: seen.append(done)
    )
    assert (await sent.wait()).state == "succeeded"
    assert seen
    chunks = asynchronous.all_chunks(sent.documents[0].id, collection="depot", limit=1)
    assert [each.text async for each in chunks] == ["The depot is green."]
    await asynchronous.delete_collection("depot")


def test_documents_and_their_readers(client: Client) -> None:
    documents: list[NewDocument] = [{"id": f"a/{n}", "text": f"Number {n}."} for n in range(5)]
    client.submit_documents(documents, collection="many", expires_in=600).wait()
    ids = [each.id for each in client.all_documents(collection="many", limit=2)]
    assert ids == [f"a/{n}" for n in range(5)]
    page = client.list_documents(collection="many", limit=3, state="succeeded")
    assert (len(page.items), page.next_cursor is None) == (3, False)
    assert client.get_document("a/0", collection="many").chunks == 1
    assert [c.text for c in client.all_chunks("a/0", collection="many")] == ["Number 0."]
    assert client.put_acl("a/0", users=["anna"], collection="many").users == ["anna"]
    assert client.delete_acl("a/0", collection="many").inherited
    assert client.put_default_acl("many", groups=["sales"]).groups == ["sales"]
    assert client.get_default_acl("many").groups == ["sales"]
    client.delete_document("a/0", collection="many")
    with pytest.raises(NotFoundError) as caught:
        client.get_document("a/0", collection="many")
    assert (caught.value.code, caught.value.status) == ("unknown_document", 404)
    client.delete_collection("many")


def test_jobs(client: Client) -> None:
    sent = client.submit_documents([{"uri": "http://127.0.0.1:1/nothing"}], collection="web")
    job = sent.wait()
    assert job.state == "failed"
    assert job.failures[0]["uri"] == "http://127.0.0.1:1/nothing"
    assert client.get_job(sent.id).id == sent.id
    assert client.retry_job(sent.id).id == sent.id
    assert client.wait_for_job(sent.id).state == "failed"
    assert client.cancel_job(sent.id).ended
    with pytest.raises(NotFoundError):
        client.get_job("none")
    client.delete_collection("web")


def test_keys_and_what_they_may(client: Client, server: Server) -> None:
    made = client.create_key("reader", ["ask"], collections=["default"], expires_in=600)
    with Client(server.url, key=made.key) as reader:
        assert reader.search("office").hits
        with pytest.raises(ForbiddenError, match="'admin'"):
            reader.list_keys()
        rotated = client.rotate_key(made.id, overlap=0)
        client.revoke_key(made.id)
    assert rotated.key != made.key
    with Client(server.url, key=rotated.key) as revoked, pytest.raises(UnauthenticatedError):
        revoked.search("office")
    listed = {each.id: each for each in client.list_keys().keys}
    assert listed[made.id].revoked_at


def test_usage_health_and_metrics(client: Client) -> None:
    client.ask(QUESTION)
    report = client.get_usage(by=["feature", "day"], since="2020-01-01")
    assert report.total
    assert report.total.requests >= 1
    assert all(each.day and each.tenant is None for each in report.groups)
    assert (client.healthz().status, client.readyz().status) == ("ok", "ready")
    assert "plumbline_" in client.get_metrics()


def test_threads_may_share_a_client(client: Client) -> None:
    quotes: list[str] = []

    def ask() -> None:
        quotes.append(client.ask(QUESTION).citations[0].quote)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert quotes == ["On Fridays it closes at four."] * 8


def test_a_server_that_is_loading_is_waited_for(tmp_path: Path) -> None:
    with launched(tmp_path / "data") as starting, Client(starting.url) as client:
        assert client.readyz().status == "ready"
