"""Tokens of answers that fail or are abandoned are counted as far as they were written."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from generation.models.counted_model import CountedModel
from generation.models.openai import OpenAIModel
from rag.types import Message, Piece, Sampling, Usage
from tests.model_server import (
    PATIENCE,
    ModelServer,
    Script,
    chunk,
    model_server,
    says,
    sends,
    silent,
)
from tests.servers import Server, serving, submit, wait_for

QUESTION = "What did James Watt patent in 1769?"
FACT = "In 1769 James Watt patented an engine with a separate condenser."
CONFIG = """
[generator]
kind = "openai"
base_url = "{url}/v1"
model = "tiny"
threshold = 0
input_price = 1000000.0
output_price = 1000000.0
"""
WORDS = [chunk(" word") for _ in range(5)]
CHAT = (Message(role="user", content="Why?"),)
QUERY = {"query": QUESTION}
COMPLETION = {"model": "default", "messages": [{"role": "user", "content": QUESTION}]}
TOKENS = "gen_ai_client_token_usage_total"


@pytest.fixture(scope="module")
def model() -> Iterator[ModelServer]:
    with model_server(says(f"{FACT} [1]")) as running:
        yield running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, model: ModelServer) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("usage")
    (folder / "rag.toml").write_text(CONFIG.format(url=model.url))
    with serving(folder / "data") as running, running.client() as http:
        submit(http, {"id": "watt", "title": "Watt", "text": FACT})
        yield running


@pytest.fixture
def http(server: Server) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


async def pieces_of(server: ModelServer, script: Script, *, most: int) -> list[Piece]:
    """Returns up to `most` pieces of a counted model's stream, then closes the stream."""
    server.script = script
    inner = OpenAIModel(
        base_url=server.base_url, api_key=None, model="tiny", context_tokens=99, seconds=PATIENCE
    )
    stream = CountedModel(inner).stream(CHAT, sampling=Sampling(max_tokens=50))
    found = []
    async for piece in stream:
        found.append(piece)
        if len(found) == most:
            break
    await stream.aclose()
    await inner.close()
    return found


@pytest.mark.anyio
class TestCounting:
    async def test_each_piece_tells_the_tokens_so_far(self, model: ModelServer) -> None:
        found = await pieces_of(model, sends(*WORDS, then=silent), most=3)
        usages = [piece.usage for piece in found]
        assert [u and u.output_tokens for u in usages] == [1, 2, 3]
        assert all(u and u.estimated and u.input_tokens == 10 for u in usages)

    async def test_several_tokens_in_a_piece_count_as_such(self, model: ModelServer) -> None:
        script = sends(chunk("eight tokens or so in one single piece.."), then=silent)
        (piece,) = await pieces_of(model, script, most=1)
        assert piece.usage == Usage(input_tokens=10, output_tokens=8, estimated=True)

    async def test_what_the_server_tells_counts_in_the_end(self, model: ModelServer) -> None:
        *_, last = await pieces_of(model, says("Be", "cause."), most=9)
        assert last.usage == Usage(input_tokens=70, output_tokens=7)

    async def test_the_estimate_counts_where_a_server_tells_nothing(
        self, model: ModelServer
    ) -> None:
        script = sends(*WORDS, chunk(end="stop"), b"data: [DONE]\n\n")
        *_, last = await pieces_of(model, script, most=9)
        assert last.finish_reason == "stop"
        assert last.usage == Usage(input_tokens=10, output_tokens=5, estimated=True)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("path", "body"), [("query", QUERY), ("chat/completions", COMPLETION)])
def test_a_client_that_hangs_up_is_charged_for_what_was_written(
    http: httpx.Client, model: ModelServer, path: str, body: dict[str, Any], stream: bool
) -> None:
    before = spent(http)
    model.script = sends(*WORDS, then=silent)
    with asked(http, path, body | {"stream": stream}):
        wait_for(lambda: spent(http)["first tokens"] > before["first tokens"])
        assert spent(http)["cost"] == before["cost"]
    now = wait_for(lambda: ended(http, before))
    assert 1 <= now["output"] - before["output"] <= len(WORDS)
    assert now["input"] - before["input"] > len(QUESTION.split())
    tokens = now["output"] + now["input"] - before["output"] - before["input"]
    assert now["cost"] - before["cost"] == pytest.approx(tokens)  # 1 for each


def test_many_that_hang_up_have_as_many_first_tokens_as_charges(
    http: httpx.Client, model: ModelServer
) -> None:
    model.script = sends(*WORDS, then=silent)
    prompts = {hung_up(http) for _ in range(6)}
    assert len(prompts) == 1
    assert prompts.pop() > 0


def hung_up(http: httpx.Client) -> float:
    """Hangs up during an answer; returns the input tokens charged for the question."""
    before = spent(http)
    with asked(http, "query", QUERY | {"stream": True}):
        wait_for(lambda: spent(http)["first tokens"] > before["first tokens"])
    return wait_for(lambda: ended(http, before))["input"] - before["input"]


@pytest.mark.parametrize("end", [silent, None])
def test_an_answer_that_fails_on_the_way_is_charged(
    http: httpx.Client, model: ModelServer, end: Script | None
) -> None:
    """The answer is not the requested JSON, or the server ends it early."""
    model.script = says("no JSON at all") if end else sends(chunk("In 1769 "), then=lambda _: None)
    before = spent(http)
    body = QUERY | ({"response_format": {"type": "json_object"}} if end else {})
    assert http.post("/v1/query", json=body).status_code == 503
    now = spent(http)
    assert now["output"] - before["output"] == (7 if end else 1)
    assert now["cost"] > before["cost"]


def test_an_estimate_counts_where_the_server_tells_no_usage(
    http: httpx.Client, model: ModelServer
) -> None:
    model.script = sends(chunk(f"{FACT} [1]"), chunk(end="stop"), b"data: [DONE]\n\n")
    usage = http.post("/v1/query", json=QUERY).json()["usage"]
    assert usage["output_tokens"] == len(f"{FACT} [1]") // 5
    assert usage["cost"] > usage["output_tokens"]


def asked(http: httpx.Client, path: str, body: dict[str, Any]) -> socket.socket:
    """Sends a request and returns the connection; closing it hangs up."""
    connection = socket.create_connection((http.base_url.host, http.base_url.port or 80), PATIENCE)
    data = json.dumps(body).encode()
    head = f"POST /v1/{path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    connection.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
    return connection


def spent(http: httpx.Client) -> dict[str, float]:
    """Returns the service's counters of its language model, by name."""
    text = http.get("/metrics").text
    names = {
        "input": rf'{TOKENS}\{{gen_ai_token_type="input",tenant=""\}}',
        "output": rf'{TOKENS}\{{gen_ai_token_type="output",tenant=""\}}',
        "cost": r'plumbline_cost_total\{purpose="answer",tenant=""\}',
        "first tokens": r"gen_ai_server_time_to_first_token_seconds_count\{.*\}",
        "under way": r"plumbline_questions_under_way",
    }
    found = {name: re.search(rf"^{line} (\S+)$", text, re.M) for name, line in names.items()}
    return {name: float(match[1]) if match else 0.0 for name, match in found.items()}


def ended(http: httpx.Client, before: dict[str, float]) -> dict[str, float] | None:
    """Returns the counters once no question is running and the cost has grown; else None."""
    now = spent(http)
    return now if now["cost"] > before["cost"] and not now["under way"] else None
