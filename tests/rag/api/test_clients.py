"""The APIs of Cohere, TEI and Ollama, and what Open WebUI shows as sources."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from rag.api.bulk_texts import shares
from rag.api.clients.ollama import OllamaChat, OllamaModels
from rag.api.clients.rerankers import CohereRerankResponse
from rag.api.openai.links import address_of
from rag.types import Citation, Scope
from retrieval.embedders.embedder import BertEmbedder
from tests.in_process import Json, ingested, serving_here

pytestmark = pytest.mark.anyio
QUESTION = "When does the depot close on Fridays?"
TEXTS = ["Tomatoes are sown in March.", "On Fridays the depot closes at four."]
ASK: list[Json] = [{"role": "user", "content": QUESTION}]
DEPOT = {
    "id": "depot",
    "title": "Depot",
    "uri": "https://a.example/depot",
    "text": "The depot opens at seven. On Fridays it closes at four.",
    "meta": {"year": 2024},
}


@pytest.fixture(scope="module")
async def http(
    tmp_path_factory: pytest.TempPathFactory, embedder: BertEmbedder
) -> AsyncIterator[httpx.AsyncClient]:
    async with serving_here(tmp_path_factory.mktemp("clients") / "data", embedder) as (client, _):
        garden = {"id": "garden", "text": "Tomatoes are sown in March."}
        for collection in ("docs", "default"):
            sent = {"collection": collection, "documents": [DEPOT, garden]}
            await ingested(client, await client.post("/v1/documents", json=sent))
        yield client


async def post(http: httpx.AsyncClient, path: str, status: int = 200, **body: Any) -> Any:
    response = await http.post(path, json=body, headers={"Authorization": "Bearer any"})
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    return response.json()


async def test_cohere(http: httpx.AsyncClient) -> None:
    asked: Json = {"model": "docs", "query": QUESTION, "documents": TEXTS}
    found = await post(http, "/v2/rerank", **asked, max_tokens_per_doc=4096)
    assert CohereRerankResponse.model_validate(found).model_dump() == found
    assert [result["index"] for result in found["results"]] == [1, 0]
    assert all(0 <= result["relevance_score"] <= 1 for result in found["results"])
    assert len((await post(http, "/v2/rerank", **asked, top_n=1))["results"]) == 1
    unknown = await post(http, "/v2/rerank", 404, **asked | {"model": "nope"})
    assert unknown["message"].startswith("There is no collection 'nope'.")
    assert "top_n" in (await post(http, "/v2/rerank", 400, **asked, top_n=0))["message"]


async def test_tei(http: httpx.AsyncClient) -> None:
    asked: Json = {"query": QUESTION, "texts": TEXTS}
    first, second = await post(http, "/rerank", **asked, return_text=True, truncate=True)
    assert (first["index"], second["index"], first["text"]) == (1, 0, TEXTS[1])
    assert 1 >= first["score"] > second["score"] >= 0
    raw = await post(http, "/rerank?collection=docs", **asked, raw_scores=True)
    assert [rank.keys() for rank in raw] == [{"index", "score"}] * 2
    [alone] = await post(http, "/embed", inputs="The depot", prompt_name="passage")
    both = await post(http, "/embed", inputs=["The depot", "x"], truncate=True, normalize=True)
    assert (len(alone), len(both)) == (384, 2)
    for path, body in (("/embed", {"inputs": []}), ("/rerank", {"query": "x", "texts": [1]})):
        error = await post(http, path, 422, **body)
        assert (error.keys(), error["error_type"]) == ({"error", "error_type"}, "validation")
    error = await post(http, "/embed?collection=nope", 404, inputs="x")
    assert error["error"].startswith("There is no collection")


def test_logits_become_shares_in_the_same_order() -> None:
    assert shares([0.9, -0.1, 0.3]) == [0.9, 0.0, 0.3]
    told = shares([9.0, -11.0, 0.5, -900.0])
    assert sorted(range(4), key=lambda n: -told[n]) == [0, 2, 1, 3]
    assert all(0 <= share <= 1 for share in told)


async def test_open_webui_s_web_search(http: httpx.AsyncClient) -> None:
    (first,) = await post(http, "/websearch?collection=docs", query=QUESTION, count=1, user="u")
    assert first == {"link": DEPOT["uri"], "title": "Depot", "snippet": DEPOT["text"]}
    assert len(await post(http, "/websearch?collection=docs", query=QUESTION)) == 2
    error = await http.post("/websearch?collection=nope", json={"query": QUESTION})
    assert (error.status_code, error.json()["code"]) == (404, "unknown_collection")


async def test_ollama(http: httpx.AsyncClient) -> None:
    listed = (await http.get("/api/tags")).json()
    assert OllamaModels.model_validate(listed).model_dump() == listed
    assert [model["name"] for model in listed["models"]] == ["default", "docs"]
    assert (await http.get("/api/version")).json()["version"]
    whole = await post(http, "/api/chat", model="docs:latest", messages=ASK, stream=False)
    assert OllamaChat.model_validate(whole).done
    assert whole["message"]["content"] == "On Fridays it closes at four. [1]"
    assert whole["plumbline"]["citations"][0]["document_id"] == "depot"


async def test_ollama_s_stream(http: httpx.AsyncClient) -> None:
    options = {"num_predict": -1, "temperature": 0.1, "num_ctx": 4096, "seed": -1, "top_p": 0}
    body = {"model": "docs", "messages": ASK, "options": options, "keep_alive": "5m"}
    response = await http.post("/api/chat", json=body)
    assert response.headers["content-type"] == "application/x-ndjson"
    lines = [OllamaChat.model_validate_json(line) for line in response.text.splitlines()]
    assert [line.done for line in lines] == [False] * (len(lines) - 1) + [True]
    text = "".join(line.message.content for line in lines)
    assert text == "On Fridays it closes at four. [1]"
    unknowable = [{"role": "user", "content": "Who composed the opera Tosca?"}]
    last = (await http.post("/api/chat", json=body | {"messages": unknowable})).text.splitlines()[
        -1
    ]
    assert json.loads(last)["message"]["content"].startswith("No answer: ")


async def test_ollama_s_tools_are_accepted_and_not_called(http: httpx.AsyncClient) -> None:
    tools = [{"type": "function", "function": {"name": "get_time", "parameters": {}}}]
    body: Json = {"model": "docs", "messages": ASK, "tools": tools, "stream": False}
    message = (await post(http, "/api/chat", **body))["message"]
    assert message == {"role": "assistant", "content": "On Fridays it closes at four. [1]"}


async def test_ollama_s_errors(http: httpx.AsyncClient) -> None:
    assert "nope" in (await post(http, "/api/chat", 404, model="nope", messages=ASK))["error"]
    odd: list[Json] = [{"messages": []}, {"format": "json"}, {"tools": "all"}, {"options": 7}]
    for changed in odd:
        error = await post(http, "/api/chat", 400, **{"model": "docs", "messages": ASK} | changed)
        assert error.keys() == {"error"}


def sources(chunks: list[Json]) -> Iterator[Json]:
    """Yields the sources that Open WebUI's middleware makes of a stream's chunks."""
    for chunk in chunks:
        for choice in chunk["choices"][:1]:
            for annotation in choice.get("delta", {}).get("annotations") or []:
                if annotation.get("type") == "url_citation" and "url_citation" in annotation:
                    cited = annotation["url_citation"]
                    yield {"name": cited.get("title", cited["url"]), "url": cited.get("url", "")}


async def test_open_webui_shows_citations_as_sources(http: httpx.AsyncClient) -> None:
    body = {"model": "docs", "messages": ASK, "stream": True}
    response = await http.post("/v1/chat/completions", json=body)
    chunks = [json.loads(line[6:]) for line in response.text.split("\n\n") if "{" in line]
    assert list(sources(chunks)) == [{"name": "Depot", "url": DEPOT["uri"]}]
    assert all("tool_calls" not in chunk["choices"][0]["delta"] for chunk in chunks)


@pytest.mark.parametrize(
    ("uri", "page", "public_url", "address"),
    [
        ("https://a.example/x", 3, "https://rag.example", "https://a.example/x"),
        ("file:///a/b.pdf", 3, "", "file:///a/b.pdf"),
        ("file:///a/b.pdf", 3, "https://rag.example/",
         "https://rag.example/v1/documents/a%2Fb%3F/content?collection=docs#page=3"),
        ("upload:b.txt", None, "http://h:80/rag",
         "http://h:80/rag/v1/documents/a%2Fb%3F/content?collection=docs"),
    ],
)  # fmt: skip
def test_a_citation_links_to_what_a_browser_can_open(
    uri: str, page: int | None, public_url: str, address: str
) -> None:
    citation = Citation(
        marker=1, chunk_id="c", document_id="a/b?", uri=uri, title="B", page=page, headings=(),
        start=0, end=1, quote="x", support=1.0,
    )  # fmt: skip
    scope = Scope(tenant="default", collection="docs")
    assert address_of(citation, scope, public_url=public_url) == address
