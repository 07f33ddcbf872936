"""The command line's REST client, when a server other than Plumbline answers."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler

import pytest

from rag.client.http import connect
from rag.errors import UpstreamError
from tests.model_server import Script, model_server

pytestmark = pytest.mark.anyio


def answers(status: int, body: bytes = b"", **headers: str) -> Script:
    def script(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        if status != 204:
            handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return script


@pytest.mark.parametrize(
    "script",
    [
        answers(200, b"<html>Log in</html>"),
        answers(200, b"[]"),
        answers(404, b"<html>Nothing here</html>"),
        answers(302, Location="/login"),
    ],
    ids=["a page", "a list", "no page", "a redirect"],
)
async def test_what_is_no_plumbline_is_told(script: Script) -> None:
    with model_server(script) as server:
        async with connect(server.url) as client:
            with pytest.raises(UpstreamError, match="Is another service listening there") as caught:
                await client.post("/v1/documents", json={})
    assert caught.value.code == "unexpected_answer"


async def test_an_answer_without_content_is_an_empty_one() -> None:
    with model_server(answers(204)) as server:
        async with connect(server.url) as client:
            assert await client.post("/v1/feedback", json={}) == {}
