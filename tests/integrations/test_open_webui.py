"""The real Open WebUI and a real `rag serve` with keys."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from plumbline_client import Client
from tests.open_webui import OpenWebUI, needs_open_webui, open_webui
from tests.servers import PATIENCE, Server, rag, serving

pytestmark = needs_open_webui
QUESTION = "When does the office close on Fridays?"
QUOTE = "On Fridays it closes at four."
PUBLIC = "https://plumbline.example"
ENV = {"RAG_GATEWAY__ENABLED": "true", "RAG_SERVER__PUBLIC_URL": PUBLIC}
FILLER = "Cabbage grows in sandy soil, and wants much water in a dry summer. " * 12
WEB = "https://a.example/hours"


def key(data: Path, scopes: str) -> str:
    made = rag("keys", "create", scopes, "--scopes", scopes, "--json", data=data, env=ENV)
    found: str = json.loads(made.stdout)["key"]
    return found


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("open_webui") / "data"


@pytest.fixture(scope="module")
def server(data: Path) -> Iterator[Server]:
    writer = key(data, "write,read")
    with serving(data, env=ENV) as running:
        with Client(running.url, key=writer, timeout=PATIENCE) as client:
            client.submit_documents(
                [
                    {"id": "web", "uri": WEB, "title": "Hours", "text": f"Nine to five. {QUOTE}"},
                    {"id": "file", "title": "Garden", "text": "Tomatoes are sown in March."},
                ]
            ).wait()
        yield running


@pytest.fixture(scope="module")
def reader(server: Server, data: Path) -> str:
    return key(data, "ask,read")


@pytest.fixture(scope="module")
def page(server: Server, data: Path, reader: str) -> Iterator[OpenWebUI]:
    env = {
        "OPENAI_API_BASE_URL": f"{server.url}/v1",
        "OPENAI_API_KEY": reader,
        "ENABLE_WEB_SEARCH": "True",
        "WEB_SEARCH_ENGINE": "external",
        "EXTERNAL_WEB_SEARCH_URL": f"{server.url}/websearch?collection=default",
        "EXTERNAL_WEB_SEARCH_API_KEY": reader,
        "BYPASS_WEB_SEARCH_WEB_LOADER": "True",
        "BYPASS_WEB_SEARCH_EMBEDDING_AND_RETRIEVAL": "True",
        "RAG_OPENAI_API_BASE_URL": f"{server.url}/v1",
        "RAG_OPENAI_API_KEY": reader,
        "RAG_EMBEDDING_MODEL": "default",
        "ENABLE_RAG_HYBRID_SEARCH": "True",
        "RAG_RERANKING_ENGINE": "external",
        "RAG_RERANKING_MODEL": "default",
        "RAG_EXTERNAL_RERANKER_URL": f"{server.url}/v1/rerank",
        "RAG_EXTERNAL_RERANKER_API_KEY": reader,
    }
    with open_webui(data.parent / "open-webui", env) as running:
        yield running


def test_its_models_are_the_collections(page: OpenWebUI) -> None:
    listed = page.http.get("/api/models").json()["data"]
    assert "default" in [model["id"] for model in listed]


def test_its_answers_have_citations_as_sources(page: OpenWebUI) -> None:
    chat, answer = page.chat("default", QUESTION)
    assert answer["content"] == f"{QUOTE} [1]"
    assert [each["source"] for each in answer["sources"]] == [{"name": "Hours", "url": WEB}]
    assert chat["title"] == QUESTION.removesuffix("?")


def test_an_abstention_is_a_sentence(page: OpenWebUI) -> None:
    _, answer = page.chat("default", "Who won the chess championship in 1972?")
    assert answer["content"].startswith("No answer: ")
    assert "sources" not in answer


def test_its_web_search_finds_passages(page: OpenWebUI) -> None:
    found = page.post("/api/v1/retrieval/process/web/search", queries=[QUESTION, "tomatoes"])
    by_title = {each["metadata"]["title"]: each for each in found["docs"]}
    assert QUOTE in by_title["Hours"]["content"]
    assert by_title["Hours"]["metadata"]["source"] == WEB
    assert by_title["Garden"]["metadata"]["source"].startswith(f"{PUBLIC}/v1/documents/file/")


def test_a_chat_answers_from_its_web_search(page: OpenWebUI) -> None:
    """Without native calls of functions, Open WebUI searches before it asks."""
    _, answer = page.chat(
        "default",
        QUESTION,
        features={"web_search": True},
        params={"function_calling": "legacy"},
    )
    searched, cited = answer["sources"]
    assert searched["source"]["type"] == "web_search"
    assert [each["title"] for each in searched["metadata"]] == ["Hours", "Garden"]
    assert cited["source"] == {"name": "Hours", "url": WEB}


def test_its_own_documents_are_embedded_and_reranked(
    page: OpenWebUI, server: Server, reader: str
) -> None:
    text = "\n\n".join([FILLER, QUOTE, FILLER])
    page.post("/api/v1/retrieval/process/text", name="a", content=text, collection_name="notes")
    found = page.post(
        "/api/v1/retrieval/query/collection",
        collection_names=["notes"],
        query=QUESTION,
        k=3,
        k_reranker=2,
        hybrid=True,
    )
    assert QUOTE in found["documents"][0][0]
    with Client(server.url, key=reader, timeout=PATIENCE) as client:
        used = {each.feature: each.requests for each in client.get_usage(by=["feature"]).groups}
    assert used["embed"] >= 1
    assert used["rerank"] == 1
