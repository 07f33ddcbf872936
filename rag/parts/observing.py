"""Where traces go."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import rag
from rag import metrics
from rag.answers import Answers
from rag.data_sets import SetItem, set_items
from rag.database import Database
from rag.errors import ConfigError
from rag.keeping import AnswerKeeper
from rag.masking import Masker
from rag.privacy import Privacy
from rag.records import Feedback, LiveAnswer
from rag.settings import PrivacySettings, Settings, TraceSettings
from rag.telemetry import Score, Trace
from rag.types import Answer, Query

if TYPE_CHECKING:
    from rag.tracing import TraceSender

LANGFUSE_CLOUD = "https://cloud.langfuse.com"


@dataclass(frozen=True, slots=True)
class Traces:
    """Where traces and scores go: to every place that the settings name."""

    senders: tuple[TraceSender, ...] = ()

    def send(self, trace: Trace) -> bool:
        """Takes a journey that has ended, and says whether it was wanted; returns at once."""
        wanted = [sender.send(trace) for sender in self.senders]
        return any(wanted)

    def score(self, scores: Sequence[Score]) -> None:
        """Takes what was found of an answer; returns at once."""
        for sender in self.senders:
            sender.score(tuple(scores))


@dataclass(frozen=True, slots=True)
class Observing:
    """What is told of questions once they have ended, and kept of their answers."""

    traces: Traces
    privacy: Privacy
    answers: Answers
    keeper: AnswerKeeper | None

    def ended(self, query: Query, trace: Trace, answer: Answer | None) -> None:
        """Takes a question that has ended; returns at once."""
        sent = self.traces.send(trace)
        if answer and self.keeper:
            self.keeper.take(query, trace, answer, sent=sent)

    async def say(self, tenant: str, trace_id: str, feedback: Feedback) -> None:
        """Keeps what somebody said of an answer, and sends it on.

        Raises:
            NotFoundError: no such answer is kept.
        """
        if self.keeper:
            await self.keeper.flush()  # it may have been given a moment ago
        allowed = Feedback(
            rating=feedback.rating,
            comment=self.privacy.content(feedback.comment, tenant),
            correction=self.privacy.content(feedback.correction, tenant),
        )
        answer = await self.answers.say(tenant, trace_id, allowed)
        if feedback.rating:
            metrics.feedback(feedback.rating)
        self.traces.score(feedback_scores(answer))


async def open_observing(
    settings: Settings, database: Database, stack: contextlib.AsyncExitStack
) -> Observing:
    """What observes, closed with the stack. Raises as `open_traces` does."""
    privacy = build_privacy(settings.privacy)
    traces = open_traces(settings.traces, privacy, stack)
    answers, online, keeper = Answers(database), settings.online, None
    if online.keep_days:
        keeper = AnswerKeeper(answers, privacy, rate=online.rate, days=online.keep_days)
        await stack.enter_async_context(keeper.started())
    return Observing(traces, privacy, answers, keeper)


def feedback_scores(answer: LiveAnswer) -> list[Score]:
    """What was said of an answer, as scores of its trace."""
    said = answer.feedback

    def score(name: str, value: float | str, comment: str = "") -> Score:
        return Score(
            name=name,
            value=value,
            comment=comment,
            trace_id=answer.trace_id,
            tenant=answer.scope.tenant,
        )

    scores = []
    if said.rating:
        scores.append(score("feedback", float(said.rating == "up"), said.comment or ""))
    elif said.comment:
        scores.append(score("comment", said.comment))
    if said.correction:
        scores.append(score("correction", said.correction))
    return scores


def open_traces(
    settings: TraceSettings, privacy: Privacy, stack: contextlib.AsyncExitStack
) -> Traces:
    """Where traces go, closed with the stack.

    Raises:
        ConfigError: OpenTelemetry or Langfuse is not installed, or a key is missing.
    """
    senders = tuple(_senders(settings, privacy))
    for sender in senders:
        stack.push_async_callback(asyncio.to_thread, sender.close)
    return Traces(senders)


def build_privacy(settings: PrivacySettings) -> Privacy:
    """What may be kept and sent.

    Raises:
        ConfigError: Presidio is not installed, or cannot be started.
    """
    masker = Masker(settings.mask, first=_presidio(settings.presidio))
    return Privacy(masker.content, capture=settings.capture, tenants=settings.tenants)


def _presidio(file: Path | None) -> Callable[[str], str] | None:
    if file is None:
        return None
    try:
        from rag.presidio import PresidioMasker
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"`privacy.presidio` needs the module {error.name!r}, which is not installed: run"
            " `pip install 'plumbline-rag[presidio]'`."
        ) from None
    return PresidioMasker(file).text


def langfuse_items(settings: TraceSettings, name: str) -> list[SetItem]:
    """The items of a data set in the Langfuse that traces go to.

    Raises:
        ConfigError: a key is missing, or refused.
        NotFoundError: there is no such data set.
        UpstreamError: Langfuse cannot be reached.
    """
    host, public, secret = _langfuse_account(settings)
    if not (public and secret):
        raise ConfigError(
            f"The data set {name!r} is in Langfuse, which wants both of its keys: set"
            " traces.public_key and traces.secret_key, or LANGFUSE_PUBLIC_KEY and"
            " LANGFUSE_SECRET_KEY."
        )
    return set_items(host or LANGFUSE_CLOUD, public_key=public, secret_key=secret, name=name)


def _langfuse_account(settings: TraceSettings) -> tuple[str | None, str | None, str | None]:
    """Address, public and secret key, as far as they are known."""
    environment = os.environ.get  # the names that Langfuse's own clients read
    host = settings.langfuse_url or environment("LANGFUSE_BASE_URL") or environment("LANGFUSE_HOST")
    public = settings.public_key or environment("LANGFUSE_PUBLIC_KEY")
    secret = (
        settings.secret_key.get_secret_value()
        if settings.secret_key
        else environment("LANGFUSE_SECRET_KEY")
    )
    return host, public, secret


def _senders(settings: TraceSettings, privacy: Privacy) -> Iterator[TraceSender]:
    host, public, secret = _langfuse_account(settings)
    # The name that OpenTelemetry's own clients read.
    otlp = settings.otlp_url or _traces_url(os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"))
    if not otlp and not (public and secret):
        if host and (settings.langfuse_url or public or secret):
            raise ConfigError(
                "Traces go to Langfuse with both of its keys: set traces.public_key and"
                " traces.secret_key, or LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY."
            )
        return
    try:
        from rag.tracing import Sending, TraceSender, langfuse
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"Traces need the module {error.name!r}, which is not installed: run"
            " `pip install 'plumbline-rag[traces]'`."
        ) from None
    sending = Sending(
        privacy=privacy,
        environment=settings.environment,
        release=settings.release or rag.__version__,
    )
    if public and secret:
        yield langfuse(
            host or LANGFUSE_CLOUD, public_key=public, secret_key=secret, sending=sending
        )
    if otlp:
        yield TraceSender(otlp, headers={}, sending=sending)


def _traces_url(endpoint: str | None) -> str | None:
    """As OpenTelemetry has it: the endpoint is a base."""
    return f"{endpoint.rstrip('/')}/v1/traces" if endpoint else None
