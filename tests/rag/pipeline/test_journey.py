"""A question's path through the pipeline with a language model."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from generation.drafts.policy import Drafts
from generation.grounding.answer_confidence import load_answer_confidence
from generation.grounding.groundedness import EntailedGrounding
from generation.query.expansion import QuestionExpander
from generation.query.rewriting import QuestionRewriter
from generation.query.task_writer import TaskWriter
from rag.build.waiting import build_admission, deadlines
from rag.catalog.catalog import Catalog
from rag.catalog.sqlite_database import SqliteDatabase
from rag.errors import BusyError, NotFoundError, UpstreamError
from rag.pipeline.query import QueryPipeline
from rag.protocols import Generator, Retriever
from rag.settings.tree import load_settings
from rag.telemetry.trace import Trace
from rag.types import (
    Answer,
    Delta,
    Float32Array,
    Kind,
    Message,
    Prompt,
    Query,
    Retrieved,
    Scope,
    Usage,
)
from retrieval.bm25 import Bm25Encoder
from retrieval.hybrid import HybridRetriever
from tests.fakes import (
    CharacterSupport,
    HashEmbedder,
    MemoryIndex,
    ScriptedModel,
    make_chunk,
    make_points,
)

pytestmark = pytest.mark.anyio
HISTORY = (
    Message(role="user", content="Who wrote Dune?"),
    Message(role="assistant", content="Frank Herbert did. [1]"),
)
FOLLOW_UP = "When was he born?"
ALONE = "When was Frank Herbert born?"
HERBERT = "Frank Herbert was born in 1920."
SAND = "Sand is made of grains."


class FirstPassage:
    """`Generator` that answers with the best passage."""

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Delta, None]:
        yield Delta(text=f"{prompt.hits[0].chunk.text} [1]")
        usage = Usage(input_tokens=1000, output_tokens=100)
        yield Delta(confidence=1.0, usage=usage, finish_reason="length")


class Journey:
    """A pipeline over two passages."""

    def __init__(self, catalog: Catalog, index: MemoryIndex, scope: Scope) -> None:
        self._catalog = catalog
        self._index = index
        self._scope = scope

    async def ask(
        self,
        question: str,
        *,
        history: tuple[Message, ...] = (),
        rewriter: QuestionRewriter | None = None,
        expander: QuestionExpander | None = None,
        collection: str | None = None,
        generator: Generator | None = None,
        retriever: Retriever | None = None,
        seconds: float = 30,
        rrf_k: int = 60,
        trace: Trace | None = None,
    ) -> Answer:
        pipeline = QueryPipeline(
            catalog=self._catalog,
            tasks=TaskWriter(None),
            rewriter=rewriter,
            expander=expander,
            retriever=retriever or self.hybrid(HashEmbedder()),
            reader=None,
            generator=generator or FirstPassage(),
            extractive=FirstPassage(),
            drafts=Drafts(
                CharacterSupport(),
                EntailedGrounding(CharacterSupport()),
                load_answer_confidence(),
            ),
            claims="off",
            admission=build_admission(load_settings()),
            seconds=deadlines(load_settings(limits={"query_seconds": seconds})),
            rrf_k=rrf_k,
        )
        scope = replace(self._scope, collection=collection or self._scope.collection)
        query = Query(text=question, scope=scope, top_k=1, history=history)
        return await pipeline.answer(query, trace or Trace())

    def hybrid(self, embedder: HashEmbedder) -> HybridRetriever:
        return HybridRetriever(
            embedder=embedder, encoder=Bm25Encoder(), index=self._index, depth=10
        )


@pytest.fixture
async def journey(folder: Path, scope: Scope) -> AsyncIterator[Journey]:
    index = MemoryIndex()
    chunks = [make_chunk(text, document_id=text) for text in (HERBERT, SAND)]
    await index.upsert(scope, make_points(chunks))
    catalog = Catalog(SqliteDatabase(folder / "catalog.sqlite"))
    await catalog.open()
    await catalog.collections.claim(scope, "hash-1")
    yield Journey(catalog, index, scope)
    await catalog.close()


class Bug:
    """`Generator` that raises an unexpected error."""

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Delta, None]:
        raise ZeroDivisionError
        yield Delta()


class Down(HashEmbedder):
    """An embedder whose server is unavailable."""

    async def embed(self, texts: Sequence[str], *, kind: Kind) -> Float32Array:
        raise UpstreamError("The embedder is down.")


class Second:
    """`Generator` that answers in place of a failed one; it fails at the end if `breaks`."""

    def __init__(self, *, breaks: bool = False) -> None:
        self._breaks = breaks

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Delta, None]:
        usage = Usage(input_tokens=9, output_tokens=4)
        yield Delta(text="Sand. [1]", degraded=("generate: The first is down.",), usage=usage)
        if self._breaks:
            raise UpstreamError("It broke.")
        yield Delta(confidence=1.0, usage=usage)


class Unobserved:
    """`Retriever` that reports a degradation and records nothing in the trace."""

    def __init__(self, inner: Retriever) -> None:
        self._inner = inner

    async def retrieve(self, query: Query, trace: Trace) -> Retrieved:
        found = await self._inner.retrieve(query, Trace())
        return replace(found, degraded=("rerank: It was late.",))


class TestResults:
    """The answer is built from the stages' results; the trace records the same."""

    async def everything_fails(
        self, journey: Journey, trace: Trace, generator: Generator
    ) -> Answer:
        cut = "word " * 999
        return await journey.ask(
            FOLLOW_UP,
            history=HISTORY,
            rewriter=QuestionRewriter(ScriptedModel(BusyError("Too many wait."))),
            expander=QuestionExpander(ScriptedModel(cut), method="hyde"),
            retriever=journey.hybrid(Down()),
            generator=generator,
            trace=trace,
        )

    async def test_the_answer_and_its_trace_agree(self, journey: Journey) -> None:
        trace = Trace()
        answer = await self.everything_fails(journey, trace, Second())
        assert answer.degraded == (
            "rewrite: Too many wait.",
            "expand: scripted was not done within 256 tokens.",
            "dense: The embedder is down.",
            "generate: The first is down.",
        )
        assert answer.usage.output_tokens == 256 + 4
        assert {"rewrite", "expand", "retrieve", "search", "generate", "total"} <= set(
            answer.timings
        )
        assert list(answer.degraded) == trace.degraded
        assert (answer.usage, answer.timings) == (trace.usage, trace.timings)

    async def test_of_a_question_that_fails_the_trace_has_all_the_same(
        self, journey: Journey
    ) -> None:
        trace = Trace()
        with pytest.raises(UpstreamError, match="It broke"):
            await self.everything_fails(journey, trace, Second(breaks=True))
        assert [omission.partition(":")[0] for omission in trace.degraded] == [
            "rewrite",
            "expand",
            "dense",
            "generate",
        ]
        assert trace.usage.output_tokens == 256 + 4
        assert {"rewrite", "retrieve", "search", "generate", "total"} <= set(trace.timings)

    async def test_they_do_not_travel_in_the_trace(self, journey: Journey) -> None:
        trace = Trace()
        retriever = Unobserved(journey.hybrid(HashEmbedder()))
        answer = await journey.ask("grains", retriever=retriever, trace=trace)
        assert answer.degraded == ("rerank: It was late.",)
        assert trace.degraded == []


async def test_a_crash_is_counted_as_one(journey: Journey) -> None:
    def crashes() -> float:
        labels = {"operation": "answer", "outcome": "internal", "tenant": ""}
        return REGISTRY.get_sample_value("plumbline_questions_total", labels) or 0.0

    before = crashes()
    with pytest.raises(ZeroDivisionError):
        await journey.ask("Who?", generator=Bug())
    assert crashes() == before + 1


class TestRewriting:
    async def test_it_is_searched_for_as_it_was_rewritten(self, journey: Journey) -> None:
        model = ScriptedModel(ALONE)
        rewriter = QuestionRewriter(model)
        answer = await journey.ask(FOLLOW_UP, history=HISTORY, rewriter=rewriter)
        assert (answer.question, answer.text) == (ALONE, f"{HERBERT} [1]")
        assert "rewrite" in answer.timings
        assert answer.degraded == ()
        assert answer.finish_reason == "length"
        tokens = await model.count_tokens(model.sent[0])
        assert answer.usage == Usage(input_tokens=1000 + tokens, output_tokens=105)

    @pytest.mark.parametrize("history", [(), HISTORY])
    async def test_kept_without_a_model_or_a_history(
        self, journey: Journey, history: tuple[Message, ...]
    ) -> None:
        rewriter = None if history else QuestionRewriter(ScriptedModel())
        answer = await journey.ask(FOLLOW_UP, history=history, rewriter=rewriter)
        assert answer.question == FOLLOW_UP
        assert "rewrite" not in answer.timings
        assert answer.degraded == ()

    async def test_kept_where_the_model_fails(self, journey: Journey) -> None:
        rewriter = QuestionRewriter(ScriptedModel(BusyError("Too many wait.")))
        answer = await journey.ask(FOLLOW_UP, history=HISTORY, rewriter=rewriter)
        assert answer.question == FOLLOW_UP
        assert answer.text
        assert answer.degraded == ("rewrite: Too many wait.",)
        assert "rewrite" in answer.timings


class TestExpansion:
    async def test_what_else_is_searched_for_counts_too(self, journey: Journey) -> None:
        alone = await journey.ask("grains")
        assert alone.text == f"{SAND} [1]"
        assert "expand" not in alone.timings
        model = ScriptedModel("When was Frank Herbert born?\nFrank Herbert 1920")
        expander = QuestionExpander(model, method="multi_query")
        answer = await journey.ask("grains", expander=expander)
        assert (answer.question, answer.text) == ("grains", f"{HERBERT} [1]")
        assert len(answer.hits) == 1
        assert answer.hits[0].ranks["dense"] == 1
        assert "expand" in answer.timings
        assert answer.usage.output_tokens == 108

    async def test_k_of_their_fusion_is_the_setting(self, journey: Journey) -> None:
        for k in (1, 60):
            expander = QuestionExpander(ScriptedModel("grains"), method="hyde")
            answer = await journey.ask("grains", expander=expander, rrf_k=k)
            assert answer.hits[0].score == pytest.approx(2 / (k + 1))

    async def test_a_question_is_expanded_as_it_was_rewritten(self, journey: Journey) -> None:
        model = ScriptedModel(ALONE, "Frank Herbert was born on a Friday.")
        answer = await journey.ask(
            FOLLOW_UP,
            history=HISTORY,
            rewriter=QuestionRewriter(model),
            expander=QuestionExpander(model, method="hyde"),
        )
        assert model.sent[1][1].content == f"Question: {ALONE}"
        assert answer.question == ALONE

    async def test_without_it_where_the_model_fails(self, journey: Journey) -> None:
        model = ScriptedModel(BusyError("Too many wait."))
        expander = QuestionExpander(model, method="hyde")
        answer = await journey.ask("grains", expander=expander)
        assert answer.text == f"{SAND} [1]"
        assert answer.degraded == ("expand: Too many wait.",)


class TestBoth:
    @staticmethod
    def parts(model: ScriptedModel) -> list[dict[str, Any]]:
        return [
            {"history": HISTORY, "rewriter": QuestionRewriter(model)},
            {"expander": QuestionExpander(model, method="hyde")},
        ]

    async def test_the_deadline_holds(self, journey: Journey) -> None:
        model = ScriptedModel("Late.", "Late.", seconds=600)
        for parts, stage in zip(self.parts(model), ("rewriting", "writing what else"), strict=True):
            with pytest.raises(UpstreamError, match=f"{stage} .* took too long"):
                await journey.ask(FOLLOW_UP, seconds=2.0, **parts)

    async def test_no_model_works_for_an_unknown_collection(self, journey: Journey) -> None:
        model = ScriptedModel()
        for parts in self.parts(model):
            with pytest.raises(NotFoundError):
                await journey.ask(FOLLOW_UP, collection="nope", **parts)
        assert model.sent == []
