#!/usr/bin/env bash
# Seen on 2026-11-29 with openai 3.54.0, httpx2 2.16.2, httpx 0.28.1,
# opentelemetry-sdk 1.45.0, opentelemetry-instrumentation-httpx 0.66b0, Python 3.11.
#
# One would expect: openai sends its requests by httpx, as its versions 1 and 2 do. So the cause of an
# APIConnectionError is an httpx.HTTPError, and OpenTelemetry's instrumentation of httpx makes a span
# of each request and adds `traceparent` to it.
# What happens: version 3 sends by httpx2, a package of its own. Its exceptions are no subclasses of
# httpx's. With httpx instrumented, requests of openai have no span and no `traceparent`; nothing warns.
# Output seen:
#   httpx: spans 1, traceparent True
#   openai: spans 0, traceparent False
#   cause of APIConnectionError: httpx2 ConnectError, an httpx.HTTPError: False
# Why it matters: an upgrade takes the model's spans out of traces, and retries that look for httpx's
# exceptions no longer happen.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet openai==3.54.0 httpx2==2.16.2 httpx==0.28.1 \
    opentelemetry-sdk==1.45.0 opentelemetry-instrumentation-httpx==0.66b0
"$folder/venv/bin/python" - <<'PYTHON' || { echo "It has changed."; exit 1; }
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import openai
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

seen = []
ANSWER = {
    "id": "c", "object": "chat.completion", "created": 1, "model": "m",
    "choices": [
        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Yes."}}
    ],
}


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        seen.append("traceparent" in self.headers)
        body = json.dumps(ANSWER).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = HTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_address[1]}/v1"
exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
HTTPXClientInstrumentor().instrument(tracer_provider=provider)

figures = {}
httpx.post(f"{url}/x", json={}, trust_env=False)
figures["httpx"] = (len(exporter.get_finished_spans()), seen[-1])
exporter.clear()
client = openai.OpenAI(base_url=url, api_key="none", max_retries=0)
client.chat.completions.create(model="m", messages=[{"role": "user", "content": "Yes?"}])
figures["openai"] = (len(exporter.get_finished_spans()), seen[-1])
for name, (spans, has_parent) in figures.items():
    print(f"{name}: spans {spans}, traceparent {has_parent}")

server.shutdown()
server.server_close()
try:
    client.chat.completions.create(model="m", messages=[{"role": "user", "content": "Yes?"}])
except openai.APIConnectionError as error:
    cause = error.__cause__
is_httpx = isinstance(cause, httpx.HTTPError)
package = type(cause).__module__.partition(".")[0]
print(f"cause of APIConnectionError: {package} {type(cause).__name__}, an httpx.HTTPError: {is_httpx}")
assert figures == {"httpx": (1, True), "openai": (0, False)}
assert (package, is_httpx) == ("httpx2", False)
PYTHON
