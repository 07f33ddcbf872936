"""Rerankers on checkpoints and behind HTTP: real libraries, tiny weights, a real server."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from rag.errors import BusyError, ConfigError, RagError, UpstreamError
from rag.types import Chunk, Query, Scope
from retrieval.rerankers.cross_encoder import CrossEncoderReranker, Library
from retrieval.rerankers.http import Dialect, HttpReranker
from tests.fakes import make_chunk
from tests.servers import PATIENCE
from tests.tiny_bert import make_tiny_judge
from tests.tiny_llama import make_tiny_llama

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("one_loop")]

WORDS = ["the", "cat", "dog", "sat", "runs", "a"]
CHUNKS = [make_chunk(t, position=i) for i, t in enumerate(["the cat sat", "a dog runs", "cat"])]


def text_of(chunk: Chunk) -> str:
    return chunk.text


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with one score for each pair."""
    return make_tiny_judge(tmp_path_factory.mktemp("reranker"), WORDS, num_labels=1)


@pytest.mark.parametrize("library", ["sentence_transformers", "flag"])
async def test_a_checkpoint_scores_as_its_model_does(
    checkpoint: Path, scope: Scope, library: Library
) -> None:
    reranker = CrossEncoderReranker(str(checkpoint), library=library, device="cpu")
    try:
        query = Query(text="the cat", scope=scope)
        scores = await reranker.score(query, CHUNKS)
        assert scores.tolist() == pytest.approx(_logits(checkpoint, query.text), abs=1e-4)
        many = await asyncio.gather(*(reranker.score(query, CHUNKS[i:]) for i in range(3)))
        for first, some in enumerate(many):
            assert some.tolist() == pytest.approx(scores[first:].tolist(), abs=1e-4)
        assert (await reranker.score(query, [])).tolist() == []
    finally:
        reranker.close()


@pytest.fixture(scope="module")
def language_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of two layers with random weights, which FlagEmbedding scores by its "Yes"."""
    folder = make_tiny_llama(
        tmp_path_factory.mktemp("llm") / "model", vocabulary=400, texts=("Yes, the cat sat.",)
    )
    file = folder / "tokenizer_config.json"
    special = {"bos_token": "<|system|>", "pad_token": "<|end|>"}
    file.write_text(json.dumps(json.loads(file.read_text()) | special))
    return folder


async def test_a_language_model_scores_each_pair_alike_in_any_company(
    language_model: Path, scope: Scope
) -> None:
    reranker = CrossEncoderReranker(str(language_model), library="flag_llm", device="cpu")
    try:
        query = Query(text="the cat", scope=scope)
        scores = (await reranker.score(query, CHUNKS)).tolist()
        assert len(set(scores)) == len(CHUNKS)
        alone = [(await reranker.score(query, [chunk])).item() for chunk in CHUNKS]
        assert alone == pytest.approx(scores, abs=1e-2)
    finally:
        reranker.close()


def _logits(checkpoint: Path, question: str) -> list[float]:
    import torch

    hf: Any = import_module("transformers")
    tokenizer = hf.AutoTokenizer.from_pretrained(checkpoint)
    model = hf.AutoModelForSequenceClassification.from_pretrained(checkpoint).eval()
    with torch.inference_mode():
        return [
            float(model(**tokenizer(question, chunk.text, return_tensors="pt")).logits)
            for chunk in CHUNKS
        ]


@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_what_is_no_checkpoint_is_refused_at_start(
    checkpoint: Path, tmp_path: Path, damage: str
) -> None:
    folder = tmp_path / "model"
    if damage == "cut":
        folder.mkdir()
        for file in checkpoint.iterdir():
            data = file.read_bytes()
            (folder / file.name).write_bytes(data[:200] if file.suffix == ".safetensors" else data)
    with pytest.raises(ConfigError, match=r"cannot be loaded.*reranker\.model"):
        CrossEncoderReranker(str(folder), library="sentence_transformers", device="cpu")


@asynccontextmanager
async def server(answer: bytes, status: int = 200, *, hangs: bool = False) -> AsyncIterator[Any]:
    """Runs a server with one answer to every request; yields its URL and the requests."""
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length")
        )
        asked.append(head + await reader.readexactly(length))
        if hangs:
            await reader.read()  # until the client hangs up
        writer.write(
            b"HTTP/1.1 %d X\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s"
            % (status, len(answer), answer)
        )
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}/v1/rerank", asked
    listening.close()


async def score(
    url: str, scope: Scope, dialect: Dialect = "cohere", *, seconds: float = PATIENCE
) -> list[float]:
    reranker = HttpReranker(url, dialect=dialect, model="judge", api_key="s3cret", seconds=seconds)
    try:
        scores = await reranker.score(Query(text="the cat", scope=scope), CHUNKS)
        return [round(value, 4) for value in scores.tolist()]
    finally:
        await reranker.close()


def scored(*indexes: int, value: bytes = b"1") -> bytes:
    """Returns a server's answer in which each of these passages has this score."""
    results = (b'{"index": %d, "relevance_score": %s}' % (index, value) for index in indexes)
    return b'{"results": [%s]}' % b", ".join(results)


async def test_fields_that_nobody_asked_for_and_a_mark_of_byte_order_are_no_fault(
    scope: Scope,
) -> None:
    answer = b'\xef\xbb\xbf{"id": "x", "usage": null, "results": [' + b", ".join(
        b'{"document": {"text": "x"}, "relevance_score": %d, "index": %d.0}' % (index, index)
        for index in range(3)
    )
    async with server(answer + b"]}\r\n") as (url, _):
        assert await score(url, scope) == [0, 1, 2]


@pytest.mark.parametrize(
    ("dialect", "answer", "sent"),
    [
        (
            "cohere",
            b'{"results": [{"index": 2, "relevance_score": 0.5},'
            b' {"index": 0, "relevance_score": 1}, {"index": 1, "relevance_score": -2}]}',
            [b'"documents":["the cat sat","a dog runs","cat"]', b'"model":"judge"'],
        ),
        (
            "tei",
            b'[{"index": 2, "score": 0.5}, {"index": 0, "score": 1}, {"index": 1, "score": -2}]',
            [b'"texts":["the cat sat","a dog runs","cat"]', b'"query":"the cat"'],
        ),
    ],
)
async def test_a_server_is_asked_in_its_dialect_and_its_order_undone(
    scope: Scope, dialect: Dialect, answer: bytes, sent: list[bytes]
) -> None:
    async with server(answer) as (url, asked):
        assert await score(url, scope, dialect) == [1, -2, 0.5]
        assert b"Bearer s3cret" in asked[0]
        assert all(part in asked[0] for part in sent)


@pytest.mark.parametrize(
    ("status", "answer", "error", "said"),
    [
        (429, b"", BusyError, "answered 429: it has too much to do"),
        (500, b"", UpstreamError, "answered 500"),
        (401, b"who are you?", ConfigError, "reranker.api_key right"),
        (403, b"no such key: s3cret", ConfigError, "no such key: …"),
        (302, b"", ConfigError, "answered 302"),
        (200, b"", UpstreamError, "something else than scores"),
        (200, b'{"results": null}', UpstreamError, "something else than scores"),
        (200, b'{"results": [{"index": 1e999}]}', UpstreamError, "something else than scores"),
        (200, scored(0, 1, -1), UpstreamError, "something else than scores"),
        (200, scored(0, 1, 2, value=b"1e999"), UpstreamError, "0 of 3"),
        (200, scored(0, 1, 2, value=b"1e99"), UpstreamError, "0 of 3"),
        (200, scored(0, 1, 2, value=b"NaN"), UpstreamError, "0 of 3"),
        (200, scored(0, 1, 2, value=b'"' + 999 * b"s3cret" + b'"'), UpstreamError, "ValueError"),
        (200, b"<html>", UpstreamError, "something else than scores"),
        (200, b'{"results": 3}', UpstreamError, "something else than scores"),
        (200, b'{"results": [{"index": 9, "relevance_score": 1}]}', UpstreamError, "something"),
        (200, b'{"results": [{"index": 0, "relevance_score": 1}]}', UpstreamError, "1 of 3"),
    ],
)
async def test_what_a_server_may_do_wrong_is_told(
    scope: Scope, status: int, answer: bytes, error: type[RagError], said: str
) -> None:
    async with server(answer, status) as (url, _):
        with pytest.raises(error) as caught:
            await score(url, scope)
        told = caught.value.in_full()  # the longest form, for operators
        assert said in told
        assert "s3cret" not in told
        assert len(told) < 500


async def test_a_server_that_hangs_or_is_not_there_is_given_up(scope: Scope) -> None:
    async with server(b"", hangs=True) as (url, _):
        with pytest.raises(UpstreamError, match="does not answer"):
            await score(url, scope, seconds=0.3)
    with pytest.raises(UpstreamError, match="does not answer"):
        await score("http://127.0.0.1:1/rerank", scope)


async def test_a_kept_connection_that_the_server_closes_meanwhile_is_no_failure(
    scope: Scope,
) -> None:
    """A server may close a connection in the moment in which the next request is sent on it."""
    answer = scored(0, 1, 2)
    connections: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(0)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 X\r\nContent-Length: %d\r\n\r\n" % len(answer) + answer)
            await reader.readuntil(b"\r\n\r\n")  # the next request, which gets no answer
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/rerank"
    reranker = HttpReranker(url, dialect="cohere", model="judge", api_key=None, seconds=30)
    for _ in range(3):
        await reranker.score(Query(text="the cat", scope=scope), CHUNKS)
    await reranker.close()
    listening.close()
    assert len(connections) == 3
