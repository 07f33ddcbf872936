"""Rollouts in two processes of `rag serve` that share PostgreSQL and an index behind gRPC."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest

from tests.model_server import model_server, refuses
from tests.postgres import PostgresServer
from tests.qdrant_grpc import grpc_port
from tests.redis_server import redis_server
from tests.servers import (
    RAG,
    Json,
    Server,
    cluster_settings,
    rag,
    serving,
    submit,
    wait_for,
    working,
)

pytestmark = pytest.mark.anyio

QUESTION = {"query": "When does the office open?"}


async def test_a_rollout_holds_in_all_processes_and_outlives_each_of_them(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    with model_server(refuses(400)) as engine:
        async with grpc_port() as port:
            with redis_server(tmp_path / "redis") as broker:
                llm = {"kind": "openai", "base_url": engine.base_url, "model": "tiny"}
                variants = {"llm": {"generator": llm}, "deeper": {"retrieval": {"depth": 120}}}
                env = cluster_settings(
                    index_port=port, catalog_url=postgres.new_database(), broker_url=broker.url
                ) | {"RAG_VARIANTS": json.dumps(variants)}
                # In a thread: the index answers on this event loop.
                await asyncio.to_thread(_roll_out, tmp_path, env)


def _roll_out(folder: Path, env: Mapping[str, str]) -> None:
    with (
        serving(folder / "one", env=env) as one,
        serving(folder / "two", env=env) as two,
        one.client() as first,
        two.client() as second,
    ):
        with working(folder / "one", env):  # its spool has the bytes
            document = {"id": "office", "text": "The office opens at nine in the morning."}
            assert submit(first, document)["counts"]["succeeded"] == 1
        _flag(folder, env, first, second)
        _canary(one, first, second)


def _flag(folder: Path, env: Mapping[str, str], first: httpx.Client, second: httpx.Client) -> None:
    """A flag that a command starts beside the servers, and another one kills through a server."""
    made = rag(
        *("rollout", "start", "search", "--kind", "flag", "--variant", "deeper"),
        data=folder / "one",
        env=env,
        command=RAG,
    )
    assert made.returncode == 0, made.stderr
    for http in (first, second):
        wait_for(lambda http=http: _variant(http) == "deeper")  # type: ignore[misc]
    killed = rag(
        *("rollout", "kill", "search", "--url", str(first.base_url), "--json"),
        data=folder / "one",
        env=env,
    )
    assert json.loads(killed.stdout)["state"] == "killed"
    for http in (first, second):
        wait_for(lambda http=http: _variant(http) == "base")  # type: ignore[misc]
    unknown = rag(
        *("rollout", "start", "x", "--kind", "flag", "--variant", "no"),
        data=folder / "one",
        env=env,
    )
    assert "There is no variant 'no'; the settings name deeper, llm." in unknown.stderr
    assert rag("rollout", "delete", "search", data=folder / "one", env=env).returncode == 0


def _canary(one: Server, first: httpx.Client, second: httpx.Client) -> None:
    """A canary on an engine that refuses; the process that began it is killed on the way."""
    plan = {"steps": [50, 100], "dwell_seconds": 3600, "questions": 10}
    body = {"kind": "canary", "variant": "llm", "version": 0, "plan": plan}
    assert first.put("/v1/rollouts/new", json=body).status_code == 200

    def both_saw_it() -> bool:
        first.post("/v1/query", json=QUESTION)
        second.post("/v1/query", json=QUESTION)
        return _questions(second) >= 4

    wait_for(both_saw_it)
    one.kill()

    def rolled_back() -> Json | None:
        for _ in range(5):
            second.post("/v1/query", json=QUESTION)
        found: Json = second.get("/v1/rollouts/new").json()
        return found if found["state"] == "rolled_back" else None

    found = wait_for(rolled_back)
    assert found["reason"].startswith("errors: 1 of ")
    assert len(found["history"]) == 1  # one process decided, once
    wait_for(lambda: _variant(second) == "base")


def _variant(http: httpx.Client) -> str:
    return str(http.post("/v1/query", json=QUESTION).json().get("variant"))


def _questions(http: httpx.Client) -> int:
    evidence = http.get("/v1/rollouts/new").json()["evidence"]
    return sum(each["questions"] for each in evidence if each["measure"] == "errors")
