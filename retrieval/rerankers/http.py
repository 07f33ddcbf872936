"""A reranker behind `/rerank`: Cohere, Jina, vLLM and Infinity use one dialect, TEI another."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import httpx
import numpy as np

from rag.errors import BusyError, ConfigError, UpstreamError
from rag.privacy.redaction import masked, scrubbed, words
from rag.telemetry.trace import trace_headers
from rag.text.passages import passage_text
from rag.types import Chunk, Float32Array, Query

Dialect = Literal["cohere", "tei"]
_TOO_MANY, _SERVER_FAULT = 429, 500
_ABOUT_NO_PASSAGE = (401, 403, 404)
_NO_SCORES = (ValueError, KeyError, TypeError, IndexError, OverflowError, RecursionError)
"""Exceptions caused by JSON of another shape, or by invalid JSON."""
_BROKEN = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)
_LARGEST = float(np.finfo(np.float32).max)


class HttpReranker:
    """`Reranker` that asks a server."""

    def __init__(
        self,
        url: str,
        *,
        dialect: Dialect,
        model: str,
        api_key: str | None,
        seconds: float,
    ) -> None:
        """Make a reranker; nothing is sent yet.

        Args:
            url: address with its path, `/v1/rerank` or `/rerank`.
            dialect: "cohere", or "tei" for Hugging Face's text-embeddings-inference.
            model: name of the model on the server; TEI has only one.
            api_key: sent as a bearer token.
            seconds: time limit of one request.
        """
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._client = httpx.AsyncClient(headers=headers, timeout=seconds)
        self._url = url
        self._api_key = api_key
        self._where = masked(url)
        self._dialect = dialect
        self._model = model

    async def score(self, query: Query, chunks: Sequence[Chunk]) -> Float32Array:
        """Returns the server's scores."""
        texts = [passage_text(chunk) for chunk in chunks]
        body: dict[str, Any] = (
            {"query": query.text, "texts": texts, "truncate": True}
            if self._dialect == "tei"
            else {"model": self._model, "query": query.text, "documents": texts}
        )
        try:
            answer = await self._post(body)
        except httpx.HTTPError as error:
            raise UpstreamError(
                "The reranker does not answer.",
                detail=f"{self._where}: {words(error, self._url)}.",
            ) from error
        self._check(answer)
        return self._scores(answer, len(texts))

    async def _post(self, body: Mapping[str, Any]) -> httpx.Response:
        """Asks once more if the connection broke: a server may close a kept one at any moment."""
        try:
            return await self._client.post(self._url, json=body, headers=trace_headers())
        except _BROKEN:
            return await self._client.post(self._url, json=body, headers=trace_headers())

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.aclose()

    def _check(self, answer: httpx.Response) -> None:
        status_line = f"The reranker answered {answer.status_code}"
        if answer.status_code == _TOO_MANY:
            raise BusyError(
                f"{status_line}: it has too much to do. Try again in a second.",
                detail=f"{self._where}.",
            )
        if answer.status_code >= _SERVER_FAULT:
            raise UpstreamError(f"{status_line}.", detail=f"{self._where}.")
        if not answer.is_success:
            # The text of other refusals may quote the passages.
            words = self._words(answer) if answer.status_code in _ABOUT_NO_PASSAGE else ""
            raise ConfigError(
                f"{status_line}. Are reranker.url, reranker.dialect, reranker.model and"
                " reranker.api_key right?",
                detail=f"{self._where} {words}".rstrip(),
            )

    def _words(self, answer: httpx.Response) -> str:
        """Returns the beginning of the server's answer, without the secrets that it may quote."""
        text = scrubbed(answer.text, self._url)
        return (text.replace(self._api_key, "…") if self._api_key else text)[:200]

    def _scores(self, answer: httpx.Response, count: int) -> Float32Array:
        """Returns one finite score for each text, whatever their order in the answer is."""
        key = "score" if self._dialect == "tei" else "relevance_score"
        by_index: dict[int, float] = {}
        try:
            results = answer.json()
            for result in results if self._dialect == "tei" else results["results"]:
                by_index[int(result["index"])] = float(result[key])
            scores = [by_index.get(index, math.nan) for index in range(count)]
            if by_index.keys() - set(range(count)):
                raise IndexError
        except _NO_SCORES as error:
            raise UpstreamError(
                "The reranker answered something else than scores. Is reranker.dialect ="
                f" {self._dialect!r} right?",
                detail=f"{self._where}: {type(error).__name__}.",
            ) from error
        judged = sum(abs(score) <= _LARGEST for score in scores)
        if judged < count:
            raise UpstreamError(
                f"The reranker judged {judged} of {count} passages.", detail=f"{self._where}."
            )
        return np.asarray(scores, np.float32)
