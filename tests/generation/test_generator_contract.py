"""The contract of `Generator`."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

import pytest

from generation.chat import ChatGenerator
from generation.extractive import ExtractiveGenerator
from generation.fallback import Engine, FallbackGenerator
from generation.grounding.answerability import Finder, Judge
from generation.grounding.calibration import load_calibration
from generation.grounding.evidence import Evidence, EvidenceFinder
from generation.models.openai import OpenAIModel
from generation.prompts import PromptTemplate
from rag.errors import BusyError, InputError, RagError, UpstreamError
from rag.protocols import Generator
from rag.types import Delta, Hit, Prompt, Sampling, SamplingOverrides, Scope
from retrieval.bm25 import Bm25Encoder
from retrieval.embedders.embedder import BertEmbedder
from tests.fakes import MemoryIndex, make_chunk, make_points
from tests.model_server import (
    PATIENCE,
    ModelServer,
    chunk,
    cut,
    goes_on,
    model_server,
    quotes,
    refuses,
    says,
    sends,
)
from tests.waiting import until

pytestmark = pytest.mark.anyio

CHUNKS = [
    make_chunk("The patent of 1769 was contested for years.", position=0),
    make_chunk("In 1769 James Watt patented an engine with a separate condenser.", position=1),
    make_chunk("James Watt was a Scottish inventor of steam engines.", position=2),
]
PROMPT = Prompt(
    question="What did James Watt patent in 1769?",
    scope=Scope(tenant="t", collection="c"),
    hits=tuple(Hit(chunk=each, score=1.0, source="fused", ranks={}) for each in CHUNKS),
)
KINDS = ["extractive", "chat", "fallback"]


class Stuck:
    """A `Finder` that raises an error, or hangs."""

    def __init__(self, error: RagError | None = None) -> None:
        self._error = error
        self.begun = self.stopped = False

    async def find(self, prompt: Prompt) -> Evidence | None:
        self.begun = True
        if self._error:
            raise self._error
        try:
            await asyncio.sleep(PATIENCE)
        finally:
            self.stopped = True
        return None


class Made(NamedTuple):
    over: Callable[[Finder], Generator]
    """Makes the generator, with this source of evidence."""
    server: ModelServer
    asks_model: bool


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with model_server(quotes(2)) as running:
        yield running


@pytest.fixture(params=KINDS)
async def made(request: pytest.FixtureRequest, server: ModelServer) -> AsyncIterator[Made]:
    model = OpenAIModel(
        base_url=server.base_url, api_key="k", model="m", context_tokens=9000, seconds=PATIENCE
    )

    def over(finder: Finder) -> Generator:
        judge = Judge(finder=finder, calibration=load_calibration())
        extractive = ExtractiveGenerator(judge)
        chat = ChatGenerator(
            judge=judge, model=model, template=PromptTemplate(), sampling=Sampling(max_tokens=900)
        )
        engines = [Engine(name="m", generator=chat), Engine(name="own", generator=extractive)]
        fallback = FallbackGenerator(engines, seconds=PATIENCE)
        return {"extractive": extractive, "chat": chat, "fallback": fallback}[request.param]

    yield Made(over, server, asks_model=request.param != "extractive")
    await model.close()


@pytest.fixture
async def finder(embedder: BertEmbedder) -> Finder:
    index = MemoryIndex()
    await index.upsert(PROMPT.scope, make_points(CHUNKS))
    return EvidenceFinder(embedder=embedder, encoder=Bm25Encoder(), index=index)


async def collect(generator: Generator, prompt: Prompt = PROMPT) -> list[Delta]:
    return [delta async for delta in generator.stream(prompt)]


async def test_an_answer_s_markers_point_into_the_hits_and_its_end_has_the_confidence(
    made: Made, finder: Finder
) -> None:
    *deltas, last = await collect(made.over(finder))
    text = "".join(delta.text for delta in deltas) + last.text
    cited = re.findall(r"(\S[^\[\]]+) \[(\d+)\]", text)
    assert ("In 1769 James Watt patented an engine with a separate condenser.", "2") in cited
    assert all(quote in PROMPT.hits[int(n) - 1].chunk.text for quote, n in cited)
    assert last.confidence is not None
    assert 0 < last.confidence <= 1
    assert last.abstained is None
    assert [(each.confidence, each.degraded) for each in deltas] == [(None, ())] * len(deltas)
    assert {each.model for each in (*deltas, last)} == {"m" if made.asks_model else None}


async def test_without_passages_it_declines_and_says_why(made: Made, finder: Finder) -> None:
    *deltas, last = await collect(made.over(finder), replace(PROMPT, hits=()))
    assert (deltas, last.text, last.abstained) == ([], "", "no_documents")
    assert made.server.requests == []


async def test_closing_the_stream_stops_the_work(made: Made, finder: Finder) -> None:
    made.server.script = sends(chunk("An engine"), then=goes_on)
    stream = made.over(finder).stream(PROMPT)
    assert (await anext(stream)).text
    await stream.aclose()
    assert await anext(stream, None) is None
    assert len(made.server.requests) == made.asks_model
    if made.asks_model:
        await until(made.server.hung_up.is_set)
    stuck = Stuck()
    waiting = asyncio.create_task(collect(made.over(stuck)))
    await until(lambda: stuck.begun)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert stuck.stopped


@pytest.mark.parametrize("kind", [InputError, BusyError, UpstreamError])
async def test_what_fails_before_the_text_raises_an_error_of_a_kind_that_is_documented(
    made: Made, finder: Finder, kind: type[RagError]
) -> None:
    prompt = replace(PROMPT, sampling=SamplingOverrides(schema={"type": "object"}))
    made.server.script = says('{"made": ', end="length")
    with pytest.raises(RagError) as caught:
        if kind is InputError:
            await collect(made.over(finder), prompt)
        await collect(made.over(Stuck(kind("The embedder is away."))))
    assert type(caught.value) is kind


async def test_a_model_that_fails_ends_an_answer_that_has_begun_and_no_other(
    made: Made, finder: Finder
) -> None:
    if not made.asks_model:
        pytest.skip("no model can fail")
    made.server.script = sends(chunk("An engine"), then=cut)
    stream = made.over(finder).stream(PROMPT)
    assert (await anext(stream)).text == "An engine"
    with pytest.raises(UpstreamError):
        await anext(stream)
