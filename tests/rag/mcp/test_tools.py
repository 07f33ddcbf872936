"""The tools and resources at a real server, in both versions of the protocol."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator

import httpx
import jsonschema_rs
import pytest
from mcp.client import Client
from mcp.shared.exceptions import MCPError
from mcp_types import TextResourceContents

from rag.mcp.tools import FETCH_CHARS, MAX_PASSAGES, PAGE
from tests.mcp_clients import MODES, Json, by_http, called, refused
from tests.servers import Server, serving, submit

pytestmark = pytest.mark.anyio
TEXT = "The depot opens at seven. On Fridays it closes at four."
QUESTION = "When does the depot close on Fridays?"
MILL = "The mill\u2028grinds its corn\x85at six. The mill is\u2029made of oak."
"""It has line breaks that are none of JSON and of server-sent events."""
LONG = "Begun." + "\n" * 4_999_989 + "Ended."
"""5 MB, most of which is nothing to embed."""
READING = {"search", "fetch", "answer", "list_collections", "job_status"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data = tmp_path_factory.mktemp("mcp") / "data"
    with serving(data) as running, running.client() as http:
        submit(
            http,
            {"id": "depot", "title": "The depot", "text": TEXT, "uri": "https://acme.example/d"},
            {"id": "mill", "text": MILL},
            {"id": "made/of parts", "text": "The orchard has forty trees.", "meta": {"year": 2024}},
        )
        listed = [{"id": f"n{number:03}", "text": f"Note {number}."} for number in range(PAGE + 1)]
        submit(http, *listed, collection="notes")
        submit(http, {"id": "long", "title": "Long", "text": LONG}, collection="long")
        yield running


@pytest.fixture(params=MODES)
async def client(request: pytest.FixtureRequest, server: Server) -> AsyncIterator[Client]:
    async with by_http(server.url, version=request.param) as made:
        assert made.protocol_version == request.param
        yield made


async def test_the_tools_say_what_they_take_return_and_change(client: Client) -> None:
    tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    assert tools.keys() == READING | {"ingest"}
    for name, tool in tools.items():
        assert jsonschema_rs.meta.is_valid(tool.input_schema)
        assert tool.output_schema is not None
        assert jsonschema_rs.meta.is_valid(tool.output_schema)
        assert tool.input_schema["additionalProperties"] is False
        assert tool.annotations is not None
        assert tool.annotations.read_only_hint is (name in READING)


async def test_an_agent_finds_fetches_and_cites(client: Client) -> None:
    [found, *_] = (await called(client, "search", query=QUESTION))["results"]
    assert (found["id"], found["title"], found["url"]) == (
        "default/depot",
        "The depot",
        "https://acme.example/d",
    )
    fetched = await called(client, "fetch", id=found["id"])
    assert fetched["text"] == TEXT
    assert fetched["next_start"] is None
    assert fetched["metadata"]["media_type"] == "text/plain"
    for passage in found["passages"]:
        assert fetched["text"][passage["start"] : passage["end"]] == passage["text"]

    answer = await called(client, "answer", query=QUESTION)
    assert "closes at four" in answer["answer"]
    [cited, *_] = answer["citations"]
    assert (cited["id"], cited["url"]) == (found["id"], found["url"])
    assert fetched["text"][cited["start"] : cited["end"]] == cited["quote"]
    assert answer["closest"] == []


async def test_an_abstention_says_why_and_what_is_closest(client: Client) -> None:
    answer = await called(client, "answer", query="How do I bake sourdough bread?")
    assert (answer["answer"], answer["abstained"], answer["citations"]) == ("", True, [])
    assert answer["reason"] in ("no_match", "weak_evidence", "no_question")
    assert answer["closest"]


async def test_any_character_of_a_document_comes_through(client: Client) -> None:
    assert (await called(client, "fetch", id="default/mill"))["text"] == MILL
    answer = await called(client, "answer", query="When does the mill grind its corn?")
    assert answer["citations"]
    for cited in answer["citations"]:
        assert MILL[cited["start"] : cited["end"]] == cited["quote"]


async def test_filters_and_top_k_are_those_of_the_api(client: Client) -> None:
    only = [{"field": "year", "op": "gte", "value": 2024}]
    found = await called(client, "search", query="How many trees?", filters=only, top_k=3)
    assert [each["id"] for each in found["results"]] == ["default/made/of parts"]
    fetched = await called(client, "fetch", id="default/made/of parts")
    assert fetched["metadata"]["meta"] == {"year": 2024}


async def test_a_search_goes_on_page_by_page(client: Client) -> None:
    asked: Json = {"query": "Which note is this?", "collection": "notes"}
    pages: list[list[str]] = []
    cursor = None
    while not pages or cursor:
        page = await called(client, "search", **asked, top_k=20, **given(cursor=cursor))
        pages.append([each["id"] for each in page["results"]])
        cursor = page["next_cursor"]
    assert [len(page) for page in pages] == [20] * (MAX_PASSAGES // 20)
    assert len({name for page in pages for name in page}) == MAX_PASSAGES

    one = await called(client, "search", query=QUESTION, top_k=1)
    rest = await called(client, "search", query=QUESTION, top_k=20, cursor=one["next_cursor"])
    whole = await called(client, "search", query=QUESTION, top_k=20)
    assert one["results"] + rest["results"] == whole["results"]
    assert rest["next_cursor"] is None


async def test_a_cursor_of_another_search_is_refused(client: Client) -> None:
    found = await called(client, "search", query=QUESTION, top_k=1)
    cursor = found["next_cursor"]
    said = await refused(client, "search", query=QUESTION, collection="notes", cursor=cursor)
    assert "is not one that the collection 'notes' gave. Leave it out" in said
    for other in ("default.1-", "default.x-y", cursor.replace(".1-", ".-1-")):
        assert "is not one that this search gave" in await refused(
            client, "search", query=QUESTION, cursor=other
        )
    assert "for the same query and filters" in await refused(
        client, "search", query="Where is the mill?", cursor=cursor
    )


def given(**arguments: str | None) -> dict[str, str]:
    return {name: value for name, value in arguments.items() if value is not None}


async def test_documents_are_added_and_their_job_is_told(client: Client) -> None:
    told: list[tuple[float, float | None]] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        assert message
        told.append((progress, total))

    name = f"added-{client.protocol_version}"
    sent = [{"id": name, "text": f"{name} holds ninety crates."}, {"id": "bad", "uri": "file:///"}]
    assert "file:" in await refused(client, "ingest", documents=sent)
    result = await client.call_tool("ingest", {"documents": sent[:1]}, progress_callback=note)
    assert not result.is_error
    job: Json = result.structured_content
    assert (job["state"], job["counts"]["succeeded"]) == ("succeeded", 1)
    assert told[-1] == (1, 1)
    again = await called(client, "job_status", job_id=job["job_id"])
    assert again["counts"] == job["counts"]
    found = await called(client, "search", query=f"What does {name} hold?")
    assert f"default/{name}" in [each["id"] for each in found["results"]]


async def test_a_long_document_comes_in_parts(client: Client) -> None:
    first = await called(client, "fetch", id="long/long")
    assert len(first["text"]) == FETCH_CHARS
    assert (first["characters"], first["next_start"]) == (len(LONG), FETCH_CHARS)
    last = await called(client, "fetch", id="long/long", start=len(LONG) - 3)
    assert (last["text"], last["next_start"]) == ("ed.", None)
    said = await refused(client, "fetch", id="long/long", start=len(LONG) + 1)
    assert said == "start is 5,000,002, and the document has 5,000,001 characters."


async def test_collections_and_documents_are_resources(client: Client) -> None:
    listed = await client.list_resources()
    named = {each.name: each.uri for each in listed.resources}
    assert {"default", "notes", "long"} <= named.keys()
    collections = await called(client, "list_collections")
    assert {each["name"]: each["uri"] for each in collections["collections"]} == named
    templates = (await client.list_resource_templates()).resource_templates
    assert [each.name for each in templates] == ["collection", "document"]

    uri, seen = named["notes"], []
    while uri:
        page: Json = json.loads(await read(client, uri))
        assert len(page["documents"]) <= PAGE
        seen += page["documents"]
        uri = page["next"]
    assert [each["id"] for each in seen] == [f"notes/n{number:03}" for number in range(PAGE + 1)]
    assert await read(client, seen[7]["uri"]) == "Note 7."
    assert seen[7]["url"] == seen[7]["uri"]  # it has no other address


async def test_a_long_resource_says_where_it_goes_on(client: Client) -> None:
    text, further = (await client.read_resource("plumbline://documents/long/long")).contents
    assert isinstance(text, TextResourceContents)
    assert isinstance(further, TextResourceContents)
    assert len(text.text) == FETCH_CHARS
    assert further.uri == f"plumbline://documents/long/long?start={FETCH_CHARS}"
    assert further.text == "Characters 50,000 to 5,000,001 are at this URI."


async def read(client: Client, uri: str) -> str:
    [content] = (await client.read_resource(uri)).contents
    assert isinstance(content, TextResourceContents)
    return content.text


async def test_what_is_wrong_with_a_call_is_said_in_a_sentence(client: Client) -> None:
    said = await refused(client, "search", query="depot", limit=3, **{"k" * 5000: 1})
    assert said.startswith("limit: Extra inputs are not permitted.")
    assert said.endswith("The arguments are: query, collection, top_k, filters, cursor.")
    assert "query: Field required." in await refused(client, "search")
    assert "top_k" in await refused(client, "search", query="depot", top_k=21)
    assert "There is no collection 'none'" in await refused(
        client, "search", query="depot", collection="none"
    )
    assert "is no id of a document" in await refused(client, "fetch", id="depot")
    assert "'nothing'" in await refused(client, "fetch", id="default/nothing")
    assert "unknown_field" in await refused(
        client, "search", query="depot", filters=[{"field": "no", "op": "eq", "value": 1}]
    )
    assert "job_id: String should match" in await refused(client, "job_status", job_id="../keys")
    assert "no job" in await refused(client, "job_status", job_id="0" * 32)
    for no_number in (True, "3"):
        assert "top_k" in await refused(client, "search", query="depot", top_k=no_number)
        assert "start" in await refused(client, "fetch", id="default/depot", start=no_number)
    many = {f"argument{number}": number for number in range(1000)}
    assert "1,000 of its fields are unknown" in await refused(client, "answer", **many)


@pytest.mark.parametrize(
    ("uri", "sentence"),
    [
        ("plumbline://collections/notes?cursor=default.bjA5OQ==", "is not one that the collection"),
        ("plumbline://collections/notes?cursor=notes.%C3%A9", "The cursor is not one that this"),
        ("plumbline://collections/none", "There is no collection 'none'"),
        ("plumbline://documents/default/none", "'none'"),
        ("https://acme.example/d", "There is no resource"),
    ],
)
async def test_a_resource_that_is_not_there_is_told(
    client: Client, uri: str, sentence: str
) -> None:
    with pytest.raises(MCPError, match=sentence):
        await client.read_resource(uri)


async def test_listings_refuse_cursors_of_others(client: Client) -> None:
    with pytest.raises(MCPError, match="is not one that this listing gave"):
        await client.list_resources(cursor="default.bjA5OQ==")
    assert "is not one that this listing gave" in await refused(
        client, "list_collections", cursor="notes.bjA5OQ=="
    )
    with pytest.raises(MCPError, match="has one page"):
        await client.list_tools(cursor="2")
    with pytest.raises(MCPError, match=r"There is no tool 'delete'\. There are: search, fetch"):
        await client.call_tool("delete", {})


async def test_the_address_names_the_collection_of_clients_that_name_none(server: Server) -> None:
    async with by_http(server.url, path="/mcp?collection=notes") as client:
        found = await called(client, "search", query="Note 7", top_k=1)
    assert found["results"][0]["id"].startswith("notes/")


async def test_a_body_over_the_limit_is_refused_in_a_sentence(client: Client) -> None:
    with pytest.raises(MCPError, match="The body is over 1 MiB"):
        await client.call_tool("ingest", {"documents": [{"text": "a" * 5_000_000}]})


@pytest.mark.parametrize("headers", [{"Origin": "https://evil.example"}, {"Host": "evil.example"}])
def test_pages_of_others_are_refused(server: Server, headers: dict[str, str]) -> None:
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    response = httpx.post(f"{server.url}/mcp", json=body, headers=headers)
    assert response.status_code in (403, 421)
    assert response.json()["error"]["message"]


@pytest.mark.parametrize("version", MODES)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'[{"jsonrpc": "2.0", "id": 1, "method": "ping"}]',
        b'{"jsonrpc": "2.0", "id": 1}',
        b'{"jsonrpc": "2.0", "id": {}, "method": "tools/list"}',
        b'{"jsonrpc": "2.0", "id": 1.0, "method": "tools/list"}',
        b'{"jsonrpc": "2.0", "id": null, "method": "tools/list"}',
        b'{"jsonrpc": "2.0", "id": true, "method": "tools/list"}',
        b'{"jsonrpc": "2.0", "id": 1, "method": 7, "params": [1]}',
        b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": 1}}',
        b'{"jsonrpc": "2.0", "id": 1, "method": "nothing"}',
        b'{"id": ' + b"9" * 5000 + b"}",
        b"[" * 100_000,
        b"\xff\xfe",
        b'{"jsonrpc": "2.0", "id": 1, "method": "\\ud800"}',
    ],
)
def test_what_is_no_message_is_refused_in_few_words(
    server: Server, version: str, body: bytes
) -> None:
    headers = {
        "Accept": "application/json, text/event-stream",
        "Content-Type": "application/json",
        "MCP-Protocol-Version": version,
    }
    response = httpx.post(f"{server.url}/mcp", content=body, headers=headers)
    assert response.status_code in (200, 400, 404)
    assert '"error"' in response.text
    assert len(response.text) < 3000


def test_there_is_no_stream_beside_requests(server: Server) -> None:
    response = httpx.get(f"{server.url}/mcp", headers={"Accept": "text/event-stream"})
    assert (response.status_code, response.headers["Allow"]) == (405, "POST")


def test_the_log_of_the_server_has_no_crash(server: Server) -> None:
    assert "Traceback" not in server.log.read_text()
