"""The real LangChain and a real `rag serve`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from plumbline_client import AsyncClient, Client, NotFoundError, UnreachableError
from tests.integrations.documents import QUESTION, QUOTE, TEXT, check_place, check_quote
from tests.servers import PATIENCE, Server

if TYPE_CHECKING:  # not while tests are collected: it takes a second
    from langchain_core.documents import Document

    from plumbline_integrations.langchain import PlumblineRetriever


def retriever_of(client: Client, **options: Any) -> PlumblineRetriever:
    from plumbline_integrations.langchain import PlumblineRetriever

    return PlumblineRetriever(client=client, **options)


def text_of(found: list[Document]) -> str:
    return "\n".join(each.page_content for each in found)


def test_its_documents_have_the_place_of_each_passage(client: Client) -> None:
    first, *_ = retriever_of(client).invoke(QUESTION)
    assert first.page_content == TEXT[first.metadata["start"] : first.metadata["end"]]
    assert first.id == first.metadata["chunk_id"]
    check_place(first.metadata)
    assert "citations" not in first.metadata


def test_top_k_and_filters_reach_the_service(client: Client) -> None:
    assert len(retriever_of(client, top_k=1).invoke(QUESTION)) == 1
    old = retriever_of(client, filters=[{"field": "year", "op": "lt", "value": 2022}]).invoke(
        QUESTION
    )
    (garden,) = old
    assert (garden.metadata["document_id"], garden.metadata["title"]) == ("garden", "Garden")
    assert garden.metadata["year"] == 2020


def test_a_chain_of_langchain_reads_it(client: Client) -> None:
    from langchain_core.output_parsers import StrOutputParser
    from langchain_core.prompts import ChatPromptTemplate
    from langchain_core.runnables import RunnableLambda, RunnablePassthrough

    retriever = retriever_of(client, top_k=1)
    text = RunnableLambda(text_of)
    prompt = ChatPromptTemplate.from_template("{passages}\n\n{question}")
    chain = {"passages": retriever | text, "question": RunnablePassthrough()} | prompt
    read = (chain | RunnableLambda(lambda made: made.to_string()) | StrOutputParser()).invoke(
        QUESTION
    )
    assert QUOTE in read
    assert read.endswith(QUESTION)
    assert len(retriever.batch([QUESTION, "tomatoes"])) == 2


@pytest.mark.parametrize("with_async_client", [True, False])
def test_asyncio_gets_the_same(client: Client, server: Server, with_async_client: bool) -> None:
    async def ask() -> None:
        async with AsyncClient(server.url, timeout=PATIENCE) as http:
            retriever = retriever_of(client, async_client=http if with_async_client else None)
            assert await retriever.ainvoke(QUESTION) == retriever.invoke(QUESTION)
            found = await asyncio.gather(*(retriever.ainvoke(QUESTION) for _ in range(8)))
            assert all(each == found[0] for each in found)

    asyncio.run(ask())


def test_documents_of_an_answer_have_its_quotes(client: Client) -> None:
    from plumbline_integrations.langchain import documents

    first, *others = documents(client.ask(QUESTION))
    check_place(first.metadata)
    check_quote(first.metadata)
    assert [other.metadata["citations"] for other in others] == [[]]


def test_errors_pass_through_typed(client: Client) -> None:
    with pytest.raises(NotFoundError, match="nope") as failed:
        retriever_of(client, collection="nope").invoke(QUESTION)
    assert failed.value.code == "unknown_collection"
    with Client("http://127.0.0.1:1") as nobody, pytest.raises(UnreachableError):
        retriever_of(nobody).invoke(QUESTION)
