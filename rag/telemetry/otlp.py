"""Sends spans to a receiver over OTLP/HTTP.

OpenTelemetry's exporter takes every response below 400 for success and does not read its body. Here
spans have arrived if the response is a 2xx, except those that its body reports as rejected
(https://opentelemetry.io/docs/specs/otlp/#otlphttp-response).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import requests
from google.protobuf import json_format
from google.protobuf.message import DecodeError
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult


class Receiver:
    """Sends spans to one address; not thread-safe."""

    def __init__(self, url: str, *, headers: Mapping[str, str], seconds: float) -> None:
        """Makes a sender; nothing is connected yet.

        Args:
            url: with its path: …/v1/traces.
            headers: sent with each request, for authorization.
            seconds: time limit of one request, including retries.
        """
        session = requests.Session()
        session.hooks["response"].append(self._check)
        self._exporter = OTLPSpanExporter(
            endpoint=url, headers=dict(headers), timeout=seconds, session=session
        )
        self._rejected = 0
        self.fault = ""
        """The reason why spans did not arrive; "" if the last response names none."""

    def send(self, spans: Sequence[ReadableSpan]) -> int:
        """Sends spans in one request, and again if the receiver is busy.

        Returns:
            The number of spans that did not arrive.
        """
        self._rejected, self.fault = 0, ""
        if self._exporter.export(spans) is not SpanExportResult.SUCCESS:
            return len(spans)
        return min(self._rejected, len(spans))

    def _check(self, response: requests.Response, *_: Any, **__: Any) -> None:
        """Checks a response before the exporter reads it.

        Raises:
            requests.RequestException: The exporter must count the response as a failure.
        """
        self.fault = f"it answers {response.status_code}"
        if not response.ok:  # the exporter knows which of these to send again
            return
        if response.status_code >= HTTPStatus.MULTIPLE_CHOICES:
            response.close()
            raise requests.RequestException(self.fault)
        if response.headers.get("Content-Type", "").startswith("text/html"):  # a log-in page
            response.close()
            self.fault = "it answers with a web page"
            raise requests.RequestException(self.fault)
        self._rejected = _rejected(response)
        self.fault = f"it rejects spans, {self._rejected} of one request" if self._rejected else ""


def _rejected(response: requests.Response) -> int:
    """Returns the number of spans that a receiver reports as rejected; 0 if it reports none."""
    message = ExportTraceServiceResponse()
    try:
        if response.headers.get("Content-Type", "").startswith("application/json"):
            json_format.Parse(response.content or b"{}", message, ignore_unknown_fields=True)
        else:
            message.ParseFromString(response.content)
    except (DecodeError, json_format.ParseError):
        return 0
    return max(0, message.partial_success.rejected_spans)
