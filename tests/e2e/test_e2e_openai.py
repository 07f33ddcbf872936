"""OpenAI's own client, against a real server."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletion, ChatCompletionMessageParam

from rag.api.app import app_without_lifespan
from rag.api.deps import Running
from rag.api.openai import schemas as wire
from rag.errors import BusyError
from rag.settings.operations import LimitSettings
from rag.settings.tree import Settings
from rag.types import Scope
from tests.e2e.test_e2e_stream import SECONDS, Failing, Hanging, HangingAtOnce
from tests.e2e.test_e2e_stream import serving as serving_pipeline
from tests.fakes import service_of
from tests.places import ROOT
from tests.servers import Json, Server, serving, submit

HANDBOOK = """The office opens at nine in the morning. The canteen serves lunch from noon.

Travel is booked through the travel desk. A train ticket needs no approval.
"""
HOURS = {"id": "hours", "title": "Opening hours", "uri": "https://a.example/hours",
         "text": "The office opens at nine. On Fridays it closes at four."}  # fmt: skip
PAGE = ROOT / "docs" / "openai.md"
QUESTION: list[ChatCompletionMessageParam] = [
    {"role": "user", "content": "When does the office open?"}
]
UNKNOWABLE: list[ChatCompletionMessageParam] = [
    {"role": "user", "content": "Who composed the opera Tosca?"}
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    limits = {"RAG_LIMITS__TEXTS": "100", "RAG_LIMITS__MESSAGES": "20"}
    with serving(tmp_path_factory.mktemp("openai") / "data", env=limits) as running:
        with running.client() as http:
            handbook = {"id": "handbook", "title": "Handbook", "text": HANDBOOK,
                        "uri": "https://a.example/h", "meta": {"year": 2024}}  # fmt: skip
            garden = {"id": "garden", "text": "Tomatoes are sown in March.", "meta": {"year": 1999}}
            assert submit(http, handbook, garden, collection="handbook")["state"] == "succeeded"
            assert submit(http, garden, HOURS)["state"] == "succeeded"
        yield running
        assert "Traceback" not in running.log.read_text()


@pytest.fixture(scope="module")
def http(server: Server) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[OpenAI]:
    with client_of(server.url) as made:
        yield made


def client_of(url: str, **options: Any) -> OpenAI:
    return OpenAI(base_url=f"{url}/v1", api_key="none", **({"max_retries": 0} | options))


def extension(of: Any) -> Json:
    """Returns the `plumbline` field, which extends OpenAI's API."""
    found: Json = of.plumbline
    return found


def ask(client: OpenAI, **options: Any) -> ChatCompletion:
    given: dict[str, Any] = {"model": "handbook", "messages": QUESTION} | options
    completion = client.chat.completions.create(**given)
    assert isinstance(completion, ChatCompletion)
    return completion


def refused(response: httpx.Response, status: int, code: str, param: str | None) -> str:
    """Checks the form of an error and returns its message."""
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert wire.OpenAIProblem.model_validate(body).model_dump() == body
    error = body["error"]
    assert (response.status_code, error["code"], error["param"]) == (status, code, param), body
    assert error["type"] == ("server_error" if status >= 500 else "invalid_request_error")
    message: str = error["message"]
    return message


class TestModels:
    def test_list(self, client: OpenAI, http: httpx.Client) -> None:
        models = client.models.list().data
        assert [model.id for model in models] == ["default", "handbook"]
        assert {(model.object, model.owned_by) for model in models} == {("model", "plumbline")}
        assert extension(models[1])["documents"] == 2
        body = http.get("/v1/models").json()
        assert wire.ModelList.model_validate(body).model_dump() == body

    def test_retrieve(self, client: OpenAI) -> None:
        model = client.models.retrieve("handbook")
        assert model == client.models.list().data[1]
        for unknown in ("nope", "gpt-3.5-turbo", "org/name", "a\0b"):
            with pytest.raises(openai.NotFoundError) as caught:
                client.models.retrieve(unknown)
            assert caught.value.code == "model_not_found"
            assert "GET /v1/collections" in str(caught.value)


class TestChat:
    def test_an_answer(self, client: OpenAI, http: httpx.Client) -> None:
        completion = ask(client)
        (choice,) = completion.choices
        assert choice.finish_reason == "stop"
        assert choice.message.role == "assistant"
        assert choice.message.content is not None
        assert choice.message.content.startswith("The office opens at nine in the morning. [1]")
        assert (completion.object, completion.model) == ("chat.completion", "handbook")
        assert completion.usage is not None
        assert completion.usage.total_tokens == 0  # no language model took part
        body = {"query": QUESTION[0]["content"], "collection": "handbook"}
        query = http.post("/v1/query", json=body).json()
        assert query["answer"] == choice.message.content
        fields = extension(completion)
        same = ("question", "hits", "abstained", "reason", "confidence", "degraded")
        assert {key: fields[key] for key in same} == {key: query[key] for key in same}

    def test_citations_are_annotations(self, client: OpenAI) -> None:
        message = ask(client).choices[0].message
        assert message.content
        assert message.annotations
        for annotation in message.annotations:
            cited = annotation.url_citation
            marker = message.content[cited.start_index : cited.end_index]
            ours = extension(annotation)
            assert marker == f"[{ours['marker']}]"
            assert (cited.url, cited.title) == (ours["uri"], ours["title"])
            assert cited.url == "https://a.example/h"
            assert HANDBOOK[ours["start"] : ours["end"]] == ours["quote"]

    def test_the_wire(self, http: httpx.Client) -> None:
        sent = {"model": "handbook", "messages": QUESTION}
        body = http.post("/v1/chat/completions", json=sent).json()
        assert wire.ChatCompletion.model_validate(body).model_dump(mode="json") == body

    def test_abstaining(self, client: OpenAI) -> None:
        completion = ask(client, messages=UNKNOWABLE)
        (choice,) = completion.choices
        fields = extension(completion)
        assert fields["abstained"] is True
        assert fields["reason"] in ("no_match", "weak_evidence")
        assert fields["confidence"] < 0.5
        assert (choice.finish_reason, choice.message.annotations) == ("stop", [])
        assert choice.message.content is not None
        assert choice.message.content.startswith("No answer: ")

    def test_the_last_message_is_the_question(self, client: OpenAI) -> None:
        completion = ask(
            client,
            messages=[
                {"role": "system", "content": "Talk like a pirate."},
                *UNKNOWABLE,
                {"role": "assistant", "content": "Puccini did."},
                {"role": "user", "content": [{"type": "text", "text": "When does the office"},
                                             {"type": "text", "text": "open?"}]},
            ],
        )  # fmt: skip
        assert "opens at nine" in (completion.choices[0].message.content or "")
        assert extension(completion)["question"] == "When does the office\nopen?"

    def test_which_passages(self, client: OpenAI) -> None:
        year = {"field": "year", "op": "eq", "value": 1999}
        fields = extension(ask(client, extra_body={"plumbline": {"filters": [year]}}))
        assert {hit["document_id"] for hit in fields["hits"]} == {"garden"}
        fields = extension(ask(client, extra_body={"plumbline": {"top_k": 1}}))
        assert len(fields["hits"]) == 1

    def test_what_tunes_a_model_is_taken(self, client: OpenAI) -> None:
        tuned = ask(
            client,
            temperature=1.5, top_p=0.1, max_tokens=1, max_completion_tokens=1, seed=7, stop=["."],
            user="u", frequency_penalty=1, n=1, tools=[], tool_choice="none", logprobs=False,
            response_format={"type": "text"}, extra_body={"top_k": -1, "min_p": 0.1},
        )  # fmt: skip
        assert tuned.choices == ask(client).choices

    @pytest.mark.parametrize(
        ("param", "value"),
        [
            ("n", 2),
            ("tools", "all"),
            ("functions", {"name": "f"}),
            ("logprobs", True),
            ("response_format.type", {"type": "xml"}),
            ("max_tokens", 0),
            ("modalities", ["text", "audio"]),
            ("stream", "perhaps"),
            ("plumbline.top_k", 0),
            ("plumbline.depth", 1),
            ("messages", []),
            ("messages", [{"role": "assistant", "content": "Well?"}]),
            ("messages", [{"role": "user", "content": " "}]),
            ("messages.0.role", [{"role": "robot", "content": "x"}]),
            ("messages", [{"role": "tool", "content": "x", "tool_call_id": "1"}]),
            ("messages.0.content", [{"role": "user", "content": [{"type": "image_url"}]}]),
            ("messages.0.content", [{"role": "user", "content": None}]),
        ],
    )
    def test_what_cannot_be_had_is_refused(self, client: OpenAI, param: str, value: Any) -> None:
        first, _, second = param.partition(".")
        nested = {second: value} if first == "plumbline" else value
        with pytest.raises(openai.BadRequestError) as caught:
            ask(client, extra_body={first: nested})
        assert (caught.value.code, caught.value.param) == ("invalid_input", param)
        assert f"{param}: " in str(caught.value)

    def test_limits(self, client: OpenAI, http: httpx.Client) -> None:
        with pytest.raises(openai.APIStatusError) as caught:
            ask(client, messages=[{"role": "user", "content": "x" * 16_001}])
        assert (caught.value.status_code, caught.value.code) == (413, "question_too_long")
        with pytest.raises(openai.APIStatusError) as caught:
            ask(client, messages=QUESTION * 21)
        assert (caught.value.status_code, caught.value.code) == (413, "conversation_too_long")
        with pytest.raises(openai.BadRequestError, match=r"limits\.top_k"):
            ask(client, extra_body={"plumbline": {"top_k": 101}})
        large = http.post("/v1/chat/completions", content=b" " * (1 << 20) + b"{}")
        assert "1 MiB" in refused(large, 413, "too_large", None)

    def test_unknown_model(self, client: OpenAI) -> None:
        for model in ("gpt-4o", "gpt-3.5-turbo", "../x", "A\0"):
            for stream in (False, True):
                with pytest.raises(openai.NotFoundError) as caught:
                    client.chat.completions.create(model=model, messages=QUESTION, stream=stream)
                assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
                assert "GET /v1/collections" in str(caught.value)

    @pytest.mark.anyio
    async def test_async(self, server: Server, client: OpenAI) -> None:
        async with AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none") as async_:
            completion = await async_.chat.completions.create(model="handbook", messages=QUESTION)
            chunks = await async_.chat.completions.create(
                model="handbook", messages=QUESTION, stream=True
            )
            texts = [c.choices[0].delta.content or "" async for c in chunks if c.choices]
        assert completion.choices == ask(client).choices
        assert "".join(texts) == completion.choices[0].message.content


class TestStream:
    @pytest.mark.parametrize("messages", [QUESTION, UNKNOWABLE])
    def test_the_same_as_whole(
        self, client: OpenAI, messages: list[ChatCompletionMessageParam]
    ) -> None:
        chunks = list(
            client.chat.completions.create(model="handbook", messages=messages, stream=True)
        )
        whole = ask(client, messages=messages)
        assert len({chunk.id for chunk in chunks}) == 1
        assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
        assert all(len(chunk.choices) == 1 and chunk.usage is None for chunk in chunks)
        deltas = [chunk.choices[0].delta for chunk in chunks]
        assert (deltas[0].role, deltas[0].content) == ("assistant", "")
        message = whole.choices[0].message
        assert "".join(delta.content or "" for delta in deltas) == message.content
        annotations = [a for d in deltas for a in (d.model_extra or {}).get("annotations", [])]
        assert annotations == [a.model_dump() for a in message.annotations or []]
        assert [chunk.choices[0].finish_reason for chunk in chunks[-2:]] == [None, "stop"]
        fields = extension(chunks[0]) | extension(chunks[-1])
        del fields["timings"], fields["trace_id"], fields["answer_id"]
        assert fields == {key: extension(whole)[key] for key in fields}
        assert "hits" in fields

    def test_usage(self, client: OpenAI) -> None:
        *chunks, last = client.chat.completions.create(
            model="handbook",
            messages=QUESTION,
            stream=True,
            stream_options={"include_usage": True},
        )
        assert last.choices == []
        assert last.usage is not None
        assert last.usage.total_tokens == 0
        assert all(chunk.choices and chunk.usage is None for chunk in chunks)

    def test_the_wire(self, http: httpx.Client) -> None:
        sent = {"model": "handbook", "messages": QUESTION, "stream": True}
        response = http.post("/v1/chat/completions", json=sent)
        assert response.headers["content-type"].startswith("text/event-stream")
        blocks = response.text.split("\n\n")
        assert blocks[-2:] == ["data: [DONE]", ""]
        assert all(block.startswith("data: {") for block in blocks[:-2])

    def test_hanging_up_stops_the_work(self) -> None:
        pipeline = Hanging()
        with serving_pipeline(pipeline) as url, client_of(url) as client:
            chunks = client.chat.completions.create(model="m", messages=QUESTION, stream=True)
            texts = [next(chunks).choices[0].delta.content for _ in range(2)]
            assert texts == ["", "One token"]
            assert pipeline.begun.wait(SECONDS)
            assert not pipeline.stopped.wait(0.2)
            chunks.close()
            assert pipeline.stopped.wait(SECONDS)

    @pytest.mark.parametrize(("kind", "stream"), [(Hanging, False), (HangingAtOnce, True)])
    def test_hanging_up_before_the_answer(self, kind: type[Hanging], stream: bool) -> None:
        pipeline = kind()
        with serving_pipeline(pipeline) as url, client_of(url, timeout=0.5) as client:
            with pytest.raises(openai.APITimeoutError):
                client.chat.completions.create(model="m", messages=QUESTION, stream=stream)
            assert pipeline.begun.is_set()
            assert pipeline.stopped.wait(SECONDS)

    def test_failing_amid(self) -> None:
        for error, code in ((BusyError("Too many wait."), "busy"), (ValueError("x"), "internal")):
            with serving_pipeline(Failing(error)) as url, client_of(url) as client:
                chunks = client.chat.completions.create(model="m", messages=QUESTION, stream=True)
                assert [next(chunks).choices[0].delta.content for _ in range(2)][1] == "One token"
                with pytest.raises(openai.APIError) as caught:
                    next(chunks)
                assert (caught.value.code, caught.value.type) == (code, "server_error")


class TestEmbeddings:
    def test_the_service_s_own_vectors(self, client: OpenAI, http: httpx.Client) -> None:
        texts = ["When does the office open?", "Tomatoes", "x " * 2000]
        plain = client.embeddings.create(model="handbook", input=texts, encoding_format="float")
        vectors = np.array([item.embedding for item in plain.data])
        assert vectors.shape == (3, 384)
        assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-3)
        assert [item.index for item in plain.data] == [0, 1, 2]
        assert plain.usage.prompt_tokens == plain.usage.total_tokens > 2000
        packed = client.embeddings.create(model="handbook", input=texts)  # base64, unpacked
        assert np.array([item.embedding for item in packed.data]) == pytest.approx(vectors)
        sent = {"model": "handbook", "input": texts[0], "encoding_format": "base64"}
        body = http.post("/v1/embeddings", json=sent).json()
        assert wire.EmbeddingList.model_validate(body).model_dump() == body
        raw = np.frombuffer(base64.b64decode(body["data"][0]["embedding"]), "<f4")
        assert raw == pytest.approx(vectors[0], abs=0.01)  # a batch of its own

    def test_they_rank_as_the_dense_leg_does(self, client: OpenAI, http: httpx.Client) -> None:
        ask = {"query": "When does the office open?", "collection": "handbook"}
        hits = http.post("/v1/search", json=ask).json()["hits"]
        passages = [f"{hit['title']}\n{hit['text']}" for hit in hits]
        question = client.embeddings.create(model="handbook", input=ask["query"]).data[0]
        embedded = client.embeddings.create(
            model="handbook", input=passages, extra_body={"input_type": "passage"}
        ).data
        cosines = [np.dot(question.embedding, passage.embedding) for passage in embedded]
        order = sorted(range(len(hits)), key=lambda n: -cosines[n])
        assert [hits[n]["ranks"]["dense"] for n in order] == sorted(
            hit["ranks"]["dense"] for hit in hits
        )

    @pytest.mark.parametrize(
        ("sent", "param"),
        [
            ({"input": []}, "input"),
            ({"input": ""}, "input"),
            ({"input": ["x", ""]}, "input"),
            ({"input": [1, 2, 3]}, "input"),
            ({"input": [[1], [2]]}, "input"),
            ({"input": None}, "input"),
            ({"encoding_format": "hex"}, "encoding_format"),
            ({"dimensions": 0}, "dimensions"),
            ({"input_type": "classification"}, "input_type"),
            ({"model": ""}, "model"),
        ],
    )
    def test_what_cannot_be_had(self, http: httpx.Client, sent: Json, param: str) -> None:
        body = {"model": "handbook", "input": "x"} | sent
        refused(http.post("/v1/embeddings", json=body), 400, "invalid_input", param)

    def test_limits_and_models(self, client: OpenAI) -> None:
        with pytest.raises(openai.APIStatusError, match=r"limits\.texts") as caught:
            client.embeddings.create(model="handbook", input=["x"] * 101)
        assert caught.value.status_code == 413
        with pytest.raises(openai.BadRequestError, match="384"):
            client.embeddings.create(model="handbook", input="x", dimensions=128)
        with pytest.raises(openai.NotFoundError):
            client.embeddings.create(model="text-embedding-3-small", input="x")
        same = client.embeddings.create(model="handbook", input=["x"] * 100, dimensions=384)
        assert len(same.data) == 100


class TestRerank:
    DOCUMENTS = (
        "Tomatoes are sown in March.",
        "The office opens at nine in the morning.",
        "The canteen serves lunch from noon.",
    )

    def test_best_first(self, http: httpx.Client) -> None:
        sent = {
            "model": "handbook",
            "query": "When does the office open?",
            "documents": [self.DOCUMENTS[0], *({"text": text} for text in self.DOCUMENTS[1:])],
        }
        body = http.post("/v1/rerank", json=sent).json()
        assert wire.RerankResponse.model_validate(body).model_dump(exclude_none=True) == body
        assert [ranked["index"] for ranked in body["results"]] == [1, 2, 0]
        scores = [ranked["relevance_score"] for ranked in body["results"]]
        assert scores == sorted(scores, reverse=True)
        assert 0.5 < scores[0] <= 1
        assert body["usage"]["total_tokens"] > 20
        body = http.post("/v1/rerank", json=sent | {"top_n": 2, "return_documents": True}).json()
        assert wire.RerankResponse.model_validate(body).model_dump() == body
        texts = [ranked["document"]["text"] for ranked in body["results"]]
        assert texts == [self.DOCUMENTS[1], self.DOCUMENTS[2]]

    def test_what_cannot_be_had(self, http: httpx.Client) -> None:
        fine = {"model": "handbook", "query": "x", "documents": ["a"]}
        wrongs: list[tuple[Json, str]] = [
            ({"query": ""}, "query"),
            ({"documents": []}, "documents"),
            ({"documents": [{"title": "a"}]}, "documents.0"),
            ({"documents": [5]}, "documents.0"),
            ({"top_n": 0}, "top_n"),
        ]
        for wrong, param in wrongs:
            response = http.post("/v1/rerank", json=fine | wrong)
            refused(response, 400, "invalid_input", param)
        many = http.post("/v1/rerank", json=fine | {"documents": ["a"] * 101})
        assert "limits.texts" in refused(many, 413, "too_large", None)
        long = http.post("/v1/rerank", json=fine | {"query": "x" * 16_001})
        refused(long, 413, "question_too_long", None)
        unknown = http.post("/v1/rerank", json=fine | {"model": "nope"})
        refused(unknown, 404, "model_not_found", "model")
        assert http.post("/v1/rerank", json=fine | {"documents": ["", "\0"]}).status_code == 200


class Stuck:
    """An embedder and reranker that never finishes, and collections that all exist."""

    dim = 384
    fingerprint = "stuck"

    def __init__(self) -> None:
        self.stopped = 0

    async def check_exists(self, _: Scope) -> None:
        """Does nothing: all collections exist."""

    async def embed(self, *_: Any, **__: Any) -> None:
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            self.stopped += 1
            raise

    score = embed


def test_the_page_s_example(server: Server) -> None:
    (example,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    script = example.replace("http://127.0.0.1:8000", server.url)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr
    promised = re.findall(r"# (On Fridays.*)", example)
    answer, cited, confidence = done.stdout.splitlines()
    assert [answer] == promised
    assert cited == "[1] Opening hours https://a.example/hours"
    assert 0 < float(confidence) <= 1


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
SENT = st.fixed_dictionaries(
    {"model": st.just("handbook") | JUNK},
    optional={
        "messages": st.lists(
            st.fixed_dictionaries(
                {"role": st.sampled_from(["system", "user", "assistant"]) | JUNK,
                 "content": st.text(st.characters(), max_size=20) | JUNK}
            ),
            max_size=3,
        ),
        "stream": st.booleans() | JUNK,
        "stream_options": st.just({"include_usage": True}) | JUNK,
        "plumbline": st.just({"top_k": 1}) | JUNK,
        "tools": JUNK,
        "response_format": JUNK,
        "input": st.text(st.characters(), max_size=20) | JUNK,
        "query": st.text(st.characters(), max_size=20) | JUNK,
        "documents": st.lists(st.text(st.characters(), max_size=20) | JUNK, max_size=3) | JUNK,
        "top_n": st.integers() | JUNK,
    },
)  # fmt: skip


class TestErrors:
    @given(path=st.sampled_from(["chat/completions", "embeddings", "rerank"]), body=SENT | JUNK)
    @settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
    def test_whatever_comes(self, http: httpx.Client, path: str, body: Any) -> None:
        headers = {"Content-Type": "application/json"}
        response = http.post(f"/v1/{path}", content=json.dumps(body), headers=headers)
        assert response.status_code < 500, response.text
        if response.status_code >= 400:
            error = wire.OpenAIProblem.model_validate(response.json()).error
            assert error.type == "invalid_request_error"

    @pytest.mark.anyio
    async def test_too_late(self) -> None:
        stuck = Stuck()
        limits = LimitSettings(query_seconds=0.1)
        settings = Settings(limits=limits)
        service = service_of(
            settings=settings,
            catalog=SimpleNamespace(collections=stuck),
            embedder=stuck,
            reranker=stuck,
        )
        app = app_without_lifespan(service.settings, Running(opened=service))
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
            for path, body in (
                ("/v1/embeddings", {"model": "m", "input": "x"}),
                ("/v1/rerank", {"model": "m", "query": "x", "documents": ["y"]}),
            ):
                response = await http.post(path, json=body)
                assert "limits.query_seconds" in refused(response, 503, "deadline", None)
                assert response.headers["retry-after"]
        assert stuck.stopped == 2

    def test_bodies_that_are_no_json(self, http: httpx.Client) -> None:
        for path in ("/v1/chat/completions", "/v1/embeddings", "/v1/rerank"):
            for body in (b"{", b"\xff", b"[" * 100_000):
                headers = {"Content-Type": "application/json"}
                response = http.post(path, content=body, headers=headers)
                refused(response, 400, "malformed_json", None)

    def test_other_methods(self, http: httpx.Client) -> None:
        for path in ("/v1/chat/completions", "/v1/embeddings", "/v1/rerank"):
            refused(http.get(path), 405, "method_not_allowed", None)

    def test_half_characters(self, http: httpx.Client) -> None:
        for path, body in (
            ("/v1/embeddings", b'{"model": "handbook", "input": "a \\ud800"}'),
            ("/v1/rerank", b'{"model": "handbook", "query": "a", "documents": ["\\udc00"]}'),
        ):
            headers = {"Content-Type": "application/json"}
            assert http.post(path, content=body, headers=headers).status_code == 200

    @pytest.mark.anyio
    async def test_not_loaded(self) -> None:
        transport = httpx.ASGITransport(app=app_without_lifespan(Settings(), Running()))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
            asked = {"model": "m", "messages": QUESTION}
            for request in (http.get("/v1/models"), http.post("/v1/chat/completions", json=asked)):
                response = await request
                assert "/readyz" in refused(response, 503, "loading", None)
                assert response.headers["retry-after"]

    def test_failures(self) -> None:
        with (
            serving_pipeline(Failing(BusyError("Too many wait."))) as url,
            client_of(url) as client,
        ):
            with pytest.raises(openai.InternalServerError, match="Too many wait") as caught:
                ask(client)
            assert (caught.value.status_code, caught.value.code) == (503, "busy")
            assert caught.value.response.headers["retry-after"]
        with serving_pipeline(Failing(ValueError("secret"))) as url, client_of(url) as client:
            with pytest.raises(openai.InternalServerError) as caught:
                ask(client)
            assert caught.value.code == "internal"
            assert "secret" not in str(caught.value)
