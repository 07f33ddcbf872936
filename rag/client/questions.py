"""The endpoints of questions and of feedback."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from .call import Call, given, nothing, read_as
from .requests import Filter, Message, Priority, ResponseFormat
from .responses import Answer, SearchResult


def search(
    query: str,
    *,
    collection: str | None = None,
    top_k: int | None = None,
    filters: Sequence[Filter] | None = None,
    user: str | None = None,
    session_id: str | None = None,
    tags: Sequence[str] | None = None,
    priority: Priority | None = None,
) -> Call[SearchResult]:
    """Returns the chunks that answer a query, without an answer made of them.

    `user`, `session_id` and `tags` group questions in traces. Where too many questions are under
    way, it waits in the class `priority`.
    """
    body = given(
        query=query,
        collection=collection,
        top_k=top_k,
        filters=filters,
        user=user,
        session_id=session_id,
        tags=tags,
        priority=priority,
    )
    return Call(method="POST", path="/v1/search", body=body, read=read_as(SearchResult))


def ask(
    query: str | None = None,
    *,
    messages: Sequence[Message] | None = None,
    collection: str | None = None,
    top_k: int | None = None,
    filters: Sequence[Filter] | None = None,
    claims: Literal["strict", "mark", "off"] | None = None,
    user: str | None = None,
    session_id: str | None = None,
    tags: Sequence[str] | None = None,
    priority: Priority | None = None,
    fresh: bool = False,
    max_tokens: int | None = None,
    temperature: float | None = None,
    top_p: float | None = None,
    seed: int | None = None,
    stop: str | Sequence[str] | None = None,
    response_format: ResponseFormat | None = None,
) -> Call[Answer]:
    """Returns an answer with its citations, to a question or to the last one of a conversation.

    Either `query` or `messages` is given. `claims` says what becomes of a model's sentences that no
    passage supports. `user`, `session_id` and `tags` group questions in traces. Where too many
    questions are under way, it waits in the class `priority`. A `fresh` answer is none of the
    server's cache. The others are parameters of the language model, in OpenAI's names.
    """
    body = given(
        query=query,
        messages=messages,
        collection=collection,
        top_k=top_k,
        filters=filters,
        claims=claims,
        user=user,
        session_id=session_id,
        tags=tags,
        priority=priority,
        max_tokens=max_tokens,
        temperature=temperature,
        top_p=top_p,
        seed=seed,
        stop=stop,
        response_format=response_format,
    )
    headers = {"Cache-Control": "no-cache"} if fresh else {}
    return Call(method="POST", path="/v1/query", headers=headers, body=body, read=read_as(Answer))


def streamed(call: Call[Any]) -> Call[Any]:
    """Returns the call whose response is a stream of events."""
    return replace(call, body={**(call.body or {}), "stream": True})


def give_feedback(
    answer_id: str,
    *,
    rating: Literal["up", "down"] | None = None,
    comment: str | None = None,
    correction: str | None = None,
) -> Call[None]:
    """Stores feedback on an answer; what is left out keeps its earlier value."""
    body = given(answer_id=answer_id, rating=rating, comment=comment, correction=correction)
    return Call(method="POST", path="/v1/feedback", body=body, read=nothing)
