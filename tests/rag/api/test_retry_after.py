"""The retry delays that parts of the service report."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from http.server import BaseHTTPRequestHandler

import pytest

from generation.fallback import Engine, FallbackGenerator
from generation.models.openai import MAX_WAIT_SECONDS, OpenAIModel
from rag.errors import BusyError, InputError, UpstreamError
from rag.process.circuit_breaker import FAILURES, PAUSE_SECONDS, Breaker
from rag.types import Delta, Message, Prompt, Sampling, Scope
from tests.model_server import PATIENCE, ModelServer, Script, model_server, says

pytestmark = pytest.mark.anyio
CHAT = (Message(role="user", content="Why?"),)


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with model_server(says("Because.")) as running:
        yield running


def asks_to_wait(told: str | None) -> Script:
    """Returns a script that answers 429, with this Retry-After if one is given."""

    def script(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(429)
        if told is not None:
            handler.send_header("Retry-After", told)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return script


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        (None, BusyError.retry_after),
        ("7", 7.0),
        ("100000", MAX_WAIT_SECONDS),
        ("Fri, 31 Dec 2027 23:59:59 GMT", BusyError.retry_after),
        ("-1", BusyError.retry_after),
    ],
)
async def test_a_model_s_server_is_waited_for_as_it_asks(
    server: ModelServer, told: str | None, seconds: float
) -> None:
    server.script = asks_to_wait(told)
    model = OpenAIModel(
        base_url=server.base_url, api_key=None, model="tiny", context_tokens=99, seconds=PATIENCE
    )
    with pytest.raises(BusyError) as caught:
        await anext(model.stream(CHAT, sampling=Sampling(max_tokens=5)))
    await model.close()
    assert caught.value.retry_after == seconds


class Fails:
    """A generator that raises the error it is given."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def stream(self, _: Prompt) -> AsyncGenerator[Delta, None]:
        raise self._error
        yield Delta()


async def test_a_generator_that_is_left_alone_says_for_how_long() -> None:
    now = [1000.0]
    breaker = Breaker(clock=lambda: now[0])
    for _ in range(FAILURES):
        breaker.failed()
    now[0] += 12
    first = Engine(name="first", generator=Fails(UpstreamError("away")), breaker=breaker)
    last = Engine(name="last", generator=Fails(InputError("no JSON here")))
    prompt = Prompt(question="?", scope=Scope(tenant="t", collection="c"), hits=())
    with pytest.raises(UpstreamError, match="left alone") as caught:
        await anext(FallbackGenerator([first, last], seconds=5).stream(prompt))
    assert caught.value.retry_after == PAUSE_SECONDS - 12
