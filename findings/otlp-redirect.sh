#!/usr/bin/env bash
# 2026-11-29: opentelemetry-exporter-otlp-proto-http 1.45.2, opentelemetry-sdk 1.45.2 (Python 3.11).
#
# The exporter of spans over OTLP/HTTP, and a receiver that answers with a redirect, or with 200 and a body that says
# that it rejected the span (`partial_success.rejected_spans`, https://opentelemetry.io/docs/specs/otlp/#otlphttp-response).
#
# Expected: SpanExportResult.FAILURE after a redirect, which it does not follow: the spans went nowhere. After a
#           rejection a warning at least, which is what OTLP's specification says a client should give.
# Seen:     SpanExportResult.SUCCESS for each of 301, 302, 307 and 308, nobody being asked where they lead, and for
#           the rejected span; nothing is logged.
#
# Its client takes each status from 200 to 399 for success and reads no body.
#
# Why it matters: a collector that moved behind https answers 301 or 308 to http. From then on all traces are lost,
# and every counter of exported spans goes on as before.
#
# Output:
#   200: SUCCESS
#   301: SUCCESS
#   302: SUCCESS
#   307: SUCCESS
#   308: SUCCESS
#   404: FAILURE
#   asked: ['/200', '/301', '/302', '/307', '/308', '/404']; logged: ERROR:[…]:Failed to export spans batch code: 404
#
# Exits 0 while this is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet \
  opentelemetry-exporter-otlp-proto-http==1.45.2 opentelemetry-sdk==1.45.2 requests==2.34.2
"$folder/venv/bin/python" - <<'PYTHON'
import io
import logging
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)
from opentelemetry.sdk.trace import TracerProvider

logged = io.StringIO()
logging.basicConfig(level=logging.WARNING, stream=logged)
asked = []


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        asked.append(self.path)
        status = int(self.path.strip("/"))
        partial = ExportTracePartialSuccess(rejected_spans=1, error_message="too old")
        body = ExportTraceServiceResponse(partial_success=partial).SerializeToString()
        self.send_response(status)
        if status >= 300:
            self.send_header("Location", "/200")
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
span = TracerProvider(shutdown_on_exit=False).get_tracer("t").start_span("s")
span.end()
outcomes = {}
for status in (200, 301, 302, 307, 308, 404):
    exporter = OTLPSpanExporter(endpoint=f"http://127.0.0.1:{server.server_port}/{status}", timeout=5)
    outcomes[status] = exporter.export([span]).name
    print(f"{status}: {outcomes[status]}")
print(f"asked: {asked}; logged: {logged.getvalue().strip() or 'nothing'}")
expected = dict.fromkeys((200, 301, 302, 307, 308), "SUCCESS") | {404: "FAILURE"}
quiet = logged.getvalue().count("\n") == 1  # of the 404 alone
sys.exit(not (outcomes == expected and len(asked) == 6 and quiet))
PYTHON
