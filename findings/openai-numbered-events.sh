#!/usr/bin/env bash
# 2026-11-29: openai 3.54.0 (Python 3.11).
#
# A stream of server-sent events whose events are numbered (`id: 1`), with a comment between two of them: both are
# valid (https://html.spec.whatwg.org/multipage/server-sent-events.html). The standard says that a block of lines
# without `data:` makes no event.
#
# Expected: two chunks, "Hello" and " world".
# Seen:     after "Hello" the client raises json.decoder.JSONDecodeError, "Expecting value: line 1 column 1 (char 0)".
#           Without the numbers it gives both. A `retry:` or an `event: ping` alone do the same, numbered or not.
#
# Its decoder keeps the last id, as the standard asks, and takes its being there for a reason to make an event of an
# empty block, whose data are "". The error is no openai.OpenAIError, so what handles those does not see it.
#
# Why it matters: servers and proxies send comments and pings to keep connections open while a model thinks, and an
# answer that took a minute ends half-way.
#
# Output:
#   no numbers, a comment: 'Hello world', no error
#   numbers, no comment: 'Hello world', no error
#   numbers, a comment: 'Hello', JSONDecodeError, an OpenAIError: False
#   a ping alone: 'Hello', JSONDecodeError, an OpenAIError: False
#   a retry alone: 'Hello', JSONDecodeError, an OpenAIError: False
#
# Exits 0 while this is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet openai==3.54.0
"$folder/venv/bin/python" - <<'PYTHON'
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import openai


def event(text):
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    told = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return f"data: {json.dumps(told)}\n\n"


STREAMS = {
    "no numbers, a comment": event("Hello") + ": still here\n\n" + event(" world"),
    "numbers, no comment": "id: 1\n" + event("Hello") + "id: 2\n" + event(" world"),
    "numbers, a comment": "id: 1\n" + event("Hello") + ": still here\n\n" + "id: 2\n" + event(" world"),
    "a ping alone": event("Hello") + "event: ping\n\n" + event(" world"),
    "a retry alone": event("Hello") + "retry: 3000\n\n" + event(" world"),
}


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        name = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["model"]
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self.wfile.write((STREAMS[name] + "data: [DONE]\n\n").encode())

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
client = openai.OpenAI(base_url=f"http://127.0.0.1:{server.server_port}/v1", api_key="none", max_retries=0)
outcomes = {}
for name in STREAMS:
    text, error = "", "no error"
    try:
        messages = [{"role": "user", "content": "Hi"}]
        for chunk in client.chat.completions.create(model=name, messages=messages, stream=True):
            text += chunk.choices[0].delta.content
    except json.JSONDecodeError as raised:
        error = f"{type(raised).__name__}, an OpenAIError: {isinstance(raised, openai.OpenAIError)}"
    outcomes[name] = (text, error)
    print(f"{name}: {text!r}, {error}")
broken = ("Hello", "JSONDecodeError, an OpenAIError: False")
whole = ("Hello world", "no error")
expected = dict(zip(STREAMS, (whole, whole, broken, broken, broken)))
sys.exit(outcomes != expected)
PYTHON
