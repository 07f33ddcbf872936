"""Batches by OpenAI's own client, against a real server that is killed."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, Literal

import pytest
from openai import BadRequestError, ConflictError, NotFoundError, OpenAI
from openai.types import Batch

from rag.client import Client, File
from rag.client import NotFoundError as NotThereError
from tests.places import ROOT
from tests.servers import PATIENCE, Json, Server, serving, submit, wait_for

PAGE = ROOT / "docs" / "batches.md"
ENDED = ("completed", "failed", "expired", "cancelled")
HOURS = {"id": "hours", "title": "Opening hours",
         "text": "The office opens at nine. On Fridays it closes at four."}  # fmt: skip
CHAT: Literal["/v1/chat/completions"] = "/v1/chat/completions"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("batches") / "data") as running:
        with running.client() as http:
            assert submit(http, HOURS)["state"] == "succeeded"
        yield running
        assert "Traceback" not in running.log.read_text()


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[OpenAI]:
    with client_of(server.url) as made:
        yield made


def client_of(url: str, key: str = "none") -> OpenAI:
    return OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)


def chat(number: int, **body: Any) -> Json:
    asked = [{"role": "user", "content": f"When does the office open? ({number})"}]
    return {"custom_id": f"line-{number}", "method": "POST", "url": CHAT,
            "body": {"model": "default", "messages": asked} | body}  # fmt: skip


def sent(client: OpenAI, *lines: Json | str, endpoint: Any = CHAT) -> Batch:
    texts = (line if isinstance(line, str) else json.dumps(line) for line in lines)
    content = io.BytesIO("\n".join(texts).encode())
    file = client.files.create(file=("questions.jsonl", content), purpose="batch")
    return client.batches.create(
        input_file_id=file.id, endpoint=endpoint, completion_window="24h", metadata={"run": "7"}
    )


def ended(client: OpenAI, batch: Batch) -> Batch:
    def look() -> Batch | None:
        found = client.batches.retrieve(batch.id)
        return found if found.status in ENDED else None

    return wait_for(look)


def read(client: OpenAI, file_id: str | None) -> list[Json]:
    if file_id is None:
        return []
    return [json.loads(line) for line in client.files.content(file_id).text.splitlines()]


def test_a_batch_is_answered(client: OpenAI) -> None:
    batch = sent(client, *(chat(n) for n in range(1, 8)))
    assert (batch.status, batch.metadata) == ("validating", {"run": "7"})
    done = ended(client, batch)
    assert done.status == "completed"
    assert done.request_counts is not None
    assert done.request_counts.model_dump() == {"total": 7, "completed": 7, "failed": 0}
    assert done.error_file_id is None
    output = read(client, done.output_file_id)
    assert [line["custom_id"] for line in output] == [f"line-{n}" for n in range(1, 8)]
    for line in output:
        assert line["error"] is None
        assert line["response"]["status_code"] == 200
        message = line["response"]["body"]["choices"][0]["message"]
        assert message["content"].startswith("The office opens at nine. [1]")
    file = client.files.retrieve(done.output_file_id or "")
    assert file.bytes == len(client.files.content(file.id).content)
    assert file.purpose == "batch_output"
    assert batch.id in [each.id for each in client.batches.list(limit=1)]


@pytest.mark.parametrize(
    ("endpoint", "body", "field"),
    [
        ("/v1/query", {"query": "When does the office open?"}, "answer"),
        ("/v1/search", {"query": "When does the office open?"}, "hits"),
        ("/v1/embeddings", {"model": "default", "input": "The office"}, "data"),
    ],
)
def test_the_other_endpoints(client: OpenAI, endpoint: str, body: Json, field: str) -> None:
    line = {"custom_id": "a", "method": "POST", "url": endpoint, "body": body}
    done = ended(client, sent(client, line, endpoint=endpoint))
    [output] = read(client, done.output_file_id)
    assert output["response"]["body"][field]


def test_bad_lines_fail_alone(client: OpenAI) -> None:
    good = chat(1)
    lines: list[Json | str] = [
        good,
        "{no JSON",
        "[]",
        {**good, "custom_id": 7},
        good,
        {**chat(2), "url": "/v1/query"},
        {**chat(3), "method": "GET"},
        chat(4, stream=True),
        {**chat(5), "body": []},
        chat(6, junk="x" * (1 << 20)),
        chat(7, model="nowhere"),
        chat(8, messages=[]),
        '{"custom_id": "nan", "url": "/v1/chat/completions", "body": {"x": NaN}}',
        "",
        chat(9),
    ]
    done = ended(client, sent(client, *lines))
    assert done.status == "completed"
    assert done.request_counts is not None
    assert done.request_counts.model_dump() == {"total": 14, "completed": 2, "failed": 12}
    output, errors = read(client, done.output_file_id), read(client, done.error_file_id)
    assert [line["custom_id"] for line in output] == ["line-1", "line-9"]
    assert [line["line"] for line in errors] == [*range(2, 14)]
    said = {line["line"]: line["error"] and line["error"]["message"] for line in errors}
    for number, words in {
        2: "Line 2: it is not valid JSON", 3: "no JSON object", 4: "its custom_id is no printable",
        5: "its custom_id is that of line 1", 6: "its url is not", 7: "its method is not POST",
        8: "asks for a stream", 9: "its body is no JSON object", 10: "its body has 1,04",
        13: "not",
    }.items():  # fmt: skip
        assert words in said[number], said
    refused = {line["line"]: line["response"] for line in errors if line["response"]}
    assert {n: each["status_code"] for n, each in refused.items()} == {11: 404, 12: 400}
    assert refused[11]["body"]["error"]["code"] == "model_not_found"


def test_files_and_batches_that_there_are_not(client: OpenAI) -> None:
    of_files = (client.files.retrieve, client.files.delete, client.files.content)
    for of_file in of_files:
        for id_ in ("file-0", f"file-{'0' * 32}", f"file-{'0' * 32}-output"):
            with pytest.raises(NotFoundError) as missing:
                of_file(id_)
            assert missing.value.code == "unknown_file"
    for of_batch in (client.batches.retrieve, client.batches.cancel):
        with pytest.raises(NotFoundError):
            of_batch("batch_0")
    with pytest.raises(NotFoundError):
        client.batches.create(input_file_id="x", endpoint=CHAT, completion_window="24h")
    with pytest.raises(BadRequestError):
        client.files.create(file=b"{}", purpose="assistants")


def test_a_file_is_read_listed_and_deleted(client: OpenAI) -> None:
    content = b"\xff\x00" + b"x" * 200_000
    made = [client.files.create(file=content, purpose="batch") for _ in range(3)]
    assert client.files.content(made[0].id).content == content
    assert [each.id for each in client.files.list(limit=2)][:3] == [m.id for m in made[::-1]]
    assert client.files.delete(made[1].id).deleted
    with pytest.raises(NotFoundError):
        client.files.retrieve(made[1].id)
    done = ended(client, sent(client, "[]"))
    with pytest.raises(ConflictError):
        client.files.delete(done.error_file_id or "")
    bad = client.batches.create(input_file_id=made[0].id, endpoint=CHAT, completion_window="24h")
    found = ended(client, bad)  # one line, which is no JSON
    assert (found.status, found.request_counts and found.request_counts.failed) == ("completed", 1)


def test_the_example_of_the_page(server: Server) -> None:
    (example,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    script = example.replace("http://127.0.0.1:8000", server.url)
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "question-0 The office opens at nine. [1] On Fridays it closes at four. [1]",
        "question-1 On Fridays it closes at four. [1]",
    ]


def test_plumbline_s_own_client(server: Server) -> None:
    with Client(server.url, timeout=PATIENCE) as client:
        content = json.dumps(chat(1)).encode()
        file = client.create_file(File(name="a.jsonl", content=content))
        assert client.get_file_content(file.id) == content
        assert client.get_file(file.id) == file
        made = client.create_batch(file.id, CHAT, metadata={"run": "8"})

        def look() -> bool:
            return client.get_batch(made.id).status in ENDED

        wait_for(look)
        done = client.get_batch(made.id)
        assert (done.status, done.metadata) == ("completed", {"run": "8"})
        assert done.output_file_id
        assert b'"custom_id": "line-1"' in client.get_file_content(done.output_file_id)
        assert made.id in [batch.id for batch in client.all_batches(limit=1)]
        assert file.id in [each.id for each in client.all_files(limit=1)]
        assert client.delete_batch(made.id).deleted
        assert client.delete_file(file.id).deleted
        with pytest.raises(NotThereError) as missing:
            client.cancel_batch(made.id)
        assert (missing.value.code, missing.value.status) == ("unknown_batch", 404)
