"""The client against servers that refuse, fail, break off, or are none of Plumbline's."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from rag.client import (
    NEVER,
    AnswerEvent,
    AsyncClient,
    Client,
    ConflictError,
    Event,
    File,
    Filter,
    ForbiddenError,
    InputError,
    Message,
    NewDocument,
    NotFoundError,
    PlumblineError,
    QuotaExceededError,
    RateLimitedError,
    Readers,
    ResponseFormat,
    Retries,
    ServerError,
    TokenEvent,
    TooLargeError,
    UnauthenticatedError,
    UnavailableError,
    UnexpectedAnswerError,
    UnreachableError,
)
from tests.model_server import Listener, ModelServer, Script, cut, goes_on, model_server, sends
from tests.ports import free_port

pytestmark = pytest.mark.anyio
SEARCHED: dict[str, Any] = {"hits": [], "timings": {}, "degraded": [], "trace_id": "t"}
ANSWER: dict[str, Any] = SEARCHED | {
    "answer": "At nine. [1]",
    "citations": [],
    "answer_id": "a",
    "question": "When?",
    "unsupported": [],
    "uncited": [],
    "claims": [],
    "abstained": False,
    "reason": None,
    "missing": [],
    "confidence": 0.9,
    "cached": None,
    "route": None,
    "variant": "base",
    "usage": {"input_tokens": 0, "output_tokens": 0, "cost": 0.0},
    "finish_reason": None,
}
KEY: dict[str, Any] = {
    "id": "k", "name": "n", "tenant": "t", "scopes": [], "collections": None, "subject": "",
    "groups": [], "created_at": "", "expires_at": None, "revoked_at": None, "last_used_at": None,
    "previous_until": None, "key": "pl_k_0",
}  # fmt: skip


def answers(status: int, body: Any = b"", **headers: str) -> Script:
    """Returns a script that answers with bytes, or with JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()

    def script(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        if status != 204:
            handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    return script


def refusal(status: int, code: str, **headers: str) -> Script:
    problem = {"type": "", "title": "", "status": status, "detail": "Because.", "code": code,
               "request_id": "r1"}  # fmt: skip
    return answers(status, problem, **headers)


def in_turn(*scripts: Script) -> Script:
    """Returns a script that answers the first request with the first, and so on."""
    left = list(scripts)

    def script(handler: BaseHTTPRequestHandler) -> None:
        left.pop(0)(handler)

    return script


@contextlib.contextmanager
def form_server(bodies: list[bytes], replies: list[Script]) -> Iterator[str]:
    """Takes forms, which `model_server` does not read; yields its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            replies.pop(0)(self)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its signature
            """Tests are quiet."""

    listener = Listener(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.server_address[1]}"
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join()


def event(name: str, data: Any) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode()


@pytest.mark.parametrize(
    "script",
    [
        answers(200, b"<html>Log in</html>"),
        answers(200, []),
        answers(200, {"hits": 7}),
        answers(404, b"<html>Nothing here</html>"),
        answers(404, {"error": "not found"}),
        answers(302, Location="/login"),
    ],
    ids=["a page", "a list", "other fields", "no page", "another error", "a redirect"],
)
async def test_what_is_no_plumbline_is_told(script: Script) -> None:
    with model_server(script) as server:
        with Client(server.url) as client, pytest.raises(UnexpectedAnswerError) as caught:
            client.search("x")
        async with AsyncClient(server.url) as client_:
            with pytest.raises(UnexpectedAnswerError, match="Is another service listening there"):
                await client_.search("x")
            with pytest.raises(UnexpectedAnswerError):
                async with client_.stream("x") as events:
                    await anext(events)
    assert caught.value.code == "unexpected_answer"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, UnauthenticatedError),
        (402, QuotaExceededError),
        (403, ForbiddenError),
        (404, NotFoundError),
        (409, ConflictError),
        (413, TooLargeError),
        (418, InputError),
        (422, InputError),
        (429, RateLimitedError),
        (500, ServerError),
        (503, UnavailableError),
        (507, ServerError),
    ],
)
def test_a_problem_is_an_error_of_its_kind(status: int, kind: type[PlumblineError]) -> None:
    with (
        model_server(refusal(status, "some_code", Retry_After="7")) as server,
        Client(server.url, retries=NEVER) as client,
        pytest.raises(kind) as caught,
    ):
        client.search("x")
    error = caught.value
    assert type(error) is kind
    assert (str(error), error.code, error.status) == ("Because.", "some_code", status)
    assert (error.request_id, error.retry_after) == ("r1", 7.0)


def test_retry_after_may_be_a_date() -> None:
    script = refusal(503, "busy", Retry_After="Fri, 01 Jan 2100 00:00:00 GMT")
    with (
        model_server(script) as server,
        Client(server.url) as client,
        pytest.raises(UnavailableError) as caught,  # it is too far away to wait for
    ):
        client.search("x")
    assert caught.value.retry_after is not None
    assert caught.value.retry_after > 1e9


SEARCH: Callable[[Client], object] = lambda client: client.search("x")  # noqa: E731
CREATE: Callable[[Client], object] = lambda client: client.create_key("n", ["ask"])  # noqa: E731
FOUND, MADE = answers(200, SEARCHED), answers(201, KEY)


@pytest.mark.parametrize(
    ("make", "first", "then", "attempts"),
    [
        (SEARCH, refusal(503, "busy", Retry_After="1"), FOUND, 2),
        (SEARCH, refusal(503, "loading", Retry_After="1"), FOUND, 2),
        (SEARCH, refusal(429, "rate_limited", Retry_After="1"), FOUND, 2),
        (SEARCH, cut, FOUND, 2),
        (SEARCH, refusal(429, "rate_limited"), FOUND, 1),
        (SEARCH, refusal(503, "busy", Retry_After="3600"), FOUND, 1),
        (SEARCH, refusal(402, "quota_exceeded", Retry_After="1"), FOUND, 1),
        (SEARCH, refusal(500, "internal", Retry_After="1"), FOUND, 1),
        (CREATE, refusal(503, "loading", Retry_After="1"), MADE, 2),
        (CREATE, refusal(429, "rate_limited", Retry_After="1"), MADE, 2),
        (CREATE, refusal(503, "busy", Retry_After="1"), MADE, 1),
        (CREATE, cut, MADE, 1),
    ],
)
def test_a_call_is_made_again_where_that_is_safe(
    make: Callable[[Client], object], first: Script, then: Script, attempts: int
) -> None:
    with model_server(in_turn(first, then)) as server, Client(server.url) as client:
        began = time.monotonic()
        if attempts == 1:
            with pytest.raises(PlumblineError):
                make(client)
        else:
            make(client)
            assert first is cut or time.monotonic() - began >= 1.0  # as the server asked
        assert len(server.requests) == attempts


async def test_attempts_wait_for_no_longer_than_they_may() -> None:
    script = refusal(503, "busy", Retry_After="1")
    with model_server(script) as server:
        async with AsyncClient(server.url, retries=Retries(seconds=1.5)) as client:
            with pytest.raises(UnavailableError):
                await client.search("x")
    assert len(server.requests) == 2


async def test_a_server_that_is_not_there_is_unreachable() -> None:
    url = f"http://anna:secret@127.0.0.1:{free_port()}"
    with Client(url) as client, pytest.raises(UnreachableError, match="does not answer") as caught:
        client.list_collections()
    assert "secret" not in str(caught.value)
    assert caught.value.status is None
    async with AsyncClient(url) as client_:
        with pytest.raises(UnreachableError):
            await client_.list_collections()


def test_an_upload_is_sent_whole_again(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("A" * 300_000)
    bodies: list[bytes] = []
    accepted = {"job_id": "j", "documents": [], "notices": []}
    replies = [refusal(503, "busy", Retry_After="1"), answers(202, accepted)]
    with form_server(bodies, replies) as url, Client(url) as client:
        seen: list[tuple[int, int]] = []
        files: list[File | Path | str] = [tmp_path / "a.txt", File(name="b.txt", content=b"B")]
        sent = client.upload_files(files, on_progress=lambda done, of: seen.append((done, of)))
    assert sent.id == "j"
    first, second = (body.partition(b"\r\n")[2] for body in bodies)
    assert first.count(b"A") >= 300_000
    assert b'filename="b.txt"' in first
    assert len(first) == len(second)
    assert seen[-1] == (len(bodies[1]), len(bodies[1]))
    assert len(seen) > 4


class TestStreams:
    async def test_events_come_wherever_the_bytes_are_cut(self) -> None:
        text = "Um neun.\u2028 Täglich. 保管"
        stream = b"".join(
            [
                b": heartbeat\r\n\r\n",
                event("hits", {"hits": []}),
                event("token", {"text": text, "new_field": 1}),
                event("news", {"of": "a newer server"}),
                event("retract", {"start": 0, "end": 3, "objection": "a newer word"}),
                event("answer", ANSWER),
            ]
        )
        pieces = [stream[i : i + 1] for i in range(len(stream))]
        with model_server(sends(*pieces)) as server:
            with Client(server.url) as client, client.stream("When?") as events:
                found = list(events)
            async with AsyncClient(server.url) as client_, client_.stream("When?") as events_:
                assert [each async for each in events_] == found
        stored: TypeAdapter[list[Event]] = TypeAdapter(list[Event])
        assert stored.validate_json(stored.dump_json(found)) == found
        assert [each.type for each in found] == ["hits", "token", "retract", "answer"]
        assert isinstance(found[1], TokenEvent)
        assert found[1].text == text
        assert isinstance(found[-1], AnswerEvent)
        assert found[-1].confidence == 0.9
        assert server.requests[0] == {"query": "When?", "stream": True}

    @pytest.mark.parametrize("end", [None, cut], ids=["an end", "a cut"])
    async def test_half_an_answer_is_an_error(self, end: Script | None) -> None:
        with model_server(sends(event("token", {"text": "At"}), then=end)) as server:
            with Client(server.url) as client, client.stream("When?") as events:
                assert isinstance(next(events), TokenEvent)
                with pytest.raises(UnreachableError):
                    next(events)
            async with AsyncClient(server.url) as client_:
                with pytest.raises(UnreachableError):
                    async with client_.stream("When?") as events_:
                        _ = [each async for each in events_]

    async def test_a_failure_amid_the_answer_is_raised(self) -> None:
        problem = {"status": 503, "detail": "It died.", "code": "engine_died", "request_id": "r"}
        script = sends(event("token", {"text": "At"}), event("error", problem))
        with model_server(script) as server:
            async with AsyncClient(server.url) as client:
                with pytest.raises(UnavailableError, match="It died") as caught:
                    async with client.stream("When?") as events:
                        _ = [each async for each in events]
        assert (caught.value.code, caught.value.request_id) == ("engine_died", "r")

    async def test_an_event_that_is_none_is_told(self) -> None:
        with (
            model_server(sends(b"event: token\ndata: {\n\n")) as server,
            Client(server.url) as client,
            client.stream("When?") as events,
            pytest.raises(UnexpectedAnswerError, match="'token'"),
        ):
            next(events)

    def test_a_refusal_is_raised_before_the_block(self) -> None:
        with (
            model_server(refusal(404, "unknown_collection")) as server,
            Client(server.url) as client,
            pytest.raises(NotFoundError, match="Because"),
            client.stream("When?"),
        ):
            pytest.fail("the block began")

    def test_leaving_the_block_hangs_up(self) -> None:
        with model_server(endless()) as server, Client(server.url) as client:
            with client.stream("When?") as events:
                assert isinstance(next(events), TokenEvent)
            assert server.hung_up.wait(30)

    async def test_cancelling_the_task_hangs_up(self) -> None:
        async def read(server: ModelServer) -> None:
            async with AsyncClient(server.url) as client, client.stream("When?") as events:
                async for _ in events:
                    pass

        with model_server(endless()) as server:
            reading = asyncio.create_task(read(server))
            assert await asyncio.to_thread(server.begun.wait, 30)
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
            assert await asyncio.to_thread(server.hung_up.wait, 30)


def endless() -> Script:
    return sends(event("token", {"text": "At"}), then=goes_on)


async def test_fields_and_words_of_a_newer_server_are_kept() -> None:
    newer = ANSWER | {"reason": "a_new_reason", "abstained": True, "colour": "red"}
    with model_server(answers(200, newer)) as server, Client(server.url) as client:
        answer = client.ask("x")
    assert answer.reason == "a_new_reason"
    assert answer.model_extra == {"colour": "red"}
    assert answer.model_dump(mode="json") == newer


def test_what_an_older_server_leaves_out_is_named() -> None:
    older = {name: value for name, value in ANSWER.items() if name != "claims"}
    with (
        model_server(answers(200, older)) as server,
        Client(server.url) as client,
        pytest.raises(UnexpectedAnswerError, match=r"\(claims: Field required\).*an older one"),
    ):
        client.ask("x")


async def test_an_answer_without_content_is_none() -> None:
    with model_server(answers(204)) as server:
        async with AsyncClient(server.url) as client:
            await client.give_feedback("a", rating="up")
    assert server.requests == [{"answer_id": "a", "rating": "up"}]


@pytest.mark.parametrize("part", [Filter, Message, NewDocument, Readers, ResponseFormat])
def test_parts_of_requests_are_fields_of_pydantic_models(part: type[Any]) -> None:
    assert TypeAdapter(part).json_schema()["type"] == "object"


def test_a_filter_is_checked_by_a_model_that_has_it() -> None:
    year = Filter(field="year", op="gte", value=2024)
    assert TypeAdapter(Filter).validate_python(year) == year
    with pytest.raises(ValidationError, match="op"):
        TypeAdapter(Filter).validate_python(year | {"op": "over"})
