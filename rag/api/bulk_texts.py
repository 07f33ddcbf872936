"""Texts that come to be embedded or ranked, within the limits of the settings."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeVar

from fastapi import Request

from rag.api.deps import meter_of
from rag.api.middleware import until_hangup
from rag.api.question_limits import check_length
from rag.build.ingest import Ingesting
from rag.build.retrieval import Searching
from rag.errors import TooLargeError, UpstreamError
from rag.records import Feature
from rag.settings.retrieval import NoRerankerSettings
from rag.telemetry.metering import of_reading
from rag.types import Float32Array, Kind, Query, Scope
from retrieval.embedders.bulk import embed_all, score_all

T = TypeVar("T")


async def vectors(
    request: Request, service: Ingesting, scope: Scope, texts: list[str], *, kind: Kind
) -> Float32Array:
    """Returns float32[texts, dim], by the collection's embedder; texts are cut at its window.

    Raises:
        TooLargeError: There are too many texts.
        NotFoundError: There is no such collection.
        UpstreamError: The deadline passed.
    """
    _check_count(len(texts), service)
    await service.catalog.collections.check_exists(scope)
    embedder = service.embedder
    charged = _charged(
        request,
        service,
        texts,
        feature="embed",
        model=embedder.fingerprint,
        price=service.settings.embedder.input_price,
        work=partial(embed_all, embedder, texts, kind=kind),
    )
    return await until_hangup(request, _in_time(charged, service))


async def scores(
    request: Request, service: Searching, scope: Scope, query: str, texts: list[str]
) -> Sequence[float]:
    """Returns how well each text answers the query, by the reranker in force; higher is better.

    Raises:
        TooLargeError: There are too many texts, or the query is too long.
        NotFoundError: There is no such collection.
        UpstreamError: The deadline passed.
    """
    check_length(query, service.settings.limits)
    _check_count(len(texts), service)
    scope = await service.catalog.collections.check_exists(scope)
    asked, reranker = Query(text=query, scope=scope), service.settings.reranker
    charged = _charged(
        request,
        service,
        [query, *texts],
        feature="rerank",
        model=reranker.kind,
        price=0.0 if isinstance(reranker, NoRerankerSettings) else reranker.input_price,
        work=partial(score_all, service.reranker, asked, texts),
    )
    return await until_hangup(request, _in_time(charged, service))


def ranked(scores: Sequence[float], *, top_n: int | None = None) -> list[int]:
    """Returns the places of the texts by their scores: best first, ties by place."""
    return sorted(range(len(scores)), key=lambda index: (-scores[index], index))[:top_n]


def shares(scores: Sequence[float]) -> list[float]:
    """Returns scores as 0 to 1, in the same order: logits of a cross-encoder by their sigmoid."""
    if any(abs(score) > 1 for score in scores):
        return [1 / (1 + math.exp(-max(-500.0, score))) for score in scores]
    return [max(0.0, score) for score in scores]


async def _charged(
    request: Request,
    service: Ingesting,
    texts: list[str],
    *,
    feature: Feature,
    model: str,
    price: float,
    work: Callable[[], Awaitable[T]],
) -> T:
    """Does the work; if somebody is charged, for the tokens of these texts.

    Raises:
        RateLimitedError, QuotaExceededError: The caller has no more.
    """
    meter = meter_of(request)
    if not meter.charges:
        return await work()
    count_tokens = service.embedder.count_tokens
    usage = await asyncio.to_thread(of_reading, texts, count_tokens=count_tokens, price=price)
    await meter.reserve(usage.input_tokens)
    with meter.working(feature):
        found = await work()
        meter.spend(model, usage)
    return found


async def _in_time(work: Awaitable[T], service: Ingesting) -> T:
    seconds = service.settings.limits.query_seconds
    try:
        async with asyncio.timeout(seconds):
            return await work
    except TimeoutError:
        raise UpstreamError(
            f"The texts were not processed within {seconds:g} s. Send fewer of them at once, or"
            " raise the setting limits.query_seconds.",
            code="deadline",
            retry_after=seconds,  # by then the present work has ended
        ) from None


def _check_count(count: int, service: Ingesting) -> None:
    limit = service.settings.limits.texts
    if count > limit:
        raise TooLargeError(
            f"{count:,} texts came at once, and the limit (limits.texts) is {limit:,}."
        )
