"""`rag serve` with vLLM in its process: ready, answering, and when the engine is killed."""

from __future__ import annotations

import json
import os
import signal
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import httpx
import psutil
import pytest

from tests.servers import RAG, Server, serving, submit, wait_for
from tests.tiny_llama import make_tiny_llama

pytestmark = pytest.mark.skipif(
    find_spec("vllm") is None, reason="vllm is not installed: docs/vllm.md"
)

QUESTION = {"query": "What did James Watt patent in 1769?"}
FACT = "In 1769 James Watt patented an engine with a separate condenser."
CONFIG = """
[generator]
kind = "vllm"
model = "{model}"
max_tokens = 64
[generator.engine]
dtype = "float32"
enforce_eager = true
kv_cache_memory_bytes = 134217728
structured_outputs_config = {{ backend = "xgrammar", disable_any_whitespace = true }}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("vllm")
    model = make_tiny_llama(folder / "tiny-llama", context=4096)
    (folder / "rag.toml").write_text(CONFIG.format(model=model))
    with tempfile.TemporaryDirectory() as temporary:
        with serving(folder / "data", env={"TMPDIR": temporary}, command=RAG) as running:
            with running.client() as http:
                submit(http, {"id": "watt", "title": "Watt", "text": FACT})
            yield running
        left = [path for path in Path(temporary).rglob("*") if path.is_socket()]
        assert not left, "engines left their sockets behind"


def ask(server: Server) -> httpx.Response:
    with server.client() as http:
        return http.post("/v1/query", json=QUESTION)


def test_the_engine_answers_and_says_what_it_took(server: Server) -> None:
    answer = ask(server).json()
    assert not answer["abstained"]
    assert answer["finish_reason"] == "length"
    assert answer["usage"]["output_tokens"] == 64
    assert answer["usage"]["input_tokens"] > 100
    assert answer["degraded"] == []
    assert ask(server).json()["answer"] == answer["answer"]


def test_a_clients_chat_completion_is_the_engines(server: Server) -> None:
    body = {
        "model": "default",
        "messages": [{"role": "user", "content": QUESTION["query"]}],
        "stream": True,
    }
    with server.client() as http:
        streamed = http.post("/v1/chat/completions", json=body)
    assert streamed.text.rstrip().endswith("data: [DONE]")
    assert streamed.text.count("chat.completion.chunk") > 2


def test_an_answer_fits_the_schema_it_is_asked_for(server: Server) -> None:
    schema = {
        "type": "object",
        "properties": {"kind": {"enum": ["engine", "garden"]}, "old": {"type": "boolean"}},
        "required": ["kind", "old"],
        "additionalProperties": False,
    }
    body = QUESTION | {
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    }
    with server.client() as http:
        answer = http.post("/v1/query", json=body).json()
        written = json.loads(answer.get("answer") or pytest.fail(str(answer)))
        assert written["kind"] in ("engine", "garden")
        assert written["old"] in (True, False)
        schema["type"] = "nonsense"
        refused = http.post("/v1/query", json=body)
    assert refused.status_code == 422, refused.text


def test_a_request_says_when_it_ends(server: Server) -> None:
    with server.client() as http:
        answer = http.post("/v1/query", json=QUESTION | {"max_tokens": 3}).json()
    assert answer["usage"]["output_tokens"] == 3


def test_what_does_not_reach_the_threshold_does_not_reach_the_engine(server: Server) -> None:
    with server.client() as http:
        answer = http.post("/v1/query", json={"query": "How do I bake sourdough?"}).json()
    assert answer["abstained"]
    assert answer["usage"]["output_tokens"] == 0


def test_while_a_killed_engine_starts_again_questions_get_a_503_and_then_answers(
    server: Server,
) -> None:
    process = psutil.Process(server.process.pid)
    (core,) = [p for p in process.children(recursive=True) if "EngineCore" in p.name()]
    os.kill(core.pid, signal.SIGKILL)
    refused = wait_for(lambda: r if (r := ask(server)).status_code != 200 else None)
    assert refused.status_code == 503
    assert refused.json()["code"] == "engine_died"
    assert refused.headers["Retry-After"]
    with server.client() as http:
        assert http.post("/v1/search", json=QUESTION).status_code == 200
    wait_for(lambda: ask(server).status_code == 200)


def test_a_model_that_is_not_there_is_told_and_the_server_ends(tmp_path: Path) -> None:
    (tmp_path / "rag.toml").write_text(CONFIG.format(model=tmp_path / "nowhere"))
    with (
        pytest.raises(AssertionError, match="no such folder"),
        serving(tmp_path / "data", command=RAG),
    ):
        pass
