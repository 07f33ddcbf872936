"""The contract of `Generator`."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace

import pytest

from generation.chat import ChatGenerator
from generation.extractive import ExtractiveGenerator
from generation.fallback import Engine, FallbackGenerator
from generation.grounding.answerability import Finder, Judge
from generation.grounding.calibration import load_calibration
from generation.grounding.evidence import EvidenceFinder
from generation.models.openai import OpenAIModel
from generation.prompts import PromptTemplate
from rag.errors import BusyError, InputError, RagError, UpstreamError
from rag.protocols import Generator
from rag.types import Delta, Hit, Prompt, Sampling, SamplingOverrides, Scope
from retrieval.bm25 import Bm25Encoder
from retrieval.embedders.embedder import BertEmbedder
from tests import model_server
from tests.fakes import MemoryIndex, StuckFinder, make_points
from tests.indexes import corpus
from tests.model_server import PATIENCE as SECONDS
from tests.model_server import ModelServer, chunk, sends
from tests.waiting import until

pytestmark = pytest.mark.anyio

Over = Callable[[Finder], Generator]
CHUNKS = corpus(
    "The patent of 1769 was contested for years.",
    "In 1769 James Watt patented an engine with a separate condenser.",
)
PROMPT = Prompt(
    question="What did James Watt patent in 1769?",
    scope=Scope(tenant="t", collection="c"),
    hits=tuple(Hit(chunk=each, score=1.0, source="fused", ranks={}) for each in CHUNKS),
)


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with model_server.model_server(model_server.quotes(2)) as running:
        yield running


@pytest.fixture(params=["extractive", "chat", "fallback"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def over(kind: str, server: ModelServer) -> AsyncIterator[Over]:
    """Makes a generator with a source of evidence."""
    model = OpenAIModel(
        base_url=server.base_url, api_key="k", model="m", context_tokens=9000, seconds=SECONDS
    )

    def make(finder: Finder) -> Generator:
        judge = Judge(finder=finder, calibration=load_calibration())
        extractive, sampling = ExtractiveGenerator(judge), Sampling(max_tokens=900)
        chat = ChatGenerator(judge=judge, model=model, template=PromptTemplate(), sampling=sampling)
        engines = [Engine(name="m", generator=chat), Engine(name="own", generator=extractive)]
        made: dict[str, Generator] = {"extractive": extractive, "chat": chat}
        made["fallback"] = FallbackGenerator(engines, seconds=SECONDS)
        return made[kind]

    yield make
    await model.close()


@pytest.fixture
async def generator(over: Over, embedder: BertEmbedder) -> Generator:
    index = MemoryIndex()
    await index.upsert(PROMPT.scope, make_points(CHUNKS))
    return over(EvidenceFinder(embedder=embedder, encoder=Bm25Encoder(), index=index))


async def collect(generator: Generator, prompt: Prompt = PROMPT) -> list[Delta]:
    return [delta async for delta in generator.stream(prompt)]


async def test_markers_point_into_the_hits(generator: Generator, kind: str) -> None:
    *deltas, last = await collect(generator)
    text = "".join(delta.text for delta in deltas) + last.text
    cited = re.findall(r"(\S[^\[\]]+) \[(\d+)\]", text)
    assert (CHUNKS[1].text, "2") in cited
    assert all(quote in PROMPT.hits[int(n) - 1].chunk.text for quote, n in cited)
    assert 0 < (last.confidence or 0) <= 1
    assert last.abstained is None
    assert [(each.confidence, each.degraded) for each in deltas] == [(None, ())] * len(deltas)
    assert {each.model for each in (*deltas, last)} == {None if kind == "extractive" else "m"}


async def test_without_passages_it_declines(generator: Generator, server: ModelServer) -> None:
    [last] = await collect(generator, replace(PROMPT, hits=()))
    assert (last.text, last.abstained) == ("", "no_documents")
    assert server.requests == []


async def test_closing_the_stream_stops_the_work(
    generator: Generator, kind: str, server: ModelServer
) -> None:
    server.script = sends(chunk("An engine"), then=model_server.goes_on)
    stream = generator.stream(PROMPT)
    assert (await anext(stream)).text
    await stream.aclose()
    assert await anext(stream, None) is None
    assert bool(server.requests) == (kind != "extractive")
    if server.requests:
        await until(server.hung_up.is_set)


async def test_leaving_before_the_first_text_stops_the_work(over: Over) -> None:
    stuck = StuckFinder()
    waiting = asyncio.create_task(collect(over(stuck)))
    await until(lambda: stuck.begun)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert stuck.stopped


@pytest.mark.parametrize("error", [BusyError("It is away."), UpstreamError("It is away.")])
async def test_what_fails_before_the_text_fails_the_answer(over: Over, error: RagError) -> None:
    with pytest.raises(type(error), match="away") as caught:
        await collect(over(StuckFinder(error)))
    assert caught.value is error


async def test_json_cut_short_is_refused(generator: Generator, server: ModelServer) -> None:
    server.script = model_server.says('{"made": ', end="length")
    sampling = SamplingOverrides(schema={"type": "object"})
    with pytest.raises(InputError):
        await collect(generator, replace(PROMPT, sampling=sampling))


@pytest.mark.parametrize("kind", ["chat", "fallback"], indirect=True)
async def test_half_an_answer_is_an_error(generator: Generator, server: ModelServer) -> None:
    server.script = sends(chunk("An engine"), then=model_server.cut)
    stream = generator.stream(PROMPT)
    assert (await anext(stream)).text == "An engine"
    with pytest.raises(UpstreamError):
        await anext(stream)
