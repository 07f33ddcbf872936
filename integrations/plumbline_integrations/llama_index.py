"""A retriever and a query engine for LlamaIndex."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator, Iterator, Sequence
from typing import Any

from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.response.schema import (
    RESPONSE_TYPE,
    AsyncStreamingResponse,
    Response,
    StreamingResponse,
)
from llama_index.core.callbacks import CallbackManager
from llama_index.core.prompts.mixin import PromptMixinType
from llama_index.core.schema import (
    NodeRelationship,
    NodeWithScore,
    QueryBundle,
    RelatedNodeInfo,
    TextNode,
)

from plumbline_client import (
    Answer,
    AnswerEvent,
    AsyncClient,
    Client,
    Event,
    Filter,
    SearchResult,
    TokenEvent,
)

from .sources import Within, answered, sources, text_of

_NOT_FOR_MODELS = ["chunk_id", "document_id", "start", "end", "score", "ranks", "citations"]
"""Metadata that LlamaIndex is not to put before the text of a passage."""


class PlumblineRetriever(BaseRetriever):
    """Retrieves the passages that answer a question, best first.

    ```python
    retriever = PlumblineRetriever(Client("http://127.0.0.1:8000"))
    nodes = retriever.retrieve("When does the office open?")
    ```

    Errors are those of the client. The clients stay open, and are closed by who made them.
    """

    def __init__(
        self,
        client: Client,
        *,
        async_client: AsyncClient | None = None,
        collection: str | None = None,
        top_k: int | None = None,
        filters: Sequence[Filter] | None = None,
        callback_manager: CallbackManager | None = None,
    ) -> None:
        """Makes a retriever.

        Args:
            client: makes the calls.
            async_client: makes those of `aretrieve`; without it, `client` makes them in a thread.
            collection: the collection to search; by default the server's `default`.
            top_k: number of passages; by default the server's.
            filters: conditions on the documents.
            callback_manager: is told of each call.
        """
        super().__init__(callback_manager=callback_manager)
        self._client = client
        self._async_client = async_client
        self._within = Within(collection=collection, top_k=top_k, filters=filters)

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        found = self._client.search(query_bundle.query_str, **self._within)
        return nodes(found)

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        if self._async_client is None:
            return await asyncio.to_thread(self._retrieve, query_bundle)
        found = await self._async_client.search(query_bundle.query_str, **self._within)
        return nodes(found)


class PlumblineQueryEngine(BaseQueryEngine):
    """Returns Plumbline's own answers, whose citations it has checked.

    The response has the passages as source nodes, each with what the answer quotes from it, and the
    other fields of the answer as metadata. If the service abstains, `metadata["abstained"]` is
    true, and the text begins with "No answer".

    ```python
    engine = PlumblineQueryEngine(Client("http://127.0.0.1:8000"))
    response = engine.query("When does the office open?")
    ```

    With `streaming`, the text comes as it is written, and the response is a `StreamingResponse`, or
    an `AsyncStreamingResponse` with an `async_client`: the question is asked when the text is read.
    Its source nodes and metadata are complete at the end of the text.

    Errors are those of the client. The clients stay open, and are closed by who made them.
    """

    def __init__(
        self,
        client: Client,
        *,
        async_client: AsyncClient | None = None,
        collection: str | None = None,
        top_k: int | None = None,
        filters: Sequence[Filter] | None = None,
        streaming: bool = False,
        callback_manager: CallbackManager | None = None,
    ) -> None:
        """Makes a query engine; its other arguments are those of `PlumblineRetriever`."""
        super().__init__(callback_manager=callback_manager)
        self._streaming = streaming
        self._client = client
        self._async_client = async_client
        self._within = Within(collection=collection, top_k=top_k, filters=filters)

    def _get_prompt_modules(self) -> PromptMixinType:
        return {}

    def _query(self, query_bundle: QueryBundle) -> RESPONSE_TYPE:
        question = query_bundle.query_str
        if not self._streaming:
            return _response(self._client.ask(question, **self._within))
        written = _Written()
        return StreamingResponse(self._texts(question, written), written.nodes, written.metadata)

    def _texts(self, question: str, written: _Written) -> Generator[str, None, None]:
        with self._client.stream(question, **self._within) as events:
            for event in events:
                yield from written.texts(event)

    async def _aquery(self, query_bundle: QueryBundle) -> RESPONSE_TYPE:
        if self._async_client is None:
            return await asyncio.to_thread(self._query, query_bundle)
        question = query_bundle.query_str
        if not self._streaming:
            return _response(await self._async_client.ask(question, **self._within))
        written = _Written()
        texts = self._texts_async(self._async_client, question, written)
        return AsyncStreamingResponse(texts, written.nodes, written.metadata)

    async def _texts_async(
        self, client: AsyncClient, question: str, written: _Written
    ) -> AsyncGenerator[str, None]:
        async with client.stream(question, **self._within) as events:
            async for event in events:
                for text in written.texts(event):
                    yield text


class _Written:
    """The source nodes and the metadata of an answer, which grow as it is written."""

    def __init__(self) -> None:
        self.nodes: list[NodeWithScore] = []
        self.metadata: dict[str, Any] = {}

    def texts(self, event: Event) -> Iterator[str]:
        """Takes an event, and yields its text."""
        if isinstance(event, TokenEvent):
            yield event.text
        elif isinstance(event, AnswerEvent):
            self.nodes[:] = nodes(event)
            self.metadata |= answered(event)
            if event.abstained:
                yield text_of(event)


def nodes(found: SearchResult) -> list[NodeWithScore]:
    """Returns the hits of a search, or of an answer with what it quotes from each."""
    return [
        NodeWithScore(
            node=TextNode(
                id_=hit.chunk_id,
                text=hit.text,
                metadata=metadata,
                start_char_idx=hit.start,
                end_char_idx=hit.end,
                excluded_llm_metadata_keys=_NOT_FOR_MODELS,
                excluded_embed_metadata_keys=_NOT_FOR_MODELS,
                relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=hit.document_id)},
            ),
            score=hit.score,
        )
        for hit, metadata in sources(found)
    ]


def _response(answer: Answer) -> Response:
    return Response(response=text_of(answer), source_nodes=nodes(answer), metadata=answered(answer))
