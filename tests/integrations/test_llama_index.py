"""The real LlamaIndex and a real `rag serve`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from plumbline_client import AsyncClient, Client, NotFoundError
from tests.integrations.documents import (
    QUESTION,
    QUOTE,
    TEXT,
    UNANSWERABLE,
    check_place,
    check_quote,
)
from tests.servers import PATIENCE, Server

if TYPE_CHECKING:  # not while tests are collected: it takes seconds
    from plumbline_integrations.llama_index import PlumblineQueryEngine, PlumblineRetriever


def retriever_of(client: Client, **options: Any) -> PlumblineRetriever:
    from plumbline_integrations.llama_index import PlumblineRetriever

    return PlumblineRetriever(client, **options)


def engine_of(client: Client, **options: Any) -> PlumblineQueryEngine:
    from plumbline_integrations.llama_index import PlumblineQueryEngine

    return PlumblineQueryEngine(client, **options)


def test_its_nodes_have_the_place_of_each_passage(client: Client) -> None:
    first, *_ = retriever_of(client).retrieve(QUESTION)
    check_place(first.metadata)
    assert first.score == first.metadata["score"]
    assert first.node.ref_doc_id == first.metadata["document_id"]
    assert first.text == TEXT[first.metadata["start"] : first.metadata["end"]]


def test_models_read_titles_and_no_numbers(client: Client) -> None:
    from llama_index.core.schema import MetadataMode

    first, *_ = retriever_of(client).retrieve(QUESTION)
    read = first.get_content(MetadataMode.LLM)
    assert "title: Handbook" in read
    assert "ranks" not in read
    assert "chunk_id" not in read


def test_the_query_engine_gives_plumbline_s_own_answer(client: Client) -> None:
    from llama_index.core.base.response.schema import Response

    response = engine_of(client).query(QUESTION)
    assert isinstance(response, Response)
    assert str(response) == f"{QUOTE} [1]"
    assert response.metadata is not None
    assert not response.metadata["abstained"]
    assert response.metadata["citations"][0]["quote"] == QUOTE
    first = response.source_nodes[0]
    check_place(first.metadata)
    check_quote(first.metadata)


def test_an_abstention_is_visible(client: Client) -> None:
    from llama_index.core.tools import QueryEngineTool

    response = engine_of(client).query(UNANSWERABLE)
    assert str(response).startswith("No answer: ")
    assert response.metadata is not None
    assert response.metadata["abstained"]
    assert response.metadata["reason"]
    tool = QueryEngineTool.from_defaults(engine_of(client), name="handbook")
    assert "No answer: " in str(tool.call(UNANSWERABLE))


@pytest.mark.parametrize("with_async_client", [True, False])
def test_asyncio_gets_the_same(client: Client, server: Server, with_async_client: bool) -> None:
    async def ask() -> None:
        async with AsyncClient(server.url, timeout=PATIENCE) as http:
            own = http if with_async_client else None
            retriever = retriever_of(client, async_client=own, top_k=1)
            engine = engine_of(client, async_client=own)
            (found,) = await retriever.aretrieve(QUESTION)
            assert found == retriever.retrieve(QUESTION)[0]
            assert str(await engine.aquery(QUESTION)) == f"{QUOTE} [1]"

    asyncio.run(ask())


def test_an_answer_is_streamed(client: Client) -> None:
    from llama_index.core.base.response.schema import StreamingResponse

    engine = engine_of(client, streaming=True)
    response = engine.query(QUESTION)
    assert isinstance(response, StreamingResponse)
    assert not response.source_nodes
    assert "".join(response.response_gen) == f"{QUOTE} [1]"
    whole = engine_of(client).query(QUESTION)
    assert response.source_nodes == whole.source_nodes
    assert response.get_response().metadata == response.metadata
    assert response.metadata is not None
    assert response.metadata["citations"][0]["quote"] == QUOTE
    assert str(engine.query(UNANSWERABLE)).startswith("No answer: ")
    with pytest.raises(NotFoundError):
        str(engine_of(client, collection="nope", streaming=True).query(QUESTION))


def test_an_answer_is_streamed_to_asyncio(client: Client, server: Server) -> None:
    from llama_index.core.base.response.schema import AsyncStreamingResponse

    async def ask() -> None:
        async with AsyncClient(server.url, timeout=PATIENCE) as http:
            engine = engine_of(client, async_client=http, streaming=True)
            response = await engine.aquery(QUESTION)
            assert isinstance(response, AsyncStreamingResponse)
            texts = [text async for text in response.async_response_gen()]
            assert "".join(texts) == f"{QUOTE} [1]"
            check_quote(response.source_nodes[0].metadata)

    asyncio.run(ask())


def test_errors_pass_through_typed(client: Client) -> None:
    for asked in (
        retriever_of(client, collection="nope").retrieve,
        engine_of(client, collection="nope").query,
    ):
        with pytest.raises(NotFoundError) as failed:
            asked(QUESTION)
        assert failed.value.code == "unknown_collection"
