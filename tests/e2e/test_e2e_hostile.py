"""Requests that would exhaust a server, sent to a real one."""

from __future__ import annotations

import contextlib
import json
import resource
import select
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.pressure import MIB, connected, replied, watched
from tests.servers import RAG, Server, serving, wait_for

JSON = {"Content-Type": "application/json"}
QUESTION_BYTES = MIB - 100
"""Bytes of a body, a little under the bound on bodies without documents."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("hostile") / "data", command=RAG) as made:
        yield made


def repeated(head: str, item: str, tail: str, size: int) -> bytes:
    """Returns a body that repeats `item` as often as fits into `size` bytes."""
    return (head + ",".join([item] * ((size - len(head)) // (len(item) + 1))) + tail).encode()


def unknown_fields(head: str, tail: str, size: int) -> bytes:
    return (head + ",".join(f'"{i:07}":1' for i in range(size // 12)) + tail).encode()


def seen_refusing(server: Server, path: str, body: bytes, *, grown: int) -> httpx.Response:
    """Checks that a body is refused, and the server stays healthy and grows by under `grown`."""
    with watched(server) as seen, server.client() as http:
        refused = http.post(path, content=body, headers=JSON)
    assert refused.status_code in (400, 409, 413, 422), refused.text[:1000]
    assert len(refused.content) < 5000
    seen.check()
    assert seen.grown < grown, f"the server has grown by {seen.grown / MIB:.0f} MiB"
    return refused


DOCUMENT = '{"documents":[{"id":"a","text":"b",'
DOCUMENTS: dict[str, Callable[[int], bytes]] = {
    "numbers": lambda size: repeated('{"documents":[', "1", "]}", size),
    "unknown": lambda size: unknown_fields(DOCUMENT, "}]}", size),
    "values": lambda size: repeated(DOCUMENT + '"meta":{"a":[', "[]", "]}}]}", size),
    "lists": lambda size: repeated('{"documents":[', "[]", "]}", size),
    "objects": lambda size: repeated('{"documents":[', "{}", "]}", size),
    "unknown-above": lambda size: unknown_fields("{", "}", size),
    "meta": lambda size: unknown_fields(DOCUMENT + '"meta":{', "}}]}", size),
    "strings": lambda size: repeated('{"documents":[', '""', "]}", size),
    "quotes": lambda size: b'["' + b'\\"' * (size // 2),
}
IN_CI = ("numbers", "unknown", "values")


@pytest.mark.parametrize("name", IN_CI)
def test_documents_full_of_faults(server: Server, name: str) -> None:
    seen_refusing(server, "/v1/documents", DOCUMENTS[name](4 * MIB), grown=512 * MIB)


@pytest.mark.attack
@pytest.mark.parametrize("name", DOCUMENTS)
@pytest.mark.parametrize("mebibytes", [2, 4, 200])
def test_documents_of_any_size_full_of_faults(server: Server, name: str, mebibytes: int) -> None:
    body = DOCUMENTS[name](mebibytes * MIB)
    seen_refusing(server, "/v1/documents", body, grown=512 * MIB)


def test_the_first_ten_faults_are_told(server: Server) -> None:
    body = repeated('{"documents":[', '{"id":1,"x":"' + "y" * 5000 + '"}', "]}", 4 * MIB)
    detail = seen_refusing(server, "/v1/documents", body, grown=512 * MIB).json()["detail"]
    assert "documents.0.id:" in detail
    assert "documents.4.x:" in detail
    assert "documents.5" not in detail
    assert "more after it were not checked" in detail
    assert "yyy" not in detail


QUESTIONS: dict[tuple[str, str], bytes] = {
    ("/v1/query", "messages"): repeated('{"messages":[', "1", "]}", QUESTION_BYTES),
    ("/v1/query", "turn"): unknown_fields('{"messages":[{', "}]}", QUESTION_BYTES),
    ("/v1/query", "array"): repeated("[", "[]", "]", QUESTION_BYTES),
    ("/v1/chat/completions", "messages"): repeated(
        '{"model":"m","messages":[', "1", "]}", QUESTION_BYTES
    ),
    ("/v1/rerank", "documents"): repeated(
        '{"model":"m","query":"a","documents":[', "1", "]}", QUESTION_BYTES
    ),
    ("/v1/search", "filters"): repeated('{"query":"a","filters":[', "1", "]}", QUESTION_BYTES),
    ("/v1/search", "values"): repeated(
        '{"query":"a","filters":[{"field":"a","op":"in","value":[', "[]", "]}]}", QUESTION_BYTES
    ),
    ("/v1/search", "filter"): unknown_fields('{"query":"a","filters":[{', "}]}", QUESTION_BYTES),
    ("/v1/query", "tags"): repeated('{"query":"a","tags":[', "1", "]}", QUESTION_BYTES),
    ("/v1/query", "stop"): repeated('{"query":"a","stop":[', "1", "]}", QUESTION_BYTES),
    ("/v1/query", "unknown"): unknown_fields('{"query":"a",', "}", QUESTION_BYTES),
    ("/v1/query", "text"): b'"' + b"x" * QUESTION_BYTES + b'"',
    ("/v1/query", "name"): b'{"query":"a","' + b"x" * (QUESTION_BYTES - 50) + b'":1}',
    ("/v1/query", "turns"): repeated(
        '{"messages":[', '{"role":"user","content":"a"}', "]}", QUESTION_BYTES
    ),
    ("/v1/feedback", "unknown"): unknown_fields("{", "}", QUESTION_BYTES),
    ("/v1/chat/completions", "parts"): repeated(
        '{"model":"m","messages":[{"role":"user","content":[', "{}", "]}]}", QUESTION_BYTES
    ),
    ("/v1/chat/completions", "unknown"): unknown_fields(
        '{"model":"m","plumbline":{', "}}", QUESTION_BYTES
    ),
    ("/v1/embeddings", "input"): repeated('{"model":"m","input":[', "1", "]}", QUESTION_BYTES),
    ("/v1/embeddings", "texts"): repeated('{"model":"m","input":[', '"a"', "]}", QUESTION_BYTES),
}


@pytest.mark.parametrize(("path", "name"), list(QUESTIONS)[:5])
def test_questions_full_of_faults(server: Server, path: str, name: str) -> None:
    seen_refusing(server, path, QUESTIONS[path, name], grown=256 * MIB)


@pytest.mark.attack
@pytest.mark.parametrize(("path", "name"), QUESTIONS)
def test_more_questions_full_of_faults(server: Server, path: str, name: str) -> None:
    seen_refusing(server, path, QUESTIONS[path, name], grown=256 * MIB)


def large(piece: str, documents: int, size: int) -> bytes:
    """Returns valid documents of which two have one id, which is found after all were read."""
    text = piece * (size // len(piece.encode()) // documents)
    sent = [{"id": str(i % (documents - 1)), "text": text} for i in range(documents)]
    return json.dumps({"documents": sent}, ensure_ascii=False).encode()


PIECES = ["Lorem ipsum dolor sit amet. ", "\u00e9t\u00e9 \U0001f600 ", '"\\\n']


def test_a_large_request_is_read_while_others_are_served(server: Server) -> None:
    refused = seen_refusing(server, "/v1/documents", large(PIECES[0], 2, 24 * MIB), grown=512 * MIB)
    assert refused.json()["code"] == "duplicate_id"
    assert not list((server.log.parent / "data" / "spool").iterdir())


@pytest.mark.attack
@pytest.mark.parametrize("piece", PIECES)
@pytest.mark.parametrize("documents", [2, 1000])
def test_requests_at_the_limit(server: Server, piece: str, documents: int) -> None:
    body = large(piece, documents, 64 * MIB)
    refused = seen_refusing(server, "/v1/documents", body, grown=1536 * MIB)
    assert refused.json()["code"] == "duplicate_id"


def test_endless_headers(server: Server) -> None:
    with watched(server) as seen, connected(server) as client:
        client.sendall(b"GET /healthz HTTP/1.1\r\nx: " + b"y" * 70_000)
        assert replied(client).startswith(b"HTTP/1.1 431 ")
    seen.check()


def test_the_last_descriptors_are_kept_and_the_log_says_so(server: Server) -> None:
    pid = server.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    used = max(int(entry.name) for entry in Path(f"/proc/{pid}/fd").iterdir())
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + 40, before[1]))
    try:
        with contextlib.ExitStack() as stack:
            last = stack.enter_context(connected(server))
            while not select.select([last], [], [], 0.02)[0]:
                last = stack.enter_context(connected(server))
            assert replied(last).startswith(b"HTTP/1.1 503 ")
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
    wait_for(lambda: "There are too many connections" in server.log.read_text())
    with server.client() as http:
        assert http.get("/healthz").status_code == 200


@pytest.mark.attack
@pytest.mark.parametrize(
    "half",
    [
        b"",
        b"POST /v1/query HTTP/1.1\r\nHost: localhost\r\n",
        b"POST /v1/query HTTP/1.1\r\nHost: localhost\r\nContent-Length: 90\r\n\r\n{",
    ],
)
def test_many_half_sent_requests_end(server: Server, half: bytes) -> None:
    with watched(server) as seen, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connected(server)) for _ in range(700)]
        started = time.monotonic()
        for client in clients:
            client.sendall(half)
            time.sleep(0.003)  # so many at one moment would be load, of which this is no test
        for client in clients:
            assert replied(client).startswith(b"HTTP/1.1 408 ")
        assert time.monotonic() - started < 46
    seen.check()
