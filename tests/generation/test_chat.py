"""Answers by a language model: its prompts, and the processing of its output."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from generation.chat import ChatGenerator
from generation.grounding.answerability import Judge
from generation.grounding.calibration import load_calibration
from generation.grounding.evidence import EvidenceFinder
from generation.prompts import PromptTemplate
from rag.errors import InputError, UpstreamError
from rag.types import (
    Claim,
    Delta,
    FinishReason,
    Hit,
    Message,
    Piece,
    Prompt,
    Revision,
    Sampling,
    SamplingOverrides,
    Scope,
    Usage,
)
from retrieval.bm25 import Bm25Encoder
from retrieval.embedders.embedder import BertEmbedder
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
    """A chat model that writes scripted text; its tokens are words."""

    name = "words"

    def __init__(
        self, *pieces: str, context_tokens: int = 1000, finish_reason: FinishReason = "stop"
    ) -> None:
        self._pieces = pieces
        self._finish_reason = finish_reason
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
            yield Piece(finish_reason=self._finish_reason, usage=USAGE)
        finally:
            self.closed += 1


@pytest.fixture
async def judge(embedder: BertEmbedder) -> Judge:
    index = MemoryIndex()
    await index.upsert(SCOPE, make_points(make_chunk(t, position=i) for i, t in enumerate(TEXTS)))
    finder = EvidenceFinder(embedder=embedder, encoder=Bm25Encoder(), index=index)
    return Judge(finder=finder, calibration=load_calibration())


def generator(judge: Judge, model: Words, *, max_tokens: int = 10, **more: Any) -> ChatGenerator:
    return ChatGenerator(
        judge=judge,
        model=model,
        template=PromptTemplate(),
        sampling=Sampling(max_tokens=max_tokens, temperature=0.5),
        **more,
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
    assert last.call is not None
    assert last == Delta(
        model="words",
        confidence=verdict.confidence,
        finish_reason="stop",
        usage=USAGE,
        call=last.call,
    )
    assert (last.call.messages, last.call.template) == (model.asked[0][0], "answer.v1")
    ((messages, sampling),) = model.asked
    assert messages == PromptTemplate().messages(QUESTION, prompt().hits)
    assert sampling == Sampling(max_tokens=10, temperature=0.5)


async def test_a_second_try_names_what_was_refused(judge: Judge) -> None:
    model = Words("It used a condenser.")
    refused = Claim(
        text="It cost £9.", outcome="rewritten", support=0.1, objection="figure", missing=("£9",)
    )
    revision = Revision(kept="Watt patented it. [1]", refused=refused)
    await collect(generator(judge, model).stream(replace(prompt(), revision=revision)))
    (messages, _), *_ = model.asked
    assert [m.role for m in messages] == ["system", "user", "assistant", "user"]
    assert messages[2].content == "Watt patented it. [1] It cost £9."
    assert "No passage has £9." in messages[3].content


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


def wanting(**sampling: Any) -> Prompt:
    return replace(prompt(), sampling=SamplingOverrides(**sampling))


async def test_a_request_says_how_it_is_written(judge: Judge) -> None:
    model = Words("An engine [1].")
    asked = wanting(max_tokens=5, temperature=0.9, top_p=0.5, seed=7, stop=("\n",))
    await collect(generator(judge, model).stream(asked))
    assert model.asked[0][1] == Sampling(
        max_tokens=5, temperature=0.9, top_p=0.5, seed=7, stop=("\n",)
    )


async def test_no_request_gets_more_tokens_than_the_settings_allow(judge: Judge) -> None:
    model = Words("An engine [1].")
    await collect(generator(judge, model).stream(wanting(max_tokens=1000)))
    assert model.asked[0][1].max_tokens == 10


async def test_json_comes_whole_and_the_model_is_told_its_schema(judge: Judge) -> None:
    model = Words('{"made": ', '"An engine [1]."}')
    schema = {"type": "object", "properties": {"made": {"type": "string"}}}
    begun, text, _ = await collect(generator(judge, model).stream(wanting(schema=schema)))
    assert begun == Delta(model="words")
    assert text == Delta(text='{"made": "An engine [1]."}', model="words")
    messages, sampling = model.asked[0]
    assert sampling.schema == schema
    assert messages[-1].content.endswith(json.dumps(schema, sort_keys=True))


async def test_what_should_be_json_and_is_not_is_told(judge: Judge) -> None:
    asked = wanting(schema={"type": "object"})
    with pytest.raises(UpstreamError, match="wrote what is no JSON"):
        await collect(generator(judge, Words("An engine [1].")).stream(asked))
    for constant in ("NaN", "[-Infinity]"):  # Python reads them, and nobody else
        with pytest.raises(UpstreamError, match="wrote what is no JSON"):
            await collect(generator(judge, Words(f'{{"made": {constant}}}')).stream(asked))
    cut = Words('{"made": ' + "[" * 100_000)
    with pytest.raises(UpstreamError, match="wrote what is no JSON"):
        await collect(generator(judge, cut).stream(asked))
    cut = Words('{"made": "An', finish_reason="length")
    with pytest.raises(InputError, match="did not end within 10 tokens"):
        await collect(generator(judge, cut).stream(asked))


@pytest.mark.parametrize("text", ["", '{"made": '])
async def test_who_stops_an_answer_before_it_is_one_has_nobody_else_to_blame(
    judge: Judge, text: str
) -> None:
    asked = wanting(schema={"type": "object"}, stop=('"',))
    with pytest.raises(InputError, match="`stop` before it had written"):
        await collect(generator(judge, Words(text)).stream(asked))


async def test_closing_closes_the_model_s_stream(judge: Judge) -> None:
    model = Words("An engine", " [1].")
    stream = generator(judge, model).stream(prompt())
    await anext(stream)
    assert model.closed == 0
    await stream.aclose()
    assert model.closed == 1


async def test_a_tenant_s_adapter_writes_for_it_and_for_nobody_else(judge: Judge) -> None:
    model = Words("An engine [1].")
    for adapters, adapter, name in (
        ({"acme": "acme-style", SCOPE.tenant: "own-style"}, "own-style", "words+own-style"),
        ({"acme": "acme-style"}, None, "words"),
    ):
        *text, last = await collect(generator(judge, model, adapters=adapters).stream(prompt()))
        assert model.asked[-1][1].adapter == adapter
        assert {delta.model for delta in (*text, last)} == {name}
        assert last.call is not None
        assert last.call.sampling.adapter == adapter
