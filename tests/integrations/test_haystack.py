"""The real Haystack and a real `rag serve`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from plumbline_client import NotFoundError
from tests.integrations.documents import (
    QUESTION,
    QUOTE,
    TEXT,
    UNANSWERABLE,
    check_place,
    check_quote,
)
from tests.servers import Server

if TYPE_CHECKING:  # not while tests are collected: it imports torch
    from haystack import GeneratedAnswer, Pipeline
    from haystack.core.component import Component

    from plumbline_integrations.haystack import PlumblineAnswerer, PlumblineRetriever


@pytest.fixture
def retriever(server: Server) -> Iterator[PlumblineRetriever]:
    from haystack.utils import Secret

    from plumbline_integrations.haystack import PlumblineRetriever

    made = PlumblineRetriever(server.url, key=Secret.from_token("any"))
    yield made
    made.close()


@pytest.fixture
def answerer(server: Server) -> Iterator[PlumblineAnswerer]:
    from plumbline_integrations.haystack import PlumblineAnswerer

    made = PlumblineAnswerer(server.url)
    yield made
    made.close()


def pipeline_of(**components: Component) -> Pipeline:
    from haystack import Pipeline

    made = Pipeline()
    for name, component in components.items():
        made.add_component(name, component)
    return made


def answer_of(answerer: PlumblineAnswerer, question: str) -> GeneratedAnswer:
    from haystack import GeneratedAnswer

    pipeline = pipeline_of(plumbline=answerer)
    (answer,) = pipeline.run({"plumbline": {"query": question}})["plumbline"]["answers"]
    assert isinstance(answer, GeneratedAnswer)
    return answer


def test_its_documents_have_the_place_of_each_passage(retriever: PlumblineRetriever) -> None:
    from haystack import Document
    from haystack.components.builders import PromptBuilder

    prompt = PromptBuilder("{% for d in documents %}{{ d.content }}{% endfor %}")
    pipeline = pipeline_of(plumbline=retriever, prompt=prompt)
    pipeline.connect("plumbline.documents", "prompt.documents")
    ran = pipeline.run(
        {"plumbline": {"query": QUESTION, "top_k": 1}}, include_outputs_from={"plumbline"}
    )
    (found,) = ran["plumbline"]["documents"]
    assert isinstance(found, Document)
    check_place(found.meta)
    assert found.content == TEXT[found.meta["start"] : found.meta["end"]]
    assert found.score == found.meta["score"]
    assert QUOTE in ran["prompt"]["prompt"]


def test_the_answerer_gives_plumbline_s_own_answer(answerer: PlumblineAnswerer) -> None:
    from haystack import GeneratedAnswer

    answer = answer_of(answerer, QUESTION)
    assert answer.data == f"{QUOTE} [1]"
    assert not answer.meta["abstained"]
    check_place(answer.documents[0].meta)
    check_quote(answer.documents[0].meta)
    assert GeneratedAnswer.from_dict(answer.to_dict()) == answer


def test_an_abstention_is_visible(answerer: PlumblineAnswerer) -> None:
    answer = answer_of(answerer, UNANSWERABLE)
    assert answer.data.startswith("No answer: ")
    assert answer.meta["abstained"]
    assert answer.meta["reason"]


def test_a_pipeline_is_written_and_read(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    from haystack import Pipeline
    from haystack.core.errors import DeserializationError
    from haystack.utils import Secret

    from plumbline_integrations.haystack import PlumblineRetriever

    monkeypatch.setenv("PLUMBLINE_KEY", "any")
    key = Secret.from_env_var("PLUMBLINE_KEY")
    pipeline = pipeline_of(plumbline=PlumblineRetriever(server.url, key=key, top_k=1))
    written = pipeline.dumps()
    assert "PLUMBLINE_KEY" in written
    with pytest.raises(DeserializationError, match="allowed_modules"):
        Pipeline.loads(written)
    read = Pipeline.loads(written, allowed_modules=["plumbline_integrations.haystack"])
    assert read.to_dict() == pipeline.to_dict()
    assert len(read.run({"plumbline": {"query": QUESTION}})["plumbline"]["documents"]) == 1
    read.close()


def test_asyncio_gets_the_same(server: Server) -> None:
    from plumbline_integrations.haystack import PlumblineAnswerer, PlumblineRetriever

    async def ask() -> None:
        pipeline = pipeline_of(
            found=PlumblineRetriever(server.url), told=PlumblineAnswerer(server.url)
        )
        asked = {"found": {"query": QUESTION}, "told": {"query": QUESTION}}
        ran = await pipeline.run_async(asked)
        assert [d.id for d in ran["found"]["documents"]] == [
            d.id for d in ran["told"]["answers"][0].documents
        ]
        assert ran["told"]["answers"][0].data == f"{QUOTE} [1]"
        await pipeline.close_async()

    asyncio.run(ask())


def test_errors_pass_through_typed(server: Server) -> None:
    from haystack.core.errors import PipelineRuntimeError

    from plumbline_integrations.haystack import PlumblineRetriever

    component = PlumblineRetriever(server.url, collection="nope")
    with pytest.raises(NotFoundError):
        component.run(QUESTION)
    pipeline = pipeline_of(plumbline=component)
    with pytest.raises(PipelineRuntimeError) as failed:
        pipeline.run({"plumbline": {"query": QUESTION}})
    assert isinstance(failed.value.__cause__, NotFoundError)
    component.close()
