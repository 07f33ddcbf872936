"""`rag mcp`: on a data folder, and through a server."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.mcp_clients import MODES, by_streams, called, refused
from tests.servers import environment, rag, serving, submit

pytestmark = pytest.mark.anyio
TEXT = "The depot opens at seven. On Fridays it closes at four."
QUESTION = "When does the depot close on Fridays?"
WITHOUT = (
    "import sys; sys.modules['mcp'] = sys.modules['mcp_types'] = None;"
    " from rag.cli.main import main; sys.exit(main())"
)
"""Runs `rag` as if the package were not installed."""


@pytest.mark.parametrize("version", MODES)
async def test_it_serves_a_data_folder(tmp_path: Path, version: str) -> None:
    async with by_streams(tmp_path / "data", "--collection", "own", version=version) as client:
        assert client.protocol_version == version
        job = await called(client, "ingest", documents=[{"id": "depot", "text": TEXT}])
        assert (job["collection"], job["state"]) == ("own", "succeeded")
        [found] = (await called(client, "search", query=QUESTION))["results"]
        assert found["id"] == "own/depot"
        answer = await called(client, "answer", query=QUESTION)
        fetched = await called(client, "fetch", id=found["id"])
        for cited in answer["citations"]:
            assert fetched["text"][cited["start"] : cited["end"]] == cited["quote"]
        [content] = (await client.read_resource("plumbline://documents/own/depot")).contents
        assert content.model_dump()["text"] == TEXT
        assert "is no id of a document" in await refused(client, "fetch", id="depot")


def test_lines_that_are_no_messages_end_nothing(tmp_path: Path) -> None:
    lines = ["{", "[]", "[" * 10_000, json.dumps({"jsonrpc": "2.0", "id": 1, "method": "ping"})]
    ran = rag("mcp", data=tmp_path / "data", stdin="\n".join(lines).encode() + b"\n")
    assert ran.returncode == 0
    assert [json.loads(line).get("id") for line in ran.stdout.splitlines()][-1] == 1


@pytest.mark.parametrize("version", MODES)
async def test_it_serves_a_server_with_the_key_of_the_environment(
    tmp_path: Path, version: str
) -> None:
    data = tmp_path / "data"
    made = rag("keys", "create", "a", "--scopes", "ask,read,write", "--json", data=data)
    key = json.loads(made.stdout)["key"]
    reader = json.loads(rag("keys", "create", "b", "--json", data=data).stdout)["key"]
    with serving(data, env={"RAG_GATEWAY__ENABLED": "true"}) as server:
        with httpx.Client(
            base_url=server.url, headers={"Authorization": f"Bearer {key}"}, timeout=60
        ) as http:
            submit(http, {"id": "depot", "text": TEXT})
        own = tmp_path / "agent" / "data"
        env = {"RAG_URL": server.url, "RAG_API_KEY": reader}
        async with by_streams(own, env=env, version=version) as client:
            [found, *_] = (await called(client, "search", query=QUESTION))["results"]
            assert (await called(client, "fetch", id=found["id"]))["text"] == TEXT
            assert (await called(client, "answer", query=QUESTION))["citations"]
            said = await refused(client, "ingest", documents=[{"text": "more"}])
            assert said.startswith("This needs the scope 'write'")
        wrong = env | {"RAG_API_KEY": "pl_wrong"}
        async with by_streams(own, env=wrong, version=version) as client:
            assert "No valid API key" in await refused(client, "search", query=QUESTION)
        assert not own.exists()
    async with by_streams(own, env=env, version=version) as client:
        said = await refused(client, "search", query=QUESTION)
        assert "does not answer" in said
        assert "Is the server running" in said


def test_without_the_package_the_command_says_what_to_install(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", WITHOUT, "mcp"],
        env=environment(tmp_path / "data"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 2
    assert "pip install 'plumbline-rag[mcp]'" in ran.stderr


def test_without_the_package_the_path_says_what_to_install(tmp_path: Path) -> None:
    with serving(tmp_path / "data", command=(sys.executable, "-c", WITHOUT)) as server:
        response = httpx.post(f"{server.url}/mcp", json={})
        assert response.status_code == 404
        assert "pip install 'plumbline-rag[mcp]'" in response.json()["error"]["message"]
        assert httpx.get(f"{server.url}/v1/collections").status_code == 200
