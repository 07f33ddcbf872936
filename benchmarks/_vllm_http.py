"""The engine behind `rag serve`: what a stream of `POST /v1/query` costs beside the engine alone.

The server has an engine of its own. The floor is another with the same weights and arguments, in
this process, given the same prompts: both see every prompt once. What retrieval took of a request,
the answer's `timings` say: net figures are without it, but with the judging of the evidence, the
prompt, and all that HTTP takes.

An engine whose callers come back the moment they have their answer paces itself: as few end at once
as it has just begun. Retrieval in between gathers them, and a crowd waits for its first tokens,
whoever drives the engine. So net figures have a floor of their own: the engine alone, given each
prompt at the moment at which the service had retrieved for one.

Net of retrieval is not net of its work: while one question is searched for, another's answer is
written with what that leaves of the cores. So there is a third floor that does the same work, by
hand: `POST /v1/search` of the same server, and what it finds goes straight to that `AsyncLLM`.

These two are asked other questions, of the same kind, which their engine has not read yet.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import psutil

from benchmarks._common import Report, Target, p50
from benchmarks._server import Server, examples, launched
from benchmarks._texts import sentences
from benchmarks._writing import (
    Part,
    Turn,
    Write,
    follow_turn,
    straight,
    take_turn,
    token_ids,
)
from generation.prompts import PromptTemplate
from rag.types import Chunk, Hit, Message

if TYPE_CHECKING:
    from generation.models.vllm import VllmModel

CONCURRENCY = (1, 8, 32)
ROUNDS = 4
REQUESTS = {1: 12, 8: 32, 32: 64}
"""In one turn of one side, by concurrency."""
TOP_K = 5
MOST = 1 << 20
"""Bytes of one event."""
CONFIG = """
[generator]
kind = "vllm"
model = {model}
max_tokens = {tokens}
threshold = 0.0
[generator.engine]
{engine}
"""


@dataclass(frozen=True, slots=True)
class _Question:
    """A question, and the prompt that the service makes of it."""

    question: str
    prompt: Sequence[Message]


@dataclass(frozen=True, slots=True)
class _Side:
    """One of the compared sides: its requests, and its process without engine and embedder."""

    write: Write[_Question]
    process: psutil.Process


async def compare_over_http(
    report: Report, model: VllmModel, folder: Path, *, engine: Mapping[str, Any], tokens: int
) -> None:
    """Adds raw and net figures at each concurrency.

    Args:
        report: gets them.
        model: has the engine that is the floor.
        folder: the model's, for the server's engine.
        engine: the arguments of both engines.
        tokens: of an answer.
    """
    with examples() as env, contextlib.ExitStack() as stack:
        config = _config(Path(env["RAG_DATA_DIR"]) / "rag.toml", folder, engine, tokens)
        server = stack.enter_context(launched({**env, "RAG_CONFIG": str(config)}))
        await asyncio.to_thread(server.wait_until_ready)
        questions = _questions(server)
        first = next(questions)
        _check_prompts(server, model, first)
        floor = straight(model, tokens=tokens)
        sides = {
            "ours": _Side(_streamed(server.url), psutil.Process(server.pid)),
            "floor": _Side(lambda one: floor(one.prompt), psutil.Process()),
            "by hand": _Side(_by_hand(server.url, floor), psutil.Process()),
        }
        for concurrency in CONCURRENCY:
            await _compare(report, sides, questions, concurrency)


def _config(file: Path, model: Path, engine: Mapping[str, Any], tokens: int) -> Path:
    arguments = "\n".join(f"{name} = {json.dumps(value)}" for name, value in engine.items())
    file.write_text(
        CONFIG.format(model=json.dumps(str(model)), tokens=tokens, engine=arguments), "utf-8"
    )
    return file


def _questions(server: Server) -> Iterator[_Question]:
    """Questions without end, no two alike, with the prompts that are made of them."""
    template = PromptTemplate()
    texts = sentences()
    for number in itertools.count():
        question = f"{texts[number % len(texts)]} {number}"
        found = server.post("/v1/search", {"query": question, "top_k": TOP_K})["hits"]
        yield _Question(question, template.messages(question, [_hit(hit) for hit in found]))


def _hit(found: Mapping[str, Any]) -> Hit:
    """As much of a hit as a prompt is made of."""
    chunk = Chunk(
        id=found["chunk_id"],
        document_id=found["document_id"],
        version="",
        position=0,
        text=found["text"],
        start=found["start"],
        end=found["end"],
        title=found["title"],
        uri=found["uri"],
        headings=tuple(found["headings"]),
    )
    return Hit(chunk=chunk, score=found["score"], source="fused", ranks={})


def _check_prompts(server: Server, model: VllmModel, question: _Question) -> None:
    """Both sides have the same to read.

    Raises:
        RuntimeError: they have not.
    """
    engine = model._supervisor.engine
    assert engine is not None
    ours = server.post("/v1/query", {"query": question.question, "top_k": TOP_K})["usage"]
    floor = len(token_ids(engine.get_tokenizer(), question.prompt))
    if ours["input_tokens"] != floor:
        raise RuntimeError(f"the prompts differ: {ours['input_tokens']} tokens, the floor {floor}")


def _streamed(url: str) -> Write[_Question]:
    """Questions over HTTP, a connection for each; the last of the events is read."""

    async def write(question: _Question) -> AsyncIterator[Part]:
        async with _posted(url, "/v1/query", question.question, stream=True) as reader:
            while True:
                event = await reader.readuntil(b"\n\n")
                if b"event: token\n" in event:
                    yield Part()
                elif b"event: answer\n" in event:
                    answer = json.loads(event.partition(b"\ndata: ")[2])
                    yield Part(answer["usage"]["output_tokens"], _retrieval(answer["timings"]))
                    return
                elif b"event: error\n" in event:
                    raise RuntimeError(event.decode())

    return write


def _by_hand(url: str, engine: Write[Sequence[Message]]) -> Write[_Question]:
    """Searched for over HTTP, then written by the engine in this process."""
    template = PromptTemplate()

    async def write(question: _Question) -> AsyncIterator[Part]:
        async with _posted(url, "/v1/search", question.question) as reader:
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
            if b" 200 " not in head.partition(b"\r\n")[0] or length is None:
                raise RuntimeError(head.decode())
            found = json.loads(await reader.readexactly(int(length[1])))
        hits = [_hit(hit) for hit in found["hits"]]
        async for part in engine(template.messages(question.question, hits)):
            yield part

    return write


@contextlib.asynccontextmanager
async def _posted(
    url: str, path: str, question: str, **more: bool
) -> AsyncIterator[asyncio.StreamReader]:
    """The response to a request on a new connection."""
    address = urlsplit(url)
    body = json.dumps({"query": question, "top_k": TOP_K, **more}).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection(address.hostname, address.port, limit=MOST)
    try:
        writer.write(head.encode() + body)
        yield reader
    finally:
        writer.close()


def _retrieval(timings: Mapping[str, float]) -> float:
    """Seconds until there was something to write about; citations are checked after that."""
    return (timings["total"] - timings["generate"] - timings["cite"]) / 1e3


async def _compare(
    report: Report, sides: Mapping[str, _Side], questions: Iterator[_Question], concurrency: int
) -> None:
    turns: dict[str, list[Turn]] = {name: [] for name in (*sides, "followed")}
    cpu = dict.fromkeys(sides, 0.0)
    for number in range(ROUNDS + 1):
        prompts = list(itertools.islice(questions, REQUESTS[concurrency]))
        by_hand = list(itertools.islice(questions, REQUESTS[concurrency]))
        for name in sorted(sides, reverse=bool(number % 2)):
            spent = _cpu(sides[name].process)
            mine = by_hand if name == "by hand" else prompts
            turn = await take_turn(sides[name].write, mine, concurrency=concurrency)
            if number:  # the first one warms up
                turns[name].append(turn)
                cpu[name] += _cpu(sides[name].process) - spent
            if number and name == "ours":
                # Asking for them takes a while, in which the service scores what it answered.
                others = list(itertools.islice(questions, REQUESTS[concurrency]))
                again = await follow_turn(sides["floor"].write, others, turn=turn)
                turns["followed"].append(again)
    _report(report, turns, cpu, concurrency)


def _report(
    report: Report,
    turns: Mapping[str, Sequence[Turn]],
    cpu: Mapping[str, float],
    concurrency: int,
) -> None:
    def add(
        name: str,
        unit: str,
        of: Callable[[str], float],
        target: Target | None = None,
        floor: str = "floor",
    ) -> None:
        title = f"HTTP, {concurrency} at a time: {name}"
        report.add(title, of("ours"), unit=unit, floor=of(floor), target=target)

    def output(side: str) -> float:
        return p50([turn.speed for turn in turns[side]])

    def first(side: str) -> float:
        return 1e3 * p50([s for turn in turns[side] for s in turn.first])

    def net_output(side: str) -> float:
        return p50([turn.net_speed for turn in turns[side]])

    def net_first(side: str) -> float:
        return 1e3 * p50([s for turn in turns[side] for s in turn.net_first])

    speed, late = Target(bound=0.97, by="ratio", at_least=True), Target(bound=10, by="difference")
    add("output", "tokens/s", output)
    add("output, net", "tokens/s", net_output, speed, "followed")
    add("output, by hand", "tokens/s", output, speed, "by hand")
    add("first token p50", "ms", first)
    add("first token p50, net", "ms", net_first, late, "followed")
    add("first token p50, by hand", "ms", first, late, "by hand")
    elsewhere = p50([s for turn in turns["ours"] for s in turn.elsewhere])
    report.notes.append(f"HTTP, {concurrency} at a time: retrieval p50 {elsewhere * 1e3:.0f} ms")
    add("CPU a token", "µs", lambda side: 1e6 * cpu[side] / sum(t.tokens for t in turns[side]))


def _cpu(process: psutil.Process) -> float:
    """Seconds of its own so far."""
    times = process.cpu_times()
    return float(times.user + times.system)
