"""Progress of an answer that a language model writes, and what cancelling it ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import anyio
import pytest
from mcp.client import Client

from tests.mcp_clients import MODES, by_http, by_streams, called
from tests.model_server import ModelServer, chunk, goes_on, model_server, says, sends
from tests.servers import Server, serving, submit

pytestmark = pytest.mark.anyio
TEXT = "The depot opens at seven. On Fridays it closes at four."
QUESTION = "When does the depot close on Fridays?"


def environment(model: ModelServer) -> dict[str, str]:
    return {
        "RAG_GENERATOR__KIND": "openai",
        "RAG_GENERATOR__BASE_URL": model.base_url,
        "RAG_GENERATOR__MODEL": "tiny",
        "RAG_CITATIONS__CLAIMS": "off",
        "RAG_LIMITS__QUERY_SECONDS": "600",  # no deadline ends the work instead
    }


@pytest.fixture(scope="module")
def model() -> Iterator[ModelServer]:
    with model_server(says("On Fridays ", "it closes at four. [1]")) as running:
        yield running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, model: ModelServer) -> Iterator[Server]:
    data = tmp_path_factory.mktemp("progress") / "data"
    with serving(data, env=environment(model)) as running, running.client() as http:
        submit(http, {"id": "depot", "text": TEXT})
        yield running


@pytest.fixture(params=[(by, version) for by in ("http", "streams") for version in MODES])
def connect(
    request: pytest.FixtureRequest, server: Server, tmp_path: Path
) -> AbstractAsyncContextManager[Client]:
    """Connects to the server in one of the ways."""
    by, version = request.param
    if by == "http":
        return by_http(server.url, version=version)
    return by_streams(tmp_path / "data", env={"RAG_URL": server.url}, version=version)


async def test_an_answer_tells_its_progress(
    connect: AbstractAsyncContextManager[Client], model: ModelServer
) -> None:
    model.script = says(*(f"It closes at four on Friday {number}. [1] " for number in range(40)))
    told: list[tuple[float, str | None]] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        assert total is None  # nobody knows how long an answer becomes
        told.append((progress, message))

    async with connect as client:
        result = await client.call_tool("answer", {"query": QUESTION}, progress_callback=note)
    assert not result.is_error
    assert told[0] == (1, "1 passages found")
    assert [progress for progress, _ in told] == sorted({progress for progress, _ in told})
    assert any("characters written" in (message or "") for _, message in told)


async def test_leaving_an_answer_ends_the_model_s_work(
    connect: AbstractAsyncContextManager[Client], model: ModelServer
) -> None:
    model.script = goes_on_after_a_sentence
    model.begun.clear()
    model.hung_up.clear()
    async with connect as client, anyio.create_task_group() as asking:
        asking.start_soon(client.call_tool, "answer", {"query": QUESTION})
        await anyio.to_thread.run_sync(model.begun.wait, 60)
        asking.cancel_scope.cancel()
    assert await anyio.to_thread.run_sync(model.hung_up.wait, 60)


def goes_on_after_a_sentence(handler: BaseHTTPRequestHandler) -> None:
    sends(chunk("It closes at four. [1] "), then=goes_on)(handler)


async def test_a_cancelled_answer_leaves_the_client_as_it_was(
    connect: AbstractAsyncContextManager[Client], model: ModelServer
) -> None:
    model.begun.clear()
    async with connect as client:
        model.script = goes_on_after_a_sentence
        async with anyio.create_task_group() as asking:
            asking.start_soon(client.call_tool, "answer", {"query": QUESTION})
            await anyio.to_thread.run_sync(model.begun.wait, 60)
            asking.cancel_scope.cancel()
        found = await called(client, "search", query=QUESTION)
        assert [each["id"] for each in found["results"]] == ["default/depot"]
