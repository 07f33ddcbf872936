"""Components for Haystack: a retriever, and an answerer that gives Plumbline's own answers."""

from __future__ import annotations

from typing import Any

from haystack import Document, GeneratedAnswer, component, default_to_dict
from haystack.utils import Secret

from plumbline_client import Answer, AsyncClient, Client, Filter, SearchResult

from .sources import Within, answered, sources, text_of


class _Component:
    """A component of a service at `url`; its clients are made when they are first needed."""

    def __init__(
        self,
        url: str,
        *,
        key: Secret | None = None,
        collection: str | None = None,
        top_k: int | None = None,
        filters: list[Filter] | None = None,
    ) -> None:
        """Makes a component.

        Args:
            url: the service, `http://…` or `https://…`.
            key: an API key or a token, if the server asks for one.
            collection: the collection to search; by default the server's `default`.
            top_k: number of passages; by default the server's.
            filters: conditions on the documents, in Plumbline's form.
        """
        self.url = url
        self.key = key
        self.collection = collection
        self.top_k = top_k
        self.filters = filters
        self._client: Client | None = None
        self._async_client: AsyncClient | None = None

    def to_dict(self) -> dict[str, Any]:
        """Returns the component for a file of a pipeline; only keys from the environment can be."""
        return default_to_dict(
            self,
            url=self.url,
            key=self.key.to_dict() if self.key else None,
            collection=self.collection,
            top_k=self.top_k,
            filters=self.filters,
        )

    def warm_up(self) -> None:
        """Makes the client."""
        self._connected()

    async def warm_up_async(self) -> None:
        """Makes the client for asyncio, on the loop that will use it."""
        self._async_connected()

    def close(self) -> None:
        """Closes the client."""
        if self._client:
            self._client.close()
            self._client = None

    async def close_async(self) -> None:
        """Closes the client for asyncio."""
        if self._async_client:
            await self._async_client.aclose()
            self._async_client = None

    def _connected(self) -> Client:
        if self._client is None:
            self._client = Client(self.url, key=self._secret())
        return self._client

    def _async_connected(self) -> AsyncClient:
        if self._async_client is None:
            self._async_client = AsyncClient(self.url, key=self._secret())
        return self._async_client

    def _secret(self) -> str | None:
        return self.key.resolve_value() if self.key else None

    def _within(self, top_k: int | None) -> Within:
        return Within(collection=self.collection, top_k=top_k or self.top_k, filters=self.filters)


@component
class PlumblineRetriever(_Component):
    """Retrieves the passages that answer a question, best first.

    A pipeline wraps the client's errors: they are the `__cause__` of its `PipelineRuntimeError`.
    """

    @component.output_types(documents=list[Document])
    def run(self, query: str, top_k: int | None = None) -> dict[str, Any]:
        """Returns `documents`, the passages with their places in the documents."""
        found = self._connected().search(query, **self._within(top_k))
        return {"documents": documents(found)}

    @component.output_types(documents=list[Document])
    async def run_async(self, query: str, top_k: int | None = None) -> dict[str, Any]:
        """Returns the same as `run`."""
        found = await self._async_connected().search(query, **self._within(top_k))
        return {"documents": documents(found)}


@component
class PlumblineAnswerer(_Component):
    """Returns Plumbline's own answers, whose citations it has checked.

    If the service abstains, `meta["abstained"]` is true, and `data` begins with "No answer".
    A pipeline wraps the client's errors: they are the `__cause__` of its `PipelineRuntimeError`.
    """

    @component.output_types(answers=list[GeneratedAnswer])
    def run(self, query: str, top_k: int | None = None) -> dict[str, Any]:
        """Returns `answers`: one, with its passages, and what it quotes from each."""
        return _answers(query, self._connected().ask(query, **self._within(top_k)))

    @component.output_types(answers=list[GeneratedAnswer])
    async def run_async(self, query: str, top_k: int | None = None) -> dict[str, Any]:
        """Returns the same as `run`."""
        return _answers(query, await self._async_connected().ask(query, **self._within(top_k)))


def documents(found: SearchResult) -> list[Document]:
    """Returns the hits of a search, or of an answer with what it quotes from each."""
    return [
        Document(id=hit.chunk_id, content=hit.text, meta=metadata, score=hit.score)
        for hit, metadata in sources(found)
    ]


def _answers(query: str, answer: Answer) -> dict[str, Any]:
    made = GeneratedAnswer(
        data=text_of(answer), query=query, documents=documents(answer), meta=answered(answer)
    )
    return {"answers": [made]}
