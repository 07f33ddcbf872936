"""Where traces go."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import rag
from rag.errors import ConfigError
from rag.settings import TraceSettings
from rag.telemetry import Send, Trace

if TYPE_CHECKING:
    from rag.tracing import Sending, TraceSender


def open_traces(settings: TraceSettings, stack: contextlib.AsyncExitStack) -> Send:
    """What takes traces with their tenants, closed with the stack; without a place to go, nothing.

    Raises:
        ConfigError: OpenTelemetry is not installed, or a key or a pattern is wrong.
    """
    senders = list(_senders(settings))
    for sender in senders:
        stack.push_async_callback(asyncio.to_thread, sender.close)

    def send(trace: Trace, tenant: str) -> None:
        for sender in senders:
            sender.send(trace, tenant)

    return send


def _senders(settings: TraceSettings) -> Iterator[TraceSender]:
    environment = os.environ.get  # the names that Langfuse's and OpenTelemetry's own clients read
    host = settings.langfuse_url or environment("LANGFUSE_BASE_URL") or environment("LANGFUSE_HOST")
    public = settings.public_key or environment("LANGFUSE_PUBLIC_KEY")
    secret = (
        settings.secret_key.get_secret_value()
        if settings.secret_key
        else environment("LANGFUSE_SECRET_KEY")
    )
    otlp = settings.otlp_url or _traces_url(environment("OTEL_EXPORTER_OTLP_ENDPOINT"))
    if not otlp and not (public and secret):
        if host and (settings.langfuse_url or public or secret):
            raise ConfigError(
                "Traces go to Langfuse with both of its keys: set traces.public_key and"
                " traces.secret_key, or LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY."
            )
        return
    try:
        from rag.tracing import TraceSender, langfuse
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"Traces need the module {error.name!r}, which is not installed: run"
            " `pip install 'plumbline-rag[traces]'`."
        ) from None
    sending = _sending(settings)
    if public and secret:
        url = host or "https://cloud.langfuse.com"
        yield langfuse(url, public_key=public, secret_key=secret, sending=sending)
    if otlp:
        yield TraceSender(otlp, headers={}, sending=sending)


def _traces_url(endpoint: str | None) -> str | None:
    """As OpenTelemetry has it: the endpoint is a base."""
    return f"{endpoint.rstrip('/')}/v1/traces" if endpoint else None


def _sending(settings: TraceSettings) -> Sending:
    from rag.masking import Masker
    from rag.tracing import Sending

    return Sending(
        capture=settings.capture,
        masker=Masker(settings.mask),
        environment=settings.environment,
        release=settings.release or rag.__version__,
    )
