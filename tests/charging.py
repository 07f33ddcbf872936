"""Parts of tests of limits and costs: keys of a server, and a language model that counts."""

from __future__ import annotations

import contextlib
import json
import random
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import httpx

from tests.model_server import chunk, cut, sends, silent
from tests.servers import NO_CERTIFICATES, PATIENCE, Server, rag

FACT = "In 1769 James Watt patented an engine with a separate condenser."
QUESTION = "What did James Watt patent in 1769?"
DOCUMENT = {"id": "watt", "title": "Watt", "text": FACT}
MODEL = """
kind = "openai"
base_url = "{url}/v1"
model = "{name}"
threshold = 0
max_tokens = 64
input_price = 1000000.0
output_price = 1000000.0
"""
WORDS = FACT.split(" ")


def key(data: Path, name: str, *arguments: str) -> tuple[str, str]:
    """Makes a key on the host; returns its id and the key."""
    made = rag("keys", "create", name, "--json", *arguments, data=data)
    assert made.returncode == 0, made.stderr
    body: dict[str, Any] = json.loads(made.stdout)
    return body["id"], body["key"]


@contextlib.contextmanager
def client(server: Server, secret: str) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {secret}"}
    with httpx.Client(
        base_url=server.url, timeout=PATIENCE, headers=headers, verify=NO_CERTIFICATES
    ) as http:
        yield http


@dataclass
class Provider:
    """A language model's server that counts what it reports, by trace and model.

    It reports its usage with each piece of text, as some servers do: what an answer has used is
    then known wherever it ends. It answers as the question says: `hang up` makes it fall silent
    after a few words, `fail` refuse, `break` close the connection half-way.
    """

    input_tokens: Counter[tuple[str, str]] = field(default_factory=Counter)
    output_tokens: Counter[tuple[str, str]] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, handler: BaseHTTPRequestHandler) -> None:
        request = handler.asked  # type: ignore[attr-defined]
        text = request["messages"][-1]["content"]
        model, trace = request["model"], handler.headers["traceparent"].split("-")[1]
        if model == "first" and "fail" in text:
            handler.send_error(500)
            return
        prompt = 100 + len(text) % 50
        stopped = 4 if "hang up" in text or "break" in text else len(WORDS) + 1
        words = [f"{word} " for word in WORDS] + ["[1]"]
        events = [
            chunk_with_usage(word, prompt, n) for n, word in enumerate(words[:stopped], start=1)
        ]
        with self.lock:
            self.input_tokens[trace, model] += prompt
            self.output_tokens[trace, model] += stopped
        if stopped <= len(WORDS):
            sends(*events, then=silent if "hang up" in text else cut)(handler)
            return
        end = chunk_with_usage("", prompt, stopped, end="stop")
        sends(*events, end, b"data: [DONE]\n\n")(handler)


def chunk_with_usage(text: str, prompt: int, written: int, *, end: str | None = None) -> bytes:
    event = json.loads(chunk(text, end=end).removeprefix(b"data: "))
    event["usage"] = {
        "prompt_tokens": prompt,
        "completion_tokens": written,
        "total_tokens": prompt + written,
        "prompt_tokens_details": {"cached_tokens": prompt // 2},
    }
    return b"data: " + json.dumps(event).encode() + b"\n\n"


def question(kind: str, dice: random.Random) -> str:
    """Returns a question that the provider treats as `kind` says."""
    return f"{QUESTION} ({kind}{' please' * dice.randrange(30)})"
