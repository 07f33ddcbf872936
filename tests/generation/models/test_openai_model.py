"""The chat model on a server, against a real server that follows a script, faults included."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any

import pytest
from tokenizers import Tokenizer

from generation.models.openai import OpenAIModel
from rag.errors import BusyError, InputError, UpstreamError
from rag.types import Message, Piece, Sampling, Usage
from retrieval.embedders.loading import minilm_folder
from tests.model_server import (
    PATIENCE,
    USAGE,
    ModelServer,
    Script,
    chunk,
    cut,
    goes_on,
    model_server,
    refuses,
    says,
    sends,
    silent,
)
from tests.ports import free_port

pytestmark = pytest.mark.anyio
KEY = "sk-hunter2"
CHAT = (Message(role="system", content="Be brief."), Message(role="user", content="Why?"))
DONE = b"data: [DONE]\n\n"
ENDLESS = b'data: {"choices": [], "usage": {"prompt_tokens": 1e999, "completion_tokens": 1}}\n\n'


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with model_server(says("Be", "cause.")) as running:
        yield running


@asynccontextmanager
async def connected(url: str, *, seconds: float = PATIENCE) -> AsyncIterator[OpenAIModel]:
    model = OpenAIModel(
        base_url=url, api_key=KEY, model="tiny", context_tokens=100, seconds=seconds
    )
    try:
        yield model
    finally:
        await model.close()


async def ask(server: ModelServer, script: Script | None = None, **options: Any) -> list[Piece]:
    server.script = script or server.script
    seconds = options.pop("seconds", PATIENCE)
    async with (
        connected(server.base_url, seconds=seconds) as model,
        aclosing(model.stream(CHAT, sampling=Sampling(max_tokens=9, **options))) as pieces,
    ):
        return [piece async for piece in pieces]


async def test_an_answer_comes_in_pieces_with_its_end_and_usage(server: ModelServer) -> None:
    assert await ask(server) == [
        Piece(text="Be"),
        Piece(text="cause."),
        Piece(finish_reason="stop", usage=Usage(input_tokens=70, output_tokens=7)),
    ]
    (request,) = server.requests
    assert request == {
        "model": "tiny",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Why?"},
        ],
        "max_tokens": 9,
        "temperature": 0.0,
        "top_p": 1.0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"


async def test_sampling_goes_to_the_server(server: ModelServer) -> None:
    schema = {"type": "object"}
    await ask(server, temperature=0.5, top_p=0.9, seed=7, stop=("\n",), schema=schema)
    (request,) = server.requests
    assert (request["temperature"], request["top_p"], request["seed"]) == (0.5, 0.9, 7)
    assert request["stop"] == ["\n"]
    assert request["response_format"]["type"] == "json_schema"
    assert request["response_format"]["json_schema"]["schema"] == schema


async def test_half_a_character_can_be_sent_on(server: ModelServer) -> None:
    pieces = await ask(server, says("a \ud83d", "\ude00 b"))
    assert "".join(piece.text for piece in pieces).encode().decode() == "a ?? b"


async def test_counts_that_are_none_are_not_subtracted(server: ModelServer) -> None:
    unknown = {"prompt_tokens": -1, "completion_tokens": 7, "total_tokens": -1}
    end = [chunk("Be"), chunk(end="stop"), chunk(usage=unknown), DONE]
    *_, last = await ask(server, sends(*end))
    assert last.usage == Usage(input_tokens=0, output_tokens=7)


async def test_an_answer_that_hits_its_limit_says_so(server: ModelServer) -> None:
    assert (await ask(server, says("Be", end="length")))[-1].finish_reason == "length"


async def test_nothing_of_the_environment_goes_to_the_server(
    server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_ADMIN_KEY"):
        monkeypatch.setenv(name, "somebody-elses")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    model = OpenAIModel(
        base_url=server.base_url, api_key=None, model="tiny", context_tokens=100, seconds=PATIENCE
    )
    async for _ in model.stream(CHAT, sampling=Sampling(max_tokens=9)):
        pass
    await model.close()
    assert "somebody-elses" not in str(server.headers)


FAULTS: dict[str, tuple[Script, type[Exception], str]] = {
    "401": (refuses(401, f"Incorrect API key provided: {KEY}"), UpstreamError, "generator.api_key"),
    "403": (refuses(403, f"{KEY} may not"), UpstreamError, "generator.api_key"),
    "404": (refuses(404, "no model tiny"), UpstreamError, "generator.model"),
    "429": (refuses(429, "slow down"), BusyError, "too many requests"),
    "no money": (refuses(429, "pay", code="insufficient_quota"), UpstreamError, "pay"),
    "500": (refuses(500, f"it broke with {KEY}"), UpstreamError, "it broke"),
    "too long, OpenAI": (
        refuses(400, "Too much.", code="context_length_exceeded"),
        InputError,
        "generator.context_tokens",
    ),
    "too long, vLLM": (
        refuses(400, "This model's maximum context length is 64 tokens."),
        InputError,
        "maximum context length is 64",
    ),
    "too long, llama.cpp": (
        refuses(400, "the request exceeds the available context size"),
        InputError,
        "generator.context_tokens",
    ),
    "500 that took too long": (
        refuses(500, "the context window took too long"),
        UpstreamError,
        "failed",
    ),
    "400": (refuses(400, "temperature is odd"), UpstreamError, "temperature is odd"),
    "no end": (sends(chunk("Be"), DONE), UpstreamError, "half-way"),
    "no end and no [DONE]": (sends(chunk("Be")), UpstreamError, "half-way"),
    "cut": (sends(chunk("Be"), then=cut), UpstreamError, "broke off"),
    "cut amid an event": (sends(chunk("Be")[:20], then=cut), UpstreamError, "broke off"),
    "no JSON": (sends(chunk("Be"), b"data: {oops\n\n"), UpstreamError, "something else"),
    "no UTF-8": (sends(b"data: \xff\xfe\n\n"), UpstreamError, "something else"),
    "another shape": (
        sends(b'data: {"choices": [{"delta": 3}]}\n\n'),
        UpstreamError,
        "something else",
    ),
    "no object": (sends(b'data: "Be"\n\n'), UpstreamError, "something else"),
    "text that is none": (
        sends(b'data: {"choices": [{"index": 0, "delta": {"content": 3}}]}\n\n'),
        UpstreamError,
        "something else",
    ),
    "a count that is none": (
        sends(chunk("Be"), chunk(end="stop"), ENDLESS),
        UpstreamError,
        "something else",
    ),
    "an error amid the stream": (
        sends(chunk("Be"), b'data: {"error": {"message": "out of memory"}}\n\n'),
        UpstreamError,
        "out of memory",
    ),
    "an error that is a text": (
        sends(chunk("Be"), b'data: {"error": "out of memory"}\n\n'),
        UpstreamError,
        "out of memory",
    ),
    "an error event": (
        sends(chunk("Be"), b'id: 2\nevent: error\ndata: {"message": "out of memory"}\n\n'),
        UpstreamError,
        "out of memory",
    ),
    "an error event that is a text": (
        sends(b"event: error\ndata: out of memory,\ndata: of %s\n\n" % KEY.encode()),
        UpstreamError,
        "out of memory, of",
    ),
    "an error object alone": (
        sends(b'data: {"object": "error", "message": "out of memory", "code": 500}\n\n'),
        UpstreamError,
        "out of memory",
    ),
    "an error event that is too long a prompt": (
        sends(b'event: error\ndata: {"code": "context_length_exceeded", "message": "No."}\n\n'),
        InputError,
        "generator.context_tokens",
    ),
    "an error event without words": (sends(b"event: error\ndata: {}\n\n"), UpstreamError, "{}"),
    "filtered": (says("Be", end="content_filter"), UpstreamError, "content_filter"),
    "an answer without end": (
        sends(chunk("word " * 300), then=goes_on),
        UpstreamError,
        "past 9 tokens",
    ),
    "a web page": (
        sends(b"<html><body>Hello</body></html>"),
        UpstreamError,
        "half-way",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_is_told_in_words_without_the_key(server: ModelServer, fault: str) -> None:
    script, kind, words = FAULTS[fault]
    with pytest.raises(kind, match=words) as caught:
        await ask(server, script)
    assert type(caught.value) is kind
    assert KEY not in str(caught.value)
    assert "tiny" in str(caught.value)
    assert len(server.requests) == 1, "nothing is tried twice"


ANSWER = [chunk("Be"), chunk("cause."), chunk(end="stop"), chunk(usage=USAGE), DONE]
STREAMS: dict[str, list[bytes]] = {
    name: [part for n, event in enumerate(ANSWER) for part in (b"id: %d\n" % n + event, between)]
    for name, between in {
        "numbers": b"\n",
        "a comment": b": still here\n\n",
        "a ping": b"event: ping\n\n",
        "a ping with nothing in it": b"event: ping\ndata:\n\n",
        "a time to wait": b"retry: 3000\n\n",
        "no data": b"data:\n\n",
        "a number alone": b"id: x\n\n",
        "an unknown field": b"colour: blue\n\n",
        "blank lines": b"\n\n\n",
    }.items()
} | {
    "carriage returns": [event.replace(b"\n", b"\r") for event in ANSWER],
    "both ends of lines": [event.replace(b"\n", b"\r\n") for event in ANSWER],
    "byte by byte": [bytes([byte]) for byte in b"\xef\xbb\xbf" + b"".join(ANSWER)],
    "data over lines": [event.replace(b', "', b',\ndata: "') for event in ANSWER],
    "named events": [b"event: message\n" + event for event in ANSWER],
    "no space": [event.replace(b"data: ", b"data:") for event in ANSWER],
    "no error": [event.replace(b'"id"', b'"error": null, "id"') for event in ANSWER],
    "no [DONE]": ANSWER[:-1],
}


@pytest.mark.parametrize("name", STREAMS)
async def test_events_may_come_in_every_legal_form(server: ModelServer, name: str) -> None:
    assert await ask(server, sends(*STREAMS[name])) == [
        Piece(text="Be"),
        Piece(text="cause."),
        Piece(finish_reason="stop", usage=Usage(input_tokens=70, output_tokens=7)),
    ]


@pytest.mark.parametrize("part", [b"x" * 99, b"data: x\n" * 12, b"data: x\r" * 12])
async def test_an_event_that_does_not_end_is_given_up(
    server: ModelServer, monkeypatch: pytest.MonkeyPatch, part: bytes
) -> None:
    monkeypatch.setattr("generation.models.openai_events.MAX_EVENT", 1000)
    script = sends(chunk("Be"), *[part] * 100, then=silent)
    with pytest.raises(UpstreamError, match="something else"):
        await ask(server, script)


@pytest.mark.parametrize("status", [400, 422])
async def test_what_a_request_alone_asks_for_is_refused_as_the_callers(
    server: ModelServer, status: int
) -> None:
    with pytest.raises(InputError, match=r"with stop, response_format as asked .* bad schema"):
        await ask(server, refuses(status, "bad schema"), schema={"$ref": "#"}, stop=("x",))


@pytest.mark.parametrize("script", [silent, sends(chunk("Be"), then=silent)])
async def test_a_server_that_falls_silent_is_given_up(server: ModelServer, script: Script) -> None:
    with pytest.raises(UpstreamError, match=r"sent nothing for 0\.3 s") as caught:
        await ask(server, script, seconds=0.3)
    assert caught.value.code == "model_timeout"


async def test_where_nobody_listens() -> None:
    async with connected(f"http://user:{KEY}@127.0.0.1:{free_port()}/v1") as model:
        with pytest.raises(UpstreamError, match=r"generator\.base_url") as caught:
            await anext(model.stream(CHAT, sampling=Sampling(max_tokens=9)))
    assert caught.value.code == "model_unreachable"
    assert KEY not in str(caught.value)


async def test_a_kept_connection_that_the_server_closes_meanwhile_is_no_failure() -> None:
    """A server may close a connection in the moment in which the next request is sent on it."""
    events = chunk("Be") + chunk(end="stop") + chunk(usage=USAGE) + DONE
    head = "HTTP/1.1 200 X\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n"
    connections: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(0)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"}")  # the end of the body's first object
            writer.write((head % len(events)).encode() + events)
            await reader.readuntil(b"POST")  # the next request, which gets no answer
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with connected(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1") as model:
        for _ in range(3):
            pieces = [p async for p in model.stream(CHAT, sampling=Sampling(max_tokens=9))]
            assert pieces[0].text == "Be"
    listening.close()
    assert len(connections) == 3


async def test_closing_the_stream_hangs_up(server: ModelServer) -> None:
    server.script = sends(chunk("Be"), then=goes_on)
    async with connected(server.base_url) as model:
        stream = model.stream(CHAT, sampling=Sampling(max_tokens=9))
        assert (await anext(stream)).text == "Be"
        assert not server.hung_up.is_set()
        await stream.aclose()
        assert await asyncio.to_thread(server.hung_up.wait, PATIENCE)


async def test_cancelling_the_stream_hangs_up(server: ModelServer) -> None:
    server.script = sends(chunk("Be"), then=goes_on)

    async def read(model: OpenAIModel) -> None:
        async for _ in model.stream(CHAT, sampling=Sampling(max_tokens=9)):
            pass

    async with connected(server.base_url) as model:
        reading = asyncio.create_task(read(model))
        assert await asyncio.to_thread(server.begun.wait, PATIENCE)
        reading.cancel()
        assert await asyncio.to_thread(server.hung_up.wait, PATIENCE)


@pytest.mark.parametrize(
    "text",
    [
        "The Normans gave their name to Normandy, a region in France.",
        "if x[0] != {'a': 1}: return f(x)[1:]  # 3.14159",
        "東京は日本の首都です。",
        "Съешь ещё этих мягких французских булок.",
    ],
)
async def test_tokens_are_counted_on_the_high_side(text: str) -> None:
    """BERT's vocabulary, which is at hand, splits text about as finely as a language model's."""
    tokenizer = Tokenizer.from_file(str(minilm_folder() / "tokenizer.json"))
    tokenizer.no_padding()
    async with connected("http://127.0.0.1:9/v1") as model:
        counted = await model.count_tokens([Message(role="user", content=text)])
        empty = await model.count_tokens([Message(role="user", content="")])
    assert empty > 0
    assert counted - empty >= len(tokenizer.encode(text, add_special_tokens=False).tokens)


async def test_an_adapter_is_asked_for_by_its_name(server: ModelServer) -> None:
    await ask(server, adapter="acme-style")
    await ask(server)
    assert [request["model"] for request in server.requests] == ["acme-style", "tiny"]
