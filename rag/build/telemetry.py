"""Builds the destinations of traces and answers."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import rag
from rag.catalog.answers import Answers
from rag.catalog.database import Database
from rag.errors import ConfigError
from rag.feedback.answer_log import AnswerRecorder
from rag.feedback.observer import Observer, Traces
from rag.privacy.masking import Masker
from rag.privacy.policy import Privacy
from rag.process.extras import needing
from rag.settings.operations import NoTraceSettings, OnlineSettings, PrivacySettings, TraceSettings
from rag.settings.tree import Settings
from rag.telemetry.background_sender import TraceSender
from rag.telemetry.langfuse_datasets import SetItem, set_items

if TYPE_CHECKING:
    from rag.telemetry.exporters import Exporter, ExportOptions

LANGFUSE_CLOUD = "https://cloud.langfuse.com"


async def open_observer(
    settings: Settings, database: Database, stack: contextlib.AsyncExitStack
) -> Observer:
    """Opens the observer, closed with the stack; without an answer recorder.

    Raises as `open_traces` does.
    """
    privacy = await asyncio.to_thread(build_privacy, settings.privacy)  # Presidio takes seconds
    traces = open_traces(settings, stack)
    return Observer(traces, privacy, Answers(database))


async def open_answer_recorder(
    settings: OnlineSettings, observer: Observer, stack: contextlib.AsyncExitStack
) -> AnswerRecorder | None:
    """Opens the answer recorder, closed with the stack; None if no answers are to be kept."""
    if not settings.keep_days:
        return None
    recorder = AnswerRecorder(
        observer.answers, observer.privacy, rate=settings.rate, days=settings.keep_days
    )
    await stack.enter_async_context(recorder.started())
    return recorder


def open_traces(settings: Settings, stack: contextlib.AsyncExitStack) -> Traces:
    """Opens the destinations of traces, closed with the stack.

    Raises:
        ConfigError: OpenTelemetry or Langfuse is not installed, or a key is missing.
    """
    senders = tuple(_senders(settings.traces, settings.privacy))
    stack.push_async_callback(_close, senders)
    return Traces(senders)


async def _close(senders: Sequence[TraceSender]) -> None:
    """Closes all at once: each waits until its remaining traces are sent."""
    await asyncio.gather(*(asyncio.to_thread(sender.close) for sender in senders))


def build_privacy(settings: PrivacySettings) -> Privacy:
    """Builds the rules for what may be kept and sent.

    Raises:
        ConfigError: Presidio is not installed, or cannot be started.
    """
    masker = Masker(settings.mask, first=_presidio(settings.presidio))
    return Privacy(masker.content, capture=settings.capture, tenants=settings.tenants)


def _presidio(file: Path | None) -> Callable[[str], str] | None:
    if file is None:
        return None
    with needing("presidio", for_="`privacy.presidio`"):
        from rag.privacy.presidio import PresidioMasker
    return PresidioMasker(file).text


def langfuse_items(settings: TraceSettings, name: str) -> list[SetItem]:
    """Returns the items of a data set in the Langfuse that receives the traces.

    Raises:
        ConfigError: A key is missing, or refused.
        NotFoundError: There is no such data set.
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


def trace_page(settings: TraceSettings) -> str | None:
    """Returns the address of a trace's page in Langfuse without its id; None: none are sent there.

    It is the page that Langfuse forwards to the one of the trace's project:
    https://github.com/langfuse/langfuse, web/src/pages/trace/[traceId].tsx.
    """
    host, public, secret = _langfuse_account(settings)
    if isinstance(settings, NoTraceSettings) or not (public and secret):
        return None
    url = urlsplit(host or LANGFUSE_CLOUD)
    return f"{url.scheme}://{_host(url.geturl())}{url.path.rstrip('/')}/trace/"


def _langfuse_account(settings: TraceSettings) -> tuple[str | None, str | None, str | None]:
    """Returns address, public key and secret key; None for each that is unknown."""
    of_env = os.environ.get  # the names that Langfuse's own clients read
    host = settings.langfuse_url or of_env("LANGFUSE_BASE_URL") or of_env("LANGFUSE_HOST")
    public = settings.public_key or of_env("LANGFUSE_PUBLIC_KEY")
    secret = (
        settings.secret_key.get_secret_value()
        if settings.secret_key
        else of_env("LANGFUSE_SECRET_KEY")
    )
    return host, public, secret


def _senders(settings: TraceSettings, privacy: PrivacySettings) -> Iterator[TraceSender]:
    if isinstance(settings, NoTraceSettings):
        return
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
    _check_installed("langfuse", "opentelemetry.exporter.otlp.proto.http")
    options = _SenderOptions(settings.environment, settings.release or rag.__version__, privacy)
    if public and secret:
        url = host or LANGFUSE_CLOUD
        load = partial(_langfuse, url, public, secret, options)
        yield TraceSender(load, host=_host(url), takes_scores=True)
    if otlp:
        load = partial(_otlp, otlp, options)
        yield TraceSender(load, host=_host(otlp), takes_scores=False)


@dataclass(frozen=True)
class _SenderOptions:
    """The options of the process that sends traces, with this process's OpenTelemetry settings."""

    environment: str
    release: str
    privacy: PrivacySettings
    environ: Mapping[str, str] = field(
        default_factory=lambda: {n: v for n, v in os.environ.items() if n.startswith("OTEL_")}
    )

    def export_options(self) -> ExportOptions:
        """Returns the options as an exporter takes them; called in the sending process."""
        from rag.telemetry.exporters import ExportOptions

        os.environ.update(self.environ)
        return ExportOptions(
            privacy=build_privacy(self.privacy), environment=self.environment, release=self.release
        )


def _langfuse(url: str, public_key: str, secret_key: str, options: _SenderOptions) -> Exporter:
    from rag.telemetry.exporters import langfuse

    return langfuse(
        url, public_key=public_key, secret_key=secret_key, options=options.export_options()
    )


def _otlp(url: str, options: _SenderOptions) -> Exporter:
    from rag.telemetry.exporters import Exporter

    return Exporter(url, headers={}, options=options.export_options())


def _check_installed(*modules: str) -> None:
    """Checks here that modules are installed: only the process that sends imports them."""
    for module in modules:
        try:
            found = find_spec(module)
        except ModuleNotFoundError:  # not even its parent package
            found = None
        if found is None:
            raise ConfigError(
                f"Traces need the module {module!r}, which is not installed: run"
                " `pip install 'plumbline-rag[traces]'`."
            )


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]


def _traces_url(endpoint: str | None) -> str | None:
    """Returns the URL for traces: OpenTelemetry's endpoint is a base."""
    return f"{endpoint.rstrip('/')}/v1/traces" if endpoint else None
