"""A retriever for LangChain."""

from __future__ import annotations

from collections.abc import Sequence

from langchain_core.callbacks import (
    AsyncCallbackManagerForRetrieverRun,
    CallbackManagerForRetrieverRun,
)
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever

from plumbline_client import AsyncClient, Client, Filter, SearchResult

from .sources import Within, sources


class PlumblineRetriever(BaseRetriever):
    """Retrieves the passages that answer a question, best first.

    ```python
    retriever = PlumblineRetriever(client=Client("http://127.0.0.1:8000"))
    documents = retriever.invoke("When does the office open?")
    ```

    Errors are those of the client. The clients stay open, and are closed by who made them.

    Attributes:
        client: makes the calls.
        async_client: makes the calls of `ainvoke`, `abatch` and `astream`; without it, `client`
            makes them in a thread.
        collection: the collection to search; by default the server's `default`.
        top_k: number of passages; by default the server's.
        filters: conditions on the documents.
    """

    client: Client
    async_client: AsyncClient | None = None
    collection: str | None = None
    top_k: int | None = None
    filters: Sequence[Filter] | None = None

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun
    ) -> list[Document]:
        return documents(self.client.search(query, **self._within()))

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun
    ) -> list[Document]:
        if self.async_client is None:
            return await super()._aget_relevant_documents(query, run_manager=run_manager)
        return documents(await self.async_client.search(query, **self._within()))

    def _within(self) -> Within:
        return Within(collection=self.collection, top_k=self.top_k, filters=self.filters)


def documents(found: SearchResult) -> list[Document]:
    """Returns the hits of a search, or of an answer with what it quotes from each."""
    return [
        Document(id=hit.chunk_id, page_content=hit.text, metadata=metadata)
        for hit, metadata in sources(found)
    ]
