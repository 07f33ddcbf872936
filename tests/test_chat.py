"""Answers by a language model: what it is asked, and what becomes of what it writes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

import pytest

from generation.calibration import load_calibration
from generation.chat import ChatGenerator
from generation.evidence import EvidenceFinder
from generation.judging import Judge
from generation.prompts import PromptTemplate
from rag.errors import UpstreamError
from rag.types import Delta, Hit, Message, Piece, Prompt, Sampling, Scope, Usage
from retrieval.embedders import BertEmbedder
from retrieval.sparse import Bm25Encoder
from tests.fakes import MemoryIndex, make_chunk, make_points

pytestmark = pytest.mark.anyio
SCOPE = Scope(tenant="t", collection="c")
QUESTION = "What did James Watt patent in 1769?"
TEXTS = [
    "In 1769 James Watt patented an engine with a separate condenser.",
    "James Watt was a Scottish inventor of steam engines.",
    "The patent of 1769 was contested for years.",
]
USAGE = Usage(input_tokens=70, output_tokens=7)


class Words:
    """A model that says what it is told to, and counts words."""

    name = "words"

    def __init__(self, *pieces: str, context_tokens: int = 1000) -> None:
        self._pieces = pieces
        self.context_tokens = context_tokens
        self.asked: list[tuple[Sequence[Message], Sampling]] = []
        self.closed = 0

    async def count_tokens(self, messages: Sequence[Message]) -> int:
        return sum(len(m.content.split()) for m in messages)

    async def stream(
        self, messages: Sequence[Message], *, sampling: Sampling
    ) -> AsyncGenerator[Piece, None]:
        self.asked.append((messages, sampling))
        try:
            for piece in self._pieces:
                yield Piece(text=piece)
            yield Piece(finish_reason="stop", usage=USAGE)
        finally:
            self.closed += 1


@pytest.fixture
async def judge(embedder: BertEmbedder) -> Judge:
    index = MemoryIndex()
    await index.upsert(SCOPE, make_points(make_chunk(t, position=i) for i, t in enumerate(TEXTS)))
    finder = EvidenceFinder(embedder=embedder, encoder=Bm25Encoder(), index=index)
    return Judge(finder=finder, calibration=load_calibration())


def generator(judge: Judge, model: Words, *, max_tokens: int = 10) -> ChatGenerator:
    return ChatGenerator(
        judge=judge,
        model=model,
        template=PromptTemplate(),
        sampling=Sampling(max_tokens=max_tokens, temperature=0.5),
    )


def prompt(question: str = QUESTION, texts: Sequence[str] = TEXTS) -> Prompt:
    chunks = [make_chunk(text, position=i) for i, text in enumerate(texts)]
    hits = tuple(Hit(chunk=chunk, score=1.0, source="fused", ranks={}) for chunk in chunks)
    return Prompt(question=question, scope=SCOPE, hits=hits)


async def collect(stream: AsyncGenerator[Delta, None]) -> list[Delta]:
    return [delta async for delta in stream]


async def test_the_model_s_text_comes_as_it_is_written_then_the_confidence(judge: Judge) -> None:
    model = Words("An en", "gine [1].")
    *text, last = await collect(generator(judge, model).stream(prompt()))
    assert text == [Delta(text="An en", model="words"), Delta(text="gine [1].", model="words")]
    verdict = await judge.judge(prompt())
    assert last == Delta(
        model="words", confidence=verdict.confidence, finish_reason="stop", usage=USAGE
    )
    ((messages, sampling),) = model.asked
    assert messages == PromptTemplate().messages(QUESTION, prompt().hits)
    assert sampling == Sampling(max_tokens=10, temperature=0.5)


@pytest.mark.parametrize(
    ("question", "texts", "reason"),
    [
        (QUESTION, [], "no_documents"),
        ("How do I bake sourdough?", TEXTS, "no_match"),
    ],
)
async def test_without_evidence_the_model_is_not_asked(
    judge: Judge, question: str, texts: list[str], reason: str
) -> None:
    model = Words("I know it all.")
    (delta,) = await collect(generator(judge, model).stream(prompt(question, texts)))
    assert (delta.abstained, delta.text, delta.model) == (reason, "", None)
    assert model.asked == []


async def test_passages_that_do_not_fit_are_left_out_and_told(judge: Judge) -> None:
    two = PromptTemplate().messages(QUESTION, prompt().hits[:2])
    room = await Words().count_tokens(two) + 10
    model = Words("An engine [1].", context_tokens=room)
    *_, last = await collect(generator(judge, model).stream(prompt()))
    assert model.asked[0][0] == two
    assert last.degraded == (f"passages: 1 of 3 did not fit the {room} tokens of words",)


async def test_a_model_that_writes_nothing_has_failed(judge: Judge) -> None:
    with pytest.raises(UpstreamError, match="wrote nothing"):
        await collect(generator(judge, Words("")).stream(prompt()))


async def test_closing_closes_the_model_s_stream(judge: Judge) -> None:
    model = Words("An engine", " [1].")
    stream = generator(judge, model).stream(prompt())
    await anext(stream)
    assert model.closed == 0
    await stream.aclose()
    assert model.closed == 1
