"""Turns questions that come over HTTP into `Query`s within the limits."""

from __future__ import annotations

from collections.abc import Sequence

from rag.api.schemas import Asking, Retrieval
from rag.errors import InputError, TooLargeError
from rag.settings.operations import LimitSettings
from rag.telemetry.trace import Trace
from rag.types import ChatTask, Message, Query, SamplingOverrides, Scope


def to_query(
    conversation: Sequence[Message],
    body: Retrieval,
    *,
    scope: Scope,
    limits: LimitSettings,
    sampling: SamplingOverrides,
    task: ChatTask | None = None,
    fresh: bool = False,
) -> Query:
    """Returns the last message of a conversation as a question to a collection.

    The prompt of a task shows a whole chat, and may be as long as a body.

    Raises:
        TooLargeError: The question or the conversation is too long.
        InputError: `top_k` is over the limit.
    """
    *history, last = conversation
    if len(conversation) > limits.messages:
        raise TooLargeError(
            f"The conversation has {len(conversation):,} messages, and the limit is"
            f" {limits.messages:,}. Send the last of them, or raise the setting limits.messages.",
            code="conversation_too_long",
        )
    if task is None:
        check_length(last.content, limits)
    if body.top_k > limits.top_k:
        raise InputError(f"top_k is {body.top_k}, and the limit (limits.top_k) is {limits.top_k}.")
    return Query(
        text=last.content,
        scope=scope,
        top_k=body.top_k,
        where=tuple(f.condition() for f in body.filters),
        history=tuple(history),
        sampling=sampling,
        task=task,
        claims=body.claims if isinstance(body, Asking) else None,
        fresh=fresh,
        tags=tuple(body.tags),
        priority=body.priority,
    )


def label(trace: Trace, body: Retrieval, *, user: str | None = None) -> None:
    """Sets the trace's user, session and tags; OpenAI's `user` is used if `asked` has none."""
    trace.user = body.user or user or ""
    trace.session = body.session_id or ""
    trace.tags = tuple(body.tags)


def check_length(question: str, limits: LimitSettings) -> None:
    """Checks the length of a question.

    Raises:
        TooLargeError: It is too long.
    """
    if len(question) > limits.question_chars:
        raise TooLargeError(
            f"The question has {len(question):,} characters, and the limit is"
            f" {limits.question_chars:,}. Shorten it, or raise the setting limits.question_chars.",
            code="question_too_long",
        )
